"""Tables wherever they lie: files of several kinds, stores, memory; read in chunks, never whole."""

"""Tables as files: read, written, picked from."""

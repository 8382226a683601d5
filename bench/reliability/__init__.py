"""Random hostile use of the library: every case from a seed, which repeats it."""

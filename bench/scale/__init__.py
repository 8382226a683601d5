"""Pools beyond memory: rates and memory, by the number of files."""

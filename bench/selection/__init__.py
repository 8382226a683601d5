"""Selecting a batch: seconds, memory, and the same picks as bmdal_reg."""

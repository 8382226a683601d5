"""Kernels against NumPy, in guarded memory."""

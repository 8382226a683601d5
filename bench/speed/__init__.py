"""Seconds of scoring, training, settling, memory maps and many fits, beside JAX, PyTorch and scikit-learn."""

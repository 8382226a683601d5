"""Heads that learn to predict the loss of a row."""

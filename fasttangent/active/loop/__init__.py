"""The loop: fit, choose, ask, record, again."""

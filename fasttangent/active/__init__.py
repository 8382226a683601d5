"""Which rows to label next: strategies, learned losses, the loop with an oracle."""

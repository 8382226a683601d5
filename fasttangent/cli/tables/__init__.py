"""Tables that commands write, and those that people fill in."""

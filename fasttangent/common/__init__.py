"""What everything needs and what needs nothing: checks, errors, files, threads, progress."""

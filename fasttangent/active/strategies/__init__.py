"""How rows are picked: a record per strategy, in one file per family, and the table of all."""

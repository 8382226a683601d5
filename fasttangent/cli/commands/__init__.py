"""The commands, one file each; what a command needs is imported inside it, so that ``--help`` is quick."""

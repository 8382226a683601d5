"""``python -m fasttangent.cli``: the command line."""

from fasttangent.cli import main

if __name__ == "__main__":
    main()

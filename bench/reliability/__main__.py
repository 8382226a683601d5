"""``python -m bench.reliability``."""

from bench.reliability.command import main

if __name__ == "__main__":
    main()

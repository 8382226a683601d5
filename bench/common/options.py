"""What every command says of itself."""

from __future__ import annotations

import argparse
import sys


def parser(text: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the docstring of the file, line by line."""
    form = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=sys.argv[0], description=text, formatter_class=form)

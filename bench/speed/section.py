"""What a section of speed prints when it is run by itself."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path

from bench.common import options


def print_section(function: Callable) -> None:
    """Its figures as JSON; its help is the docstring of its file."""
    parser = options.parser(sys.modules[function.__module__].__doc__)
    if "folder" in inspect.signature(function).parameters:
        parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(function(**vars(parser.parse_args())), indent=1))

"""Results that are measured one after the other, each a line of a file, so that none is measured twice."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any


def read(path: Path | None) -> list[dict[str, Any]]:
    """Those of a file; none where there is none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []


def add(path: Path | None, result: dict[str, Any]) -> None:
    """One more line, if there is a file to be."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(result) + "\n")


def measured_or_shown(parser: ArgumentParser) -> Namespace:
    """What is asked for: to measure with a folder of data, results to -o, or to show the --table of a file."""
    parser.add_argument("folder", nargs="?", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    parser.add_argument("--table", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    if chosen.folder is None and chosen.table is None:
        parser.error("DATA_FOLDER is missing")
    return chosen

"""The command line: ``fasttangent fit | score | select | next | tell | fidelity | info | doctor | warmup | demo``.

Only click is imported here; what a command needs is imported inside it, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys

try:
    import click
except ImportError:
    print("fasttangent: error: the command line needs click: pip install 'fasttangent[cli]'", file=sys.stderr)
    raise SystemExit(2) from None

from fasttangent._version import __version__
from fasttangent.cli.commands.campaign import next_rows, tell_labels
from fasttangent.cli.commands.demo import demo
from fasttangent.cli.commands.doctor import doctor
from fasttangent.cli.commands.fidelity import fidelity
from fasttangent.cli.commands.fit import fit
from fasttangent.cli.commands.info import info
from fasttangent.cli.commands.score import score
from fasttangent.cli.commands.select import select
from fasttangent.cli.commands.warmup import warmup
from fasttangent.cli.output import Edge


@click.group(cls=Edge, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fasttangent")
def cli() -> None:
    """Which unlabelled rows are worth a label: MLP regression that carries its regularity tangent.

    Tables are .csv, .tsv (also .gz), .parquet, .feather, .arrow or .npy; what is written is .csv, .csv.gz
    or .parquet. Exit code 0: fine; 1: the work failed; 2: bad usage or bad input; 130: interrupted.
    """


for command in (fit, score, select, next_rows, tell_labels, fidelity, info, doctor, warmup, demo):
    cli.add_command(command)

"""The command line and what only it needs: tables, pictures, the demonstration, the self-test."""

from __future__ import annotations

from fasttangent.cli.interrupts import whole_process


def main() -> None:
    """Entry point of the command ``fasttangent``."""
    with whole_process():
        from fasttangent.cli.app import cli

        cli()

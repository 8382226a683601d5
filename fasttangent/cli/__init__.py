"""The command line and what only it needs: tables, pictures, the demonstration, the self-test."""

from __future__ import annotations


def main() -> None:
    """Entry point of the command ``fasttangent``."""
    from fasttangent.cli.interrupts import whole_process

    with whole_process():
        from fasttangent.cli.app import cli

        cli()

"""What a command says and how it ends: one line per error or warning, one JSON document, an exit code."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from fasttangent.cli.interrupts import INTERRUPTED, heard, interrupt
from fasttangent.common.errors import DivergenceError

FAILED, BAD_INPUT = 1, 2
_NO_SPACE = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


class FailedError(Exception):
    """The work itself failed (exit code 1); the message is the line to print."""


def shows_progress(quiet: bool) -> bool:
    """Whether somebody is there to see it."""
    return not quiet and sys.stderr is not None and sys.stderr.isatty()


class Edge(click.Group):
    """A group whose commands end in an exit code and never in a traceback.

    A command returns None or its exit code. FASTTANGENT_DEBUG=1 adds the traceback of an error.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        args = list(sys.argv[1:] if args is None else args) or ["--help"]
        code: Any = 0
        try:
            with _terminated_like_interrupted(), warnings_as_lines():
                code = super().main(args, prog_name or "fasttangent", complete_var, False, **extra)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:
            # The reader has gone; without this, Python complains once more when it flushes at exit.
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = FAILED
        except Exception as error:
            message, code = outcome(error)
            if os.environ.get("FASTTANGENT_DEBUG", "0") not in ("", "0"):
                traceback.print_exc()
            tell("error", message)
            if "--json" in args:
                say_json({"error": one_line(message), "exit_code": code})
        sys.exit(code if isinstance(code, int) else 0)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _aborted():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _aborted():
            return super().invoke(ctx)


@contextmanager
def _aborted() -> Iterator[None]:
    """Ctrl-C as click knows it, which itself would print an empty line first."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.Abort from None


def outcome(error: Exception) -> tuple[str, int]:
    """The line to print for an exception and the exit code."""
    if isinstance(error, click.UsageError):
        return error.format_message().rstrip(".") + _see_help(error.ctx), BAD_INPUT
    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, click.Abort):
        return "interrupted; no file is half written", INTERRUPTED
    if isinstance(error, FailedError | DivergenceError):
        return str(error), FAILED
    if isinstance(error, FileNotFoundError | IsADirectoryError) and error.errno is None:
        return str(error), BAD_INPUT  # our own message about a file that was named
    if isinstance(error, OSError):
        return _system_message(error), FAILED
    if isinstance(error, MemoryError):
        return f"not enough memory: {error or 'an allocation failed'}; use fewer rows or columns", FAILED
    if isinstance(error, ValueError | TypeError | ImportError):
        return str(error), BAD_INPUT
    hint = "set FASTTANGENT_DEBUG=1 to see where, and report it"
    return f"unexpected {type(error).__name__}: {error}; {hint}", FAILED


def _see_help(ctx: click.Context | None) -> str:
    return f" (see {ctx.command_path} --help)" if ctx is not None else ""


def _system_message(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    hint = "; free some space or write elsewhere" if error.errno in _NO_SPACE else ""
    return f"{where}{error.strerror}{hint}"


def one_line(message: object) -> str:
    return " ".join(str(message).split())


def tell(kind: str, message: object) -> None:
    """Print one line on standard error."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"fasttangent: {kind}: {one_line(message)}", file=sys.stderr, flush=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each warning once, as one line; a pool scored in chunks would repeat it for every chunk."""
    told: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        line = one_line(message)
        if line not in told:
            told.add(line)
            tell("warning", line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM (a batch system, ``timeout``) end work as Ctrl-C does: no temporary files stay behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        heard.clear()


def say(as_json: bool, document: Mapping[str, Any], text: str) -> None:
    """Print the result of a command: the document with ``--json``, else the text."""
    if as_json:
        say_json(document)
    else:
        print(text)


def say_json(document: Mapping[str, Any]) -> None:
    print(json.dumps(plain(document), indent=2, allow_nan=False, ensure_ascii=False))


def plain(value: Any) -> Any:
    """Python values that JSON can hold: arrays as lists, numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def aligned(rows: Sequence[tuple[str, Any]]) -> str:
    """Lines of ``name  value`` with the values below each other; an empty name continues the one before."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {shown(value)}".rstrip() for name, value in rows)


def shown(value: Any) -> str:
    """A value for people: four digits of a float, separators in an integer, words for the rest."""
    value = plain(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(shown(one) for one in value) or "none"
    return "unknown" if value is None else str(value)

"""`fit_many`: independent fits side by side, one per thread, which share the threads that are left."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fasttangent.common import checks, forked, parallel
from fasttangent.common.progress import reporting
from fasttangent.model.fit import fit
from fasttangent.model.model import Model
from fasttangent.model.prepared import Prepared, prepare

OURS = ("threads", "progress")  # arguments of `fit` that are given for all fits together


def fit_many(
    fits: Iterable[Mapping[str, Any]],
    *,
    threads: int | None = None,
    progress: bool | Callable[..., None] = False,
) -> list[Model]:
    """Fit independent models in parallel: seeds, folds, members of an ensemble, refits.

    The same as ``[fit(**arguments) for arguments in fits]``, bit for bit, but each thread runs a fit of its own.

    Parameters
    ----------
    fits : iterable of dict
        Arguments of `fit` by name: X, y and any other but `threads` and `progress`.  Data that fits share is not
        copied; a fit makes its own copy, in standard units, while it runs.
    threads : int, optional
        For all fits together; default: all cores.  Where fewer fits than that are left, they share them.
    progress : bool or callable
        True: a bar on stderr.  A callable gets ("fits", done, total, trusted=..., failed=...), in the thread that
        called `fit_many`.

    Returns
    -------
    list of Model
        In the order of `fits`.

    Raises
    ------
    ValueError, TypeError
        For bad input in any of the fits, before any work starts; the message names the fit, as in
        "fits[3]: strength must be ...".
    DivergenceError
        If minibatch steps ran away in some fits; raised, for the first of them, when all others are done.
    KeyboardInterrupt
        After Ctrl-C.  No further fit starts; those that run end after their epoch, or their line search or Newton
        step, and a certificate, with models marked `interrupted`.  A second Ctrl-C does not wait for them.

    Notes
    -----
    Nothing that was computed is lost: every exception that is raised after the work has begun has an attribute
    ``models``, a list as long as `fits`, with None where there is no model.

    Threads take turns in what is Python between kernels, and small fits are mostly that: 200 rows with hidden (16, 16)
    have kernels of 10 microseconds.  On Linux such fits run in forked children, one per thread, where the main thread
    asks and no other thread of the program is there (a lock that it holds would stay locked in the child).  Elsewhere
    they are as fast as one after the other; processes that call `fit` with ``threads=1`` help.

    A budget as in ``settle=60`` is in seconds on the clock, and what is reached within them depends on what else the
    cores do.

    Examples
    --------
    An ensemble, and how far its members disagree:

    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 2))
    >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    >>> fits = [dict(X=X, y=y, hidden=(8,), strength=1e-2, seed=seed) for seed in range(4)]
    >>> models = ft.fit_many(fits)
    >>> np.std([model.predict(X) for model in models], axis=0).shape
    (60,)

    Fits of which some may diverge:

    >>> try:
    ...     models = ft.fit_many([*fits, dict(X=X, y=y, learning_rate=1e9)])
    ... except ft.DivergenceError as error:
    ...     models = [model for model in error.models if model is not None]
    >>> len(models)
    4
    """
    n_threads = checks.thread_count(threads)
    ready: list[Prepared] = []
    for i, arguments in enumerate(_each(fits)):
        try:
            ready.append(_prepared(arguments, threads))
        except Exception as error:
            error.args = (f"fits[{i}]: {error}",)
            raise
    for one in ready:
        one.warn()
    with reporting(progress) as report:
        return _run(ready, n_threads, report) if ready else []


def _each(fits: Any) -> Iterable[Any]:
    if isinstance(fits, (Mapping, str)) or not isinstance(fits, Iterable):
        raise TypeError(
            f"fits must be an iterable of dicts, each with arguments of fit, got {type(fits).__name__}; "
            f"one fit is [dict(X=X, y=y)]"
        )
    return fits


def _prepared(arguments: Any, threads: int | None) -> Prepared:
    if not isinstance(arguments, Mapping):
        raise TypeError(
            f"a fit must be a dict of arguments of fit, such as dict(X=X, y=y), got {type(arguments).__name__}"
        )
    for name in OURS:
        if name in arguments:
            raise TypeError(f"{name} is for all fits together; pass it to fit_many")
    inspect.signature(fit).bind(**arguments)
    return prepare(**arguments, threads=threads)


def _run(ready: list[Prepared], n_threads: int, report: Callable[..., None]) -> list[Model]:
    """Run all fits; one that fails does not take the others along."""
    n, largest = len(ready), max(len(one.data.X) * one.network.layout.n_params for one in ready)
    kinds = frozenset((one.kind.name, one.settings.tangents, bool(one.settings.settle)) for one in ready)
    side_by_side = forked.mapping(n, n_threads, largest, kinds)
    crew = _Crew(n, n_threads if side_by_side is parallel.map else 1)
    waiting = dict(enumerate(ready))
    ready.clear()  # each goes, with its copy of the data, when it has run
    counts = {"trusted": 0, "failed": 0}

    def one(i: int, heed: Callable[..., None]) -> Model | Exception:
        try:
            return crew.run(waiting.pop(i), heed)
        except Exception as error:
            return error

    def count(done: int, n: int, last: Model | Exception | None) -> None:
        if last is None:
            report("fits", 0, n)
            return
        counts["failed"] += isinstance(last, Exception)
        counts["trusted"] += isinstance(last, Model) and last.certificate.trusted
        report("fits", done, n, **counts)

    try:
        found = side_by_side(one, n, n_threads, count)
    except BaseException as error:  # Ctrl-C, or from `progress`
        results = vars(error).pop("results", [None] * n)
        vars(error)["models"] = [result if isinstance(result, Model) else None for result in results]
        raise
    if any(isinstance(result, Exception) for result in found):
        raise _first(found)
    return [result for result in found if isinstance(result, Model)]


def _first(found: list[Model | Exception]) -> Exception:
    """The first error, which tells of the others and has the models of the fits without one."""
    errors = {i: result for i, result in enumerate(found) if isinstance(result, Exception)}
    i, *others = errors
    also = ", ".join(f"fits[{j}]" for j in others[:5]) + (", ..." if len(others) > 5 else "")
    error = errors[i]
    message = f"{error} ({len(errors)} of {len(found)} fits failed, also {also})" if others else str(error)
    error.args = (f"fits[{i}]: {message}",)
    vars(error)["models"] = [result if isinstance(result, Model) else None for result in found]
    return error


class _Crew:
    """The fits that run, and the threads that they share."""

    def __init__(self, n_fits: int, n_threads: int) -> None:
        self._threads, self._left = n_threads, n_fits
        self._running: list[Prepared] = []
        self._lock = threading.Lock()
        # The helpers of kernels are as many as one call has ever asked for, but several fits will ask at once.
        parallel.run(lambda _: None, n_threads, n_threads)

    def run(self, one: Prepared, heed: Callable[..., None]) -> Model:
        with self._lock:
            self._running.append(one)
            self._share()
        try:
            return one.run(heed)
        finally:
            with self._lock:
                self._running.remove(one)
                self._left -= 1
                self._share()

    def _share(self) -> None:
        """A thread for each fit that runs; when fewer are left than threads, those of the others as well."""
        each, more = divmod(self._threads, min(max(self._left, 1), self._threads))
        for i, one in enumerate(self._running):
            one.use(each + (i < more))

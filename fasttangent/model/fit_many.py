"""`fit_many`: independent fits side by side."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from fasttangent.common import checks
from fasttangent.common.progress import reporting
from fasttangent.model.fit import fit
from fasttangent.model.model import Model
from fasttangent.model.prepared import Prepared
from fasttangent.model.prepared_many import prepare_fit
from fasttangent.model.side_by_side import first_error, fit_all

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
        called `fit_many`; members count as fits.

    Returns
    -------
    list of Model
        In the order of `fits`; `Members` where a fit has several.

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
    if not ready:
        return []
    with reporting(progress) as report:
        found = fit_all(ready, n_threads, report)
    if (failed := first_error(found, "fits[{}]", "fits")) is not None:
        raise failed
    return [cast("Model", result) for result in found]


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
    return prepare_fit(**arguments, threads=threads)

"""Fits side by side, one per thread, which share the threads that are left; also those of several members each.

Members but for the first have seeds drawn from that of the fit, the same rows held back, and the same units.  Where
strengths are learned the first member learns them, and the others are given what it found: one objective for all, in
0.6 of the time that it takes if each learns its own.  Over ten sets the mean of five then has errors 2 % lower
at 64 labels, and 1 % higher at 320 (`bench/MEMBERS.md`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from fasttangent.common import forked, parallel
from fasttangent.common.progress import reporting
from fasttangent.model.members import Members, member_seeds
from fasttangent.model.model import Model
from fasttangent.model.prepared import Prepared

Fitted = Model | Members
Report = Callable[..., None]


def fit_one(prepared: Prepared, progress: bool | Callable[..., None]) -> Model:
    """A fit, of one member or several; `fit` says what it gives."""
    if prepared.settings.members == 1:
        return prepared.run(progress)
    with reporting(progress) as report:
        try:
            (found,) = fit_all([prepared], prepared.n_threads, report, "members")
        except KeyboardInterrupt as error:
            (so_far,) = vars(error).get("models", [None])
            if so_far is None:
                raise
            return cast("Model", so_far)
    if isinstance(found, Exception):
        raise found
    return cast("Model", found)  # `Members` has its methods


def fit_all(
    ready: list[Prepared], n_threads: int, report: Report, stage: str = "fits"
) -> list[Fitted | Exception]:
    """What each fit ends with.

    KeyboardInterrupt, and what `report` raises, has an attribute ``models`` with what there is by then, else None.
    """
    plans = [_Plan(one) for one in ready]
    ready.clear()  # each goes, with its copy of the data, when it has run
    count = _Count(sum(plan.settings.members for plan in plans), report, stage)
    try:
        for plan in plans:
            plan.begin(n_threads)
        _run(plans, n_threads, count)
        for plan in plans:
            plan.go_on(n_threads)
        _run(plans, n_threads, count)
    except BaseException as error:  # Ctrl-C, or from `progress`
        vars(error)["models"] = [plan.so_far() for plan in plans]
        raise
    return [plan.end() for plan in plans]


class _Plan:
    """A fit, its members that are to run, and what those that have run ended with."""

    def __init__(self, prepared: Prepared) -> None:
        self.settings = prepared.settings
        self.waiting: list[tuple[int, Prepared]] = []
        self.found: list[Model | Exception | None] = [None] * self.settings.members
        self._prepared: Prepared | None = prepared  # as long as members may be made of it

    def begin(self, n_threads: int) -> None:
        """With all members; or with the first, where it learns for all."""
        assert self._prepared is not None
        settle = self.settings.settle
        if len(self.found) == 1:
            self.waiting = [(0, self._prepared)]
        elif self._prepared.learns:
            self.waiting = [(0, self._member(0, settle=settle if settle is True else settle / 2))]
            return
        else:
            self._wait_for(0, settle, n_threads)
        self._prepared = None

    def go_on(self, n_threads: int) -> None:
        """With the members that were to wait for the first."""
        first, settle = self.found[0], self.settings.settle
        if self._prepared is None or not isinstance(first, Model) or first.interrupted:
            return
        if settle is not True:
            settle = max(settle - first.training["settling_seconds"], 0.0)
        self._wait_for(1, settle, n_threads, strength=first.strengths)
        for _, one in self.waiting:
            one.objective, one.path = first.objective, first.path
        self._prepared = None

    def _wait_for(self, begin: int, settle: bool | float, n_threads: int, **given: Any) -> None:
        """All members from this one on, so many at a time, and so many seconds to settle for all of them."""
        M = len(self.found)
        if not isinstance(settle, bool):
            settle /= -(-(M - begin) // n_threads)
        self.waiting = [(j, self._member(j, settle=settle, **given)) for j in range(begin, M)]

    def _member(self, j: int, **differing: Any) -> Prepared:
        assert self._prepared is not None
        M = len(self.found)
        seed, samples = member_seeds(self.settings.seed, M)[j], max(2, -(-self.settings.samples // M))
        return self._prepared.member(j, members=1, seed=seed, samples=samples, **differing)

    def so_far(self) -> Fitted | None:
        """After an interrupt: the models that there are."""
        models = [one for one in self.found if isinstance(one, Model)]
        if len(self.found) == 1 or not models:
            return models[0] if models else None
        return Members(tuple(models), self.settings, interrupted=True)

    def end(self) -> Fitted | Exception:
        """The model, or the members, or the error of the first that failed."""
        if len(self.found) == 1:
            assert self.found[0] is not None
            return self.found[0]
        if (error := first_error(self.found, "member {}", "members")) is not None:
            return error
        models = [one for one in self.found if isinstance(one, Model)]
        return Members(tuple(models), self.settings, any(one.interrupted for one in models))


def first_error(found: Sequence[object], name: str, things: str) -> Exception | None:
    """The first error, which tells of the others and has the models of the fits without one."""
    errors = {i: result for i, result in enumerate(found) if isinstance(result, Exception)}
    if not errors:
        return None
    i, *others = errors
    also = ", ".join(name.format(j) for j in others[:5]) + (", ..." if len(others) > 5 else "")
    error = errors[i]
    message = (
        f"{error} ({len(errors)} of {len(found)} {things} failed, also {also})" if others else str(error)
    )
    error.args = (f"{name.format(i)}: {message}",)
    vars(error)["models"] = [None if isinstance(result, Exception) else result for result in found]
    return error


class _Count:
    """What is told of the models so far."""

    def __init__(self, total: int, report: Report, stage: str) -> None:
        self._total, self._report, self._stage = total, report, stage
        self._done, self._counts = 0, {"trusted": 0, "failed": 0}

    def begin(self) -> None:
        if not self._done:
            self._report(self._stage, 0, self._total)

    def add(self, last: Model | Exception) -> None:
        self._done += 1
        self._counts["failed"] += isinstance(last, Exception)
        self._counts["trusted"] += isinstance(last, Model) and last.certificate.trusted
        self._report(self._stage, self._done, self._total, **self._counts)


def _run(plans: list[_Plan], n_threads: int, count: _Count) -> None:
    """All that waits; one that fails does not take the others along."""
    places = [(plan, j) for plan in plans for j, _ in plan.waiting]
    waiting = dict(enumerate(one for plan in plans for _, one in plan.waiting))
    for plan in plans:
        plan.waiting.clear()
    if not waiting:
        return
    n = len(waiting)
    largest = max(len(one.data.X) * one.network.layout.n_params for one in waiting.values())
    kinds = frozenset(
        (one.kind.name, one.settings.tangents, bool(one.settings.settle)) for one in waiting.values()
    )
    side_by_side = forked.mapping(n, n_threads, largest, kinds)
    crew = _Crew(n, n_threads if side_by_side is parallel.map else 1)

    def one(i: int, heed: Report) -> Model | Exception:
        try:
            return crew.run(waiting.pop(i), heed)
        except Exception as error:
            return error

    def tell(done: int, n: int, last: Model | Exception | None) -> None:
        if last is None:
            count.begin()
        else:
            count.add(last)

    found: list[Model | Exception | None] = []
    try:
        found = side_by_side(one, n, n_threads, tell)
    except BaseException as error:
        found = vars(error).pop("results", [None] * n)
        raise
    finally:
        for (plan, j), result in zip(places, found, strict=True):
            plan.found[j] = result


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

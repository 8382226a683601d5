"""A fit between its arguments and its work: checked, scaled, and run once."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks
from fasttangent.common.powers import Power, transformed
from fasttangent.common.progress import reporting
from fasttangent.common.warning import warn
from fasttangent.common.words import AUTO
from fasttangent.model.given_strengths import MOST_LABELS, check_groups, objective_of
from fasttangent.model.group_tangents import group_tangents
from fasttangent.model.labelled import OF_TABLE, Labelled
from fasttangent.model.members import Members
from fasttangent.model.model import Model
from fasttangent.model.posterior import draw
from fasttangent.model.scores import slope
from fasttangent.model.settings import FitSettings
from fasttangent.model.stages import Stages, certified, two_stages
from fasttangent.model.starts import check_start, check_transferred, check_users
from fasttangent.model.users import Users
from fasttangent.problem.deviations import checked_layers
from fasttangent.problem.problem import Problem
from fasttangent.problem.scaling import (
    Scaling,
    check_squares,
    fit_scaling,
    identity_scaling,
    transferred,
)
from fasttangent.problem.target_scaling import learned_power, power_of, with_power
from fasttangent.problem.users_problem import UsersProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.strengths import Path
    from fasttangent.problem.objective import Objective

    Float = NDArray[np.float64]


def prepare(
    X: Any,
    y: Any,
    sample_weight: Any = None,
    start: Model | Members | None = None,
    threads: int | None = None,
    users: Any = None,
    **others: Any,
) -> Prepared:
    """Check all arguments of `fit` but `progress`; what is left to do takes little memory until it is run."""
    return Prepared(*checked(X, y, sample_weight, start, users, **others), start, threads)


def checked(
    X: Any, y: Any, sample_weight: Any, start: Model | Members | None, users: Any, **others: Any
) -> tuple[FitSettings, Labelled]:
    """The settings and the rows of a fit."""
    of_table = {name: others.pop(name) for name in OF_TABLE if name in others}
    known = start.columns if isinstance(start, Model | Members) else None
    if known is not None and not known.plain and of_table.get("columns") is None:
        of_table["columns"] = known
    data = Labelled.checked(X, y, sample_weight, users=users, **of_table)
    return FitSettings(**others), data


class Prepared:
    """A fit whose arguments were checked, to be run once.

    Attributes
    ----------
    settings : FitSettings
    data : Labelled
    network : Network
    scaling : Scaling
        Fitted on the rows to train on.
    keep, held_back : ndarray of int64
        Numbers of the rows to train on, and of those for early stopping.
    kind : numpy.dtype
        Of minibatch steps.
    rng : numpy.random.Generator
    threads : int or None
        As given.
    n_threads : int
    """

    def __init__(
        self, settings: FitSettings, data: Labelled, start: Model | Members | None, threads: int | None
    ) -> None:
        self.settings, self.data, self.start, self.threads = settings, data, start, threads
        self.network = settings.network(data.X.shape[1], data.Y.shape[1])
        check_groups(settings, self.network, data.groups, data.users is not None)
        check_start(start, self.network, settings.members, data.columns)
        check_users(settings, data.users, start)
        self.kind, self.n_threads = np.dtype(settings.dtype), checks.thread_count(threads)
        self.rng = np.random.default_rng(settings.seed)
        self._divide()
        self.users = self._users()
        self.scaling = self._scaling()
        for one in () if start is None else start.models:
            check_transferred(self._transferred(one), self.kind)
        self.objective: Objective | None = None  # None: as the settings say
        self.path: Path | None = None  # on which another member learned the strengths
        self._problem: Problem | None = None

    def _divide(self) -> None:
        """Into rows to train on and rows held back."""
        self.keep, self.held_back = _split(self.data.w, self.settings.validation, self.rng)

    def _users(self) -> Users | None:
        """Those of the rows to train on."""
        if self.data.users is None:
            return None
        layers = checked_layers("user_layers", self.settings.user_layers, self.network.layout.n_layers)
        return Users.of(self.data.users[self.keep], layers)

    def _scaling(self) -> Scaling:
        X, Y, w = self.data.X, self.data.Y, self.data.w
        if not self.settings.standardize:
            check_squares("X", X, w > 0, self.kind)
            check_squares("y", Y, w > 0, self.kind)
        power = self._power()
        Y = Y if power is None else transformed(Y.astype(np.float64), power)
        if not self.settings.standardize:
            found = identity_scaling(X.shape[1], Y.shape[1])
        else:
            found = fit_scaling(X[self.keep], Y[self.keep], w[self.keep], self.data.inputs)
        return found if power is None else with_power(found, power)

    def _power(self) -> Power | None:
        """Of the target, if it is to be transformed; as the model to start from has it."""
        wanted, Y = self.settings.target_transform is not None, self.data.Y
        if wanted and Y.shape[1] > 1:
            raise ValueError(
                f"y must have one output for target_transform, got {Y.shape[1]}; fit a model for each, or leave it out"
            )
        if self.start is not None:
            power = power_of(self.start.models[0].scaling)
            if power is not None and not wanted:
                raise ValueError(
                    "start must be a model without a transform of the target, got one with; pass "
                    "target_transform='yeo-johnson' to keep it, or leave start out"
                )
            return None if power is None else Power(*power)
        return learned_power(Y[self.keep], self.data.w[self.keep]) if wanted else None

    def warn(self) -> None:
        """Tell the caller of columns that are constant."""
        alone, names = np.isinf(self.scaling.x_scale), self.data.names
        of_inputs = np.array(self.data.groups.numbers or range(len(alone)))
        all_of_it = np.ones(of_inputs.max() + 1, bool)
        np.logical_and.at(all_of_it, of_inputs, alone)  # a level that no row has is none
        constant = np.flatnonzero(all_of_it)
        if len(constant):
            called = ", ".join(repr(names[i]) if names else str(i) for i in constant[:5])
            more = ", ..." if len(constant) > 5 else ""
            warn(
                f"X is constant in column {called}{more} ({len(constant)} of {len(all_of_it)}): "
                f"ignored, in training and in every score"
            )

    def use(self, n_threads: int) -> None:
        """Run with so many threads, from now on; also while it runs, from another thread."""
        self.n_threads = n_threads
        if self._problem is not None:
            self._problem.threads = n_threads

    def problem(self) -> Problem:
        """The objective on the rows to train on."""
        rows = self.standard(self.keep)
        known, of = None, np.empty(0, np.int64)
        if self.users is not None:
            assert self.data.users is not None
            of = self.users.numbers("users", self.data.users[self.keep], len(self.keep))
            known = self.users.deviations(self.network.layout), of
        objective = self.objective or objective_of(self.settings, self.network, self.data.groups, rows, known)
        if known is None:
            return Problem(self.network, objective, *rows, self.n_threads)
        return UsersProblem(self.network, objective, rows, self.n_threads, *known)

    def first_params(self) -> Float:
        """Where training starts."""
        if self.start is None:
            return self.network.initial_params(self.rng)
        assert isinstance(self.start, Model)
        return self._transferred(self.start)

    def _transferred(self, start: Model) -> Float:
        return transferred(start.params, self.network.layout, start.scaling, self.scaling)

    @property
    def learns(self) -> bool:
        """Whether it takes a search for the strength."""
        labels = len(self.keep) * self.data.Y.shape[1]
        return self.settings.strength == AUTO and self.settings.budget > 0 and labels <= MOST_LABELS

    def member(self, j: int, **differing: Any) -> Prepared:
        """The fit of one of several members: other settings, on the same rows and in the same units."""
        one = copy(self)
        one.settings = replace(self.settings, **differing)
        if one.settings.seed != self.settings.seed:
            one.rng = np.random.default_rng(one.settings.seed)
        one.start = None if self.start is None else self.start.models[j]
        return one

    def standard(self, chosen: NDArray[np.int64], which: str = "") -> tuple[Float, Float, Float]:
        """Inputs, targets and weights of the chosen rows, in standard units; `which` rows, for errors."""
        X, Y, scaling = self.data.X[chosen], self.data.Y[chosen], self.scaling
        near = scaling.near_inputs(f"X{which}", X), scaling.near_targets(f"y{which}", Y)
        return *near, self.data.w[chosen]

    def train(self, problem: Problem, tangents: int, report: Callable[..., None]) -> Stages:
        """Both stages, without the certificate, with so many tangents of the strength, 0 or 1."""
        start = self.first_params(), np.zeros((tangents, self.network.layout.n_params))
        held_back = self.standard(self.held_back, " of the rows held back")
        return two_stages(problem, self.settings, start, self.rng, report, held_back=held_back)

    def run(self, progress: bool | Callable[..., None]) -> Model:
        """Train, settle, certify."""
        from fasttangent.kernels.helpers import beside

        with beside(f"fit {self.kind.name}", self.n_threads):
            return self._run(progress)

    def _run(self, progress: bool | Callable[..., None]) -> Model:
        from fasttangent.kernels.helpers import telling

        self._problem = problem = self.problem()
        with reporting(progress) as report, telling(report):
            run = self.train(problem, self.settings.tangents.count("strength"), report)
        problem = run.problem
        tangents = {"strength": run.tangents[0]} if len(run.tangents) else {}
        noise, began, run.path = np.nan, time.perf_counter(), run.path or self.path
        if "posterior" in self.settings.tangents and run.stopped != "interrupted":
            try:
                variance = problem.residual_variance(run.theta)
                tangents["posterior"], tangents["bias"], noise = draw(
                    problem,
                    run.theta,
                    variance,
                    self.settings.samples,
                    self.settings.seed,
                    run.path is not None,
                )
            except KeyboardInterrupt:
                run.stopped = "interrupted"
        seconds = {**run.seconds, "posterior_seconds": time.perf_counter() - began}
        if "groups" in self.settings.tangents and run.stopped == "settled":
            try:
                tangents["groups"] = group_tangents(problem, run.theta)
            except KeyboardInterrupt:
                run.stopped = "interrupted"
        certificate = certified(run)
        return self.model(
            problem,
            run.theta,
            tangents=tangents,
            noise=noise,
            certificate=certificate,
            interrupted=run.stopped == "interrupted",
            training={
                **{
                    name: value for name, value in asdict(self.settings.schedule).items() if value is not None
                },
                "seed": self.settings.seed,
                "stopped": run.stopped,
                **seconds,
            },
            history={
                **{name: np.array(values) for name, values in run.history.items() if len(values)},
                **({} if run.path is None else run.path.history),
            },
        )

    def model(self, problem: Problem, theta: Float, *, training: dict[str, Any], **found: Any) -> Model:
        """The model of these parameters; `found` are further fields of it."""
        return Model(
            network=self.network,
            objective=problem.objective,
            scaling=self.scaling,
            params=theta,
            slope_squared=mean_slope_squared(problem, theta),
            dtype=self.kind.name,
            feature_names=self.data.names,
            columns=self.data.columns,
            flat_targets=self.data.flat,
            training={"rows": problem.n_learned, **training},
            threads=self.threads,
            settings=self.settings,
            users=self.users,
            **found,
        )


def mean_slope_squared(problem: Problem, theta: Float) -> Float:
    """Weighted mean of loss'^2 over the training rows, per output: what curiosity takes for E[loss'^2]."""
    found = []
    for part in problem.parts():
        residual = part.predictions(theta) - part.rows.Y
        found.append(np.sum(part.rows.w[:, None] * slope(part.objective, residual) ** 2, axis=0))
    return np.add.reduce(found)


def _split(
    w: Float, share: float | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of the rows to train on, those of weight 0 left out, and of those held back."""
    present = np.flatnonzero(w > 0)
    if share is None:
        return present, present[:0]
    n_held_back = round(share * len(present))
    if not 1 <= n_held_back <= len(present) - 2:
        raise ValueError(
            f"validation must leave at least 2 of the {len(present)} rows to train on and hold back 1, got {share}"
        )
    order = rng.permutation(present)
    return np.sort(order[n_held_back:]), np.sort(order[:n_held_back])

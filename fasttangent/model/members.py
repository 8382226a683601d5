"""Several models of the same rows from independent starts, as one.

Settled minima of one objective disagree, most of all in which rows they are curious about.  What is said of several is
the mean over them; a deviation has the variance between them, too.

Longer than 400 lines: one class, and half of the file documents its public methods.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

import numpy as np

from fasttangent.common import checks
from fasttangent.common.columns import Columns
from fasttangent.common.encoded import told
from fasttangent.common.errors import UntrustedTangentWarning
from fasttangent.common.warning import warn
from fasttangent.model import bad_rows, saving, scores
from fasttangent.model.batches import score_batches
from fasttangent.model.certificate import Certificate
from fasttangent.model.framed import framed, wants_frame
from fasttangent.model.model import Model
from fasttangent.model.scores import Scores, mean
from fasttangent.model.settings import FitSettings
from fasttangent.problem.target_scaling import NOT_YET, power_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.strengths import Path
    from fasttangent.problem.network import Network
    from fasttangent.problem.objective import Objective
    from fasttangent.problem.scaling import Scaling

    Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Members:
    """Models of the same rows and the same objective from independent starts, with the methods of one `Model`.

    Made by ``fit(..., members=5)`` and `load`.  With f_m, s_m and so on those of member m of M:

    - `predict`, `sensitivity`, `influence`, `curiosity`, `score`: the means of f_m, s_m, ... over the members.  So the
      sensitivity is the derivative of the mean prediction, the influence that of the mean complexity, and curiosity
      (1/M) sum_m E[loss'^2] s_m(x)^2 is the expected squared influence on a member drawn by chance.
    - deviations: the square root of the mean variance within the members plus the variance of their predictions.
    - `embed`: the members' embeddings side by side over sqrt(M), whose inner products are means over the members; so
      every strategy of `select` works with them.  Tangents of noise and dimensions are shared out, not multiplied.

    Attributes and functions that are about one minimum (`params`, `exact`, `refit`, ...) want a member: ``models[0]``.

    Attributes
    ----------
    models : tuple of Model
        Of the same network, units of rows, objective and dtype.
    settings : FitSettings or None
        What `fit` was told.
    interrupted : bool
        Whether training ended by Ctrl-C; there may be fewer models than were asked for.

    Raises
    ------
    ValueError, TypeError
        When it is made of models that do not go together.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 2))
    >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    >>> five = ft.fit(X, y, hidden=(8,), strength=1e-2, members=5)
    >>> five
    Members(5 of Network((2, 8, 1), 'tanh'), strength=0.01, 5 trusted)
    >>> bool(np.allclose(five.sensitivity(X), np.mean([one.sensitivity(X) for one in five.models], axis=0)))
    True
    >>> len(ft.select(five, rng.uniform(-1, 1, (500, 2)), 10, labeled=X))
    10
    """

    models: tuple[Model, ...]
    settings: FitSettings | None = None
    interrupted: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(self.models))
        if not self.models:
            raise ValueError("models must have at least 1 model, got none")
        for i, one in enumerate(self.models):
            if not isinstance(one, Model):
                raise TypeError(f"models must be of Model, got {type(one).__name__} in place {i}")
            if differing := _difference(self.models[0], one):
                raise ValueError(
                    f"models must have the same {differing}, got another in place {i}; fit them together: "
                    f"fit(..., members={len(self.models)})"
                )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if not name.startswith("_") and (hasattr(Model, name) or name in Model.__dataclass_fields__):
                raise AttributeError(
                    f"{name!r} is of one model, and there are {len(self.models)}; take one of them, such as "
                    f"model.models[0]"
                )
            raise AttributeError(f"'Members' object has no attribute {name!r}")

    def __repr__(self) -> str:
        trusted = sum(one.certificate.trusted for one in self.models)
        strength = f"strength={self.objective.strength:g}"
        return f"Members({len(self.models)} of {self.network}, {strength}, {trusted} trusted)"

    @property
    def _first(self) -> Model:
        return self.models[0]

    def matrix(self, name: str, X: Any) -> NDArray:
        """Rows as the numbers that each network takes, as `Model.matrix` has them.

        Parameters
        ----------
        name : str
            Of the argument, for errors.
        X : array_like of shape (n, n_features)

        Returns
        -------
        ndarray, shape (n, n_features)
        """
        return self._first.matrix(name, X)

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self._first.n_features

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self._first.n_outputs

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the inputs."""
        return self._first.feature_names

    @property
    def columns(self) -> Columns | None:
        """What is made of a table's columns."""
        return self._first.columns

    @property
    def input_names(self) -> tuple[str, ...] | None:
        """Names of the inputs, of which a column may have several."""
        return self._first.input_names

    @property
    def flat_targets(self) -> bool:
        """Whether y was (n,), not (n, n_outputs)."""
        return self._first.flat_targets

    @property
    def network(self) -> Network:
        """That of each member."""
        return self._first.network

    @property
    def objective(self) -> Objective:
        """That of each member."""
        return self._first.objective

    @property
    def scaling(self) -> Scaling:
        """That of each member."""
        return self._first.scaling

    @property
    def dtype(self) -> str:
        """Of scores."""
        return self._first.dtype

    @property
    def threads(self) -> int | None:
        """As `fit` was told."""
        return self._first.threads

    @property
    def strengths(self) -> dict[str, float]:
        """The strength of each group of parameters, by its name."""
        return self._first.strengths

    @property
    def path(self) -> Path | None:
        """The strengths that the first member tried, where one was learned; the others were given what it found."""
        return self._first.path

    @property
    def noise(self) -> float:
        """Mean variance of a label around a member's function, in standard units; nan without tangents of noise."""
        return float(np.mean([one.noise for one in self.models]))

    @property
    def certificate(self) -> Certificate:
        """The worst of each figure; trusted where every member is, else with the reasons of the first that is not.

        Those of members: ``models[i].certificate``.
        """
        each = [one.certificate for one in self.models]
        worst = {name: float(np.max([getattr(one, name) for one in each])) for name in _HIGH_IS_BAD}
        worst |= {name: float(np.min([getattr(one, name) for one in each])) for name in _LOW_IS_BAD}
        return Certificate(
            **worst,
            trusted=all(one.trusted for one in each),
            reasons=_reasons(each),
            flat_directions=max(one.flat_directions for one in each),
            strength_error=each[0].strength_error,
            curvature_rows=min((one.curvature_rows for one in each if one.curvature_rows), default=None),
        )

    @overload
    def predict(
        self,
        X: Any,
        *,
        return_std: Literal[False] = False,
        threads: int | None = None,
        output: Literal["array"] = "array",
    ) -> NDArray: ...

    @overload
    def predict(
        self,
        X: Any,
        *,
        return_std: Literal[True],
        threads: int | None = None,
        output: Literal["array"] = "array",
    ) -> tuple[NDArray, NDArray]: ...

    @overload
    def predict(
        self,
        X: Any,
        *,
        return_std: bool = False,
        threads: int | None = None,
        output: Literal["frame"],
    ) -> Any: ...

    def predict(
        self,
        X: Any,
        *,
        return_std: bool = False,
        threads: int | None = None,
        output: str = "array",
    ) -> Any:
        """Mean predictions, and how far a label may be from them.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
            As for `Model.predict`.
        return_std : bool
            Also return the deviation of a new label, the square root of (1/M) sum_m (Var f_m(x) + noise_m) plus the
            variance of f_1(x) ... f_M(x).
        threads : int, optional
            Default: the models', else all cores.
        output : {"array", "frame"}
            As for `Model.predict`.

        Returns
        -------
        ndarray, shape (n,) or (n, n_outputs); or two of them; or a table
            As of `Model.predict`.

        Raises
        ------
        ValueError, TypeError
            As for `Model.predict`.
        """
        as_frame, rows = wants_frame(X, output), self._first._rows(X)
        prediction = self._shaped(self._mean(lambda one: one.predict(rows, threads=threads)))
        if not return_std:
            return framed(X, prediction=prediction) if as_frame else prediction
        deviation = self._shaped(self.scaling.changes(np.sqrt(self._label_variance(rows, threads))))
        return framed(X, prediction=prediction, deviation=deviation) if as_frame else (prediction, deviation)

    def sensitivity(self, X: Any, *, group: str | None = None, threads: int | None = None) -> NDArray:
        """(1/M) sum_m s_m(x) = d (mean prediction) / d strength.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        group : str, optional
            As for `Model.sensitivity`.
        threads : int, optional

        Returns
        -------
        ndarray, shape (n,) or (n, n_outputs)
            As of `Model.sensitivity`.

        Raises
        ------
        ValueError
            As for `Model.sensitivity`, of any member.
        """
        rows = self._first._rows(X)
        return self._shaped(self._mean_score(lambda one: one.sensitivity(rows, group=group, threads=threads)))

    def influence(self, X: Any, y: Any, *, group: str | None = None, threads: int | None = None) -> Float:
        """(1/M) sum_m loss'(f_m - y) s_m(x): what labelling a row does to the members' mean complexity.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        y : array_like of shape (n,) or (n, n_outputs)
            Labels, in the units of y.
        group : str, optional
            As for `Model.influence`.
        threads : int, optional

        Returns
        -------
        ndarray of float64, shape (n,)
            As of `Model.influence`.

        Raises
        ------
        ValueError
            As for `Model.influence`, of any member.
        """
        rows = self._first._rows(X)
        return self._mean_score(lambda one: one.influence(rows, y, group=group, threads=threads))

    def curiosity(self, X: Any, variance: Any = None, *, threads: int | None = None) -> Float:
        """(1/M) sum_m E[loss'^2] s_m(x)^2: the mean of the members' curiosity.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        variance : float, array_like of shape (n,) or (n, n_outputs), or "posterior", optional
            As for `Model.curiosity`; "posterior": the square of the deviation that `predict` gives.  Default: of each
            member what it leaves of the training rows.
        threads : int, optional

        Returns
        -------
        ndarray of float64, shape (n,)

        Raises
        ------
        ValueError
            As for `Model.curiosity`, of any member.
        """
        rows = self._first._rows(X)
        if not isinstance(variance, str):
            return self._mean_score(lambda one: one.curiosity(rows, variance, threads=threads))
        checks.choice("variance", variance, ("posterior",))
        believed = scores.expected_slope_squared(self.objective, self._label_variance(rows, threads))
        return self._mean_score(
            lambda one: scores.curiosity(believed, one._standard_sensitivity(rows, threads))
        )

    @overload
    def score(self, X: Any, *, threads: int | None = None, output: Literal["array"] = "array") -> Scores: ...

    @overload
    def score(self, X: Any, *, threads: int | None = None, output: Literal["frame"]) -> Any: ...

    def score(self, X: Any, *, threads: int | None = None, output: str = "array") -> Any:
        """Means of prediction, sensitivity and curiosity of rows, in one pass for each member.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
            Rows that hold a value that is not finite have nan for all three, and a warning counts them.
        threads : int, optional
        output : {"array", "frame"}
            As for `Model.score`.

        Returns
        -------
        Scores, or a table

        Raises
        ------
        TypeError
            If a table is wanted and X is none.
        """
        if wants_frame(X, output):
            return self.score(X, threads=threads).to_frame(X)
        rows = self._first._rows(X)
        found = scores.scored(self, rows, threads)
        self._warn_of_mistrust()
        bad_rows.warn_of(self._first, rows, found.bad)
        told(rows)
        return found.scores

    def score_batches(
        self, batches: Any, *, keep: Sequence[str] = (), threads: int | None = None
    ) -> Iterator[Any]:
        """Means of the members' scores of a stream of Arrow record batches, see `Model.score_batches`.

        Parameters
        ----------
        batches : iterable of pyarrow.RecordBatch
        keep : sequence of str
            Columns of any kind that go with the scores, such as an id.
        threads : int, optional

        Returns
        -------
        iterator of pyarrow.RecordBatch

        Raises
        ------
        ImportError, ValueError, TypeError
            As for `Model.score_batches`.
        """
        return score_batches(self, batches, keep, threads)

    def posterior(self, X: Any, samples: int | None = None, *, threads: int | None = None) -> NDArray:
        """Draws of the function at rows: draw k is one of member k mod M, see `Model.posterior`.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        samples : int, optional
            How many; default: as many as the members have tangents of noise, together.
        threads : int, optional

        Returns
        -------
        ndarray, shape (samples, n) or (samples, n, n_outputs)
            As of `Model.posterior`.

        Raises
        ------
        ValueError
            As for `Model.posterior`.
        """
        M, most = len(self.models), self._tangents_together()
        K = most if samples is None else checks.integer("samples", samples, at_least=1)
        if most < K:
            raise ValueError(
                f"samples must be at most {most}, the members' tangents of noise, got {K}; "
                f"draw more: with_posterior(X, y, samples={K})"
            )
        rows = self._first._rows(X)
        found = np.empty((K, len(rows), *((self.n_outputs,) * (not self.flat_targets))), self._output_dtype)
        for i, one in enumerate(self.models[:K]):
            found[i::M] = one.posterior(rows, len(range(i, K, M)), threads=threads)
        return found

    def with_posterior(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        samples: int = 256,
        seed: int = 0,
        threads: int | None = None,
    ) -> Members:
        """These models with tangents of noise, see `Model.with_posterior`.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
            The rows they were trained on.
        y : array_like of shape (n,) or (n, n_outputs), optional
            Their labels.
        sample_weight : array_like of shape (n,), optional
        samples : int
            Of all members together, rounded up to as many for each.
        seed : int
        threads : int, optional

        Returns
        -------
        Members

        Raises
        ------
        ValueError, IndefiniteError
            As for `Model.with_posterior`.
        """
        each, seeds = self._share("samples", samples, 2), member_seeds(seed, len(self.models))
        rows = self.matrix("X", X)
        return replace(
            self,
            models=tuple(
                one.with_posterior(rows, y, sample_weight, samples=each, seed=own, threads=threads)
                for one, own in zip(self.models, seeds, strict=True)
            ),
        )

    @overload
    def embed(
        self,
        X: Any,
        kind: str = "posterior",
        dim: int | None = None,
        *,
        seed: int = 0,
        threads: int | None = None,
        output: Literal["array"] = "array",
    ) -> NDArray: ...

    @overload
    def embed(
        self,
        X: Any,
        kind: str = "posterior",
        dim: int | None = None,
        *,
        seed: int = 0,
        threads: int | None = None,
        output: Literal["frame"],
    ) -> Any: ...

    def embed(
        self,
        X: Any,
        kind: str = "posterior",
        dim: int | None = None,
        *,
        seed: int = 0,
        threads: int | None = None,
        output: str = "array",
    ) -> Any:
        """Rows as vectors whose inner products are the means over the members of those that `Model.embed` gives.

        The members' embeddings stand side by side, over sqrt(M).

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        kind : {"posterior", "error", "gradient", "hidden", "input"}
        dim : int, optional
            Of "posterior", "error" and "gradient" as for `Model.embed`, of all members together, rounded up to as many
            for each.  So by default a vector is about as long, and costs as much, as that of one model, but for
            "hidden", which has all units of all members.
        seed : int
            Of "gradient"; each member has its own sketch.
        threads : int, optional
        output : {"array", "frame"}
            As for `Model.embed`.

        Returns
        -------
        ndarray of `dtype`, shape (n, D); or a table
            "input": that of one, the same for all.

        Raises
        ------
        ValueError, TypeError
            As for `Model.embed`.
        """
        from fasttangent.model.embeddings import EMBEDDINGS, GRADIENT_DIM

        if wants_frame(X, output):
            return framed(X, **{kind: self.embed(X, kind, dim, seed=seed, threads=threads)})
        checks.choice("kind", kind, EMBEDDINGS)
        rows = self._first._rows(X)
        if kind == "input":
            return self._first.embed(rows, kind, dim, seed=seed, threads=threads)
        if dim is None and EMBEDDINGS[kind].takes_dim:
            dim = GRADIENT_DIM if kind == "gradient" else self._tangents_together()
        if EMBEDDINGS[kind].takes_dim:
            dim = self._share("dim", dim, 1)
        M, found = len(self.models), np.empty((0, 0, 0))
        for i, (one, own) in enumerate(zip(self.models, member_seeds(seed, M), strict=True)):
            part = one.embed(rows, kind, dim, seed=own, threads=threads)
            if i == 0:
                found = np.empty((len(part), M, part.shape[1]), part.dtype)
            np.divide(part, np.sqrt(M), out=found[:, i], casting="same_kind")
        return found.reshape(len(found), M * found.shape[2])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all members to one ``.npz`` file, which `load` reads, as `Model.save` does one.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        OSError
            As for `Model.save`.
        """
        saving.save_members(self, path)

    def summary(self) -> dict[str, Any]:
        """What the members have in common, as of `Model.summary`, and how each ended, as plain Python values."""
        first = self._first.summary()
        return {
            **{part: first[part] for part in ("network", "objective", "strengths") if part in first},
            "training": {**first["training"], "interrupted": self.interrupted},
            "members": [
                f"seed {one.training.get('seed')}: {one.training.get('stopped')}, "
                f"{'trusted' if one.certificate.trusted else 'not trusted'}"
                for one in self.models
            ],
            "features": first["features"],
            "hardly_used": [
                name
                for name in first["hardly_used"]
                if all(name in one._hardly_used() for one in self.models)
            ],
            "tangents": first["tangents"],
            "certificate": {**asdict(self.certificate), "reasons": list(self.certificate.reasons)},
        }

    @property
    def _output_dtype(self) -> np.dtype:
        return self._first._output_dtype

    def _mean(self, of: Callable[[Model], NDArray]) -> Float:
        return mean(of(one) for one in self.models)

    def _shaped(self, values: NDArray) -> NDArray:
        return self._first._shaped(values.reshape(len(values), self.n_outputs))

    def _tangents_together(self) -> int:
        """Tangents of noise, as many for each member."""
        return len(self.models) * min(len(one._noise_tangents()) for one in self.models)

    def _share(self, name: str, together: Any, least: int) -> int:
        """Of a number of all members together what each of them has."""
        return max(least, -(-checks.integer(name, together, at_least=least) // len(self.models)))

    def _label_variance(self, rows: NDArray, threads: int | None) -> Float:
        """Within and between the members (n, n_outputs), standard units."""
        within = self._mean(lambda one: one._label_variance(rows, threads))
        f = [one._standard_predictions(rows, threads).astype(np.float64) for one in self.models]
        return within + np.var(f, axis=0)

    def _warn_of_mistrust(self) -> None:
        if not (certificate := self.certificate).trusted:
            warn(certificate.warning, UntrustedTangentWarning)

    def _mean_score(self, of: Callable[[Model], NDArray]) -> Float:
        """With one warning of all members that are not trusted, and none of each."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UntrustedTangentWarning)
            found = self._mean(of)
        self._warn_of_mistrust()
        return found


_HIGH_IS_BAD = ("gradient_norm", "tangent_residual", "condition", "tangent_error")
_LOW_IS_BAD = ("smallest_curvature", "curvature_bound")


def _reasons(each: list[Certificate]) -> tuple[str, ...]:
    doubted = [i for i, one in enumerate(each) if not one.trusted]
    if not doubted:
        return ()
    first, *others = doubted
    more = (
        [f"nor can members {', '.join(map(str, others))} be trusted: see models[i].certificate"]
        if others
        else []
    )
    return (*(f"member {first}: {why}" for why in each[first].reasons), *more)


def member_seeds(seed: int, count: int) -> list[int]:
    """The seed itself, and others drawn from it; of more members the first have the same."""
    seed = checks.seed(seed)
    return [seed, *map(int, np.random.SeedSequence(seed).generate_state(count - 1))]


def refuse_several(model: Any, work: str) -> None:
    """Raise where work that is about one minimum is asked of several."""
    if isinstance(model, Members):
        raise TypeError(
            f"model must be one Model for {work}, got {len(model.models)} members; give one of them, such as "
            f"model.models[0]"
        )


def refuse_transformed(model: Any, work: str) -> None:
    """Raise where work is in the units of y, and they are not those that the network learned."""
    if power_of(model.scaling) is not None:
        raise ValueError(f"{work} {NOT_YET}")


def _difference(one: Model, other: Model) -> str | None:
    """What two models must have in common and have not."""
    differing = {
        "network": lambda m: (m.network.sizes, m.network.activation),
        "units of rows": lambda m: [a.tolist() for a in vars(m.scaling).values()],
        "objective": lambda m: m.objective,
        "dtype": lambda m: m.dtype,
        "feature names": lambda m: m.feature_names,
        "columns": lambda m: m.columns,
        "shape of y": lambda m: m.flat_targets,
    }
    return next((what for what, of in differing.items() if of(one) != of(other)), None)

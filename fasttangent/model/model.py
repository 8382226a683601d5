"""What `fit` returns: a trained network with its tangents, its certificate, and the scores they give.

Longer than 400 lines: one class, and more than half of the file documents its public methods.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import numpy as np

from fasttangent.common import checks
from fasttangent.common.columns import Columns
from fasttangent.common.encoded import Encoded, encoded, told, whole
from fasttangent.common.errors import UntrustedTangentWarning
from fasttangent.common.warning import warn
from fasttangent.common.words import DTYPES
from fasttangent.model import bad_rows, by_user, saving, scores
from fasttangent.model.batches import score_batches
from fasttangent.model.certificate import Certificate
from fasttangent.model.framed import framed, wants_frame
from fasttangent.model.pool_rows import check_names, from_pool, is_pool
from fasttangent.model.scores import Scores
from fasttangent.model.settings import FitSettings
from fasttangent.model.strengths import Path
from fasttangent.model.users import SHARED, Users
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective
from fasttangent.problem.problem import Problem
from fasttangent.problem.scaling import Scaling
from fasttangent.problem.target_scaling import power_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Finish = Callable[[Any, NDArray, NDArray], None]  # of a slice, or numbers of rows

EMBEDDED_ROWS = 1 << 15  # whose posterior embeddings are in memory together


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network and its regularity tangent tau = d theta / d strength.

    Made by `fit` and `load`.  Scores are computed in `dtype`; parameters and tangents are kept in float64.

    Attributes
    ----------
    network : Network
        Architecture; ``network.layout`` has the views of a layer in a flat vector.
    objective : Objective
        Loss, complexity and strength.
    params : ndarray of float64, shape (p,)
        theta, for inputs and targets in standard units.  With users, here and in tangents, the deviations of one after
        another follow, see `of_user`.
    tangents : dict of str to ndarray of float64
        "strength": tau (p,).  "groups": the tangent of each group's strength (K, p), whose sum weighted by
        ``objective.ratios`` is tau.  Of `with_posterior`: "posterior", K tangents of noise of variance 1 (K, p), and
        "bias" (p,).  Empty when none was carried.
    noise : float
        Variance of a label around the network's function, in standard units, as the training rows show it; nan
        without tangents of noise.
    certificate : Certificate
        Whether the scores are to be trusted, and if not, why and what to do.
    history : dict of str to ndarray
        "loss" by epoch, "tangent_residual" at some "residual_epoch"s, and "gradient_norm", "objective" and
        "seconds" while settling.
    interrupted : bool
        Whether training ended by Ctrl-C.
    """

    network: Network
    objective: Objective
    scaling: Scaling
    params: Float
    tangents: dict[str, Float]
    certificate: Certificate
    slope_squared: Float  # (n_outputs,) mean of loss'^2 over the training rows, standard units
    dtype: str = "float32"
    feature_names: tuple[str, ...] | None = None  # of the table's columns
    flat_targets: bool = True  # y was (n,), not (n, n_outputs)
    interrupted: bool = False
    training: dict[str, Any] = field(default_factory=dict)
    history: dict[str, NDArray] = field(default_factory=dict)
    threads: int | None = None
    noise: float = float("nan")
    settings: FitSettings | None = None  # what `fit` was told; None if it was not `fit`
    columns: Columns | None = (
        None  # what is made of a table's columns; None: an array's are taken as they are
    )
    users: Users | None = None  # whose rows it was fitted on, if they were several users'

    @property
    def models(self) -> tuple[Model, ...]:
        """This one alone, with users the shared one: what works with `Members` goes through their models."""
        return (self.shared,)

    @property
    def shared(self) -> Model:
        """Of a model with users, that of a user it does not know: what all share.  Else the model itself."""
        return by_user.alone(self, SHARED)

    def of_user(self, user: int | str) -> Model:
        """The model of one user: parameters and tangents are what is shared plus its own.

        Parameters
        ----------
        user : int or str
            One of ``model.users.ids``.

        Returns
        -------
        Model
            Without users, for whatever takes a model: `select`, `to_torch`, `embed`.  It is no minimum of an objective
            of its own, so its `settings` are None.

        Raises
        ------
        ValueError
            If the model has no users, or not this one.

        Examples
        --------
        >>> import numpy as np
        >>> import fasttangent as ft
        >>> X = np.tile(np.linspace(-1, 1, 30), 2)[:, None]
        >>> who = np.repeat(["anna", "ben"], 30)
        >>> y = np.where(who == "anna", 1.0, 2.0) * np.sin(3 * X[:, 0])
        >>> model = ft.fit(X, y, users=who, hidden=(8,), strength=1e-3)
        >>> model.of_user("ben").predict([[0.5]]).round(1)
        array([2.], dtype=float32)
        >>> bool((model.of_user("anna").predict(X) == model.predict(X, users="anna")).all())
        True
        """
        if self.users is None:
            raise ValueError("the model has no users; fit with users=")
        return by_user.alone(self, self.users.number(user))

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.network.sizes[0]

    @property
    def input_names(self) -> tuple[str, ...] | None:
        """Names of the inputs, of which a column may have several."""
        return self.feature_names if self.columns is None else self.columns.inputs

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self.network.sizes[-1]

    @property
    def strengths(self) -> dict[str, float]:
        """The strength of each group of parameters, by its name: strength times ratio."""
        return self.objective.by_group(self.network, self.feature_names)

    @property
    def path(self) -> Path | None:
        """The strengths that were tried where one was learned, and what was found there; else None."""
        if "path_strength" not in self.history:
            return None
        error = self.certificate.strength_error
        return Path.kept(self.history, np.nan if error is None else error)

    def _hardly_used(self) -> list[str]:
        """Columns all of whose inputs have weights below a tenth of those of the input with the largest."""
        size = np.sqrt(np.sum(self.network.layout.weights(self.params, 0) ** 2, axis=1))
        if self.columns is not None:
            of = np.array(self.columns.of_inputs)
            size = np.array([size[of == j].max() for j in range(of.max() + 1)])
        names = self.feature_names or [f"x{j}" for j in range(len(size))]
        return [name for name, one in zip(names, size, strict=True) if one < 0.1 * size.max()]

    @property
    def _output_dtype(self) -> np.dtype:
        return self.scaling.output_dtype(np.dtype(self.dtype))

    def __repr__(self) -> str:
        trusted = "trusted" if self.certificate.trusted else "not trusted"
        users = "" if self.users is None else f", {len(self.users.ids)} users"
        return f"Model({self.network}{users}, strength={self.objective.strength:g}, {trusted})"

    @overload
    def predict(
        self,
        X: Any,
        *,
        return_std: Literal[False] = False,
        users: Any = None,
        threads: int | None = None,
        output: Literal["array"] = "array",
    ) -> NDArray: ...

    @overload
    def predict(
        self,
        X: Any,
        *,
        return_std: Literal[True],
        users: Any = None,
        threads: int | None = None,
        output: Literal["array"] = "array",
    ) -> tuple[NDArray, NDArray]: ...

    @overload
    def predict(
        self,
        X: Any,
        *,
        return_std: bool = False,
        users: Any = None,
        threads: int | None = None,
        output: Literal["frame"],
    ) -> Any: ...

    def predict(
        self,
        X: Any,
        *,
        return_std: bool = False,
        users: Any = None,
        threads: int | None = None,
        output: str = "array",
    ) -> Any:
        """Predictions, and how far a label may be from them.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
            Rows in the units the model was fitted on, of any real dtype; also a memory map.
        return_std : bool
            Also return the standard deviation of a new label, sqrt(Var f(x) + noise): of the linearised-Laplace
            posterior, by the model's K tangents of noise (relative error about 1 / sqrt(2 K)).
        users : array_like of shape (n,), or one id, optional
            Of a model with users: whose each row is.  One that the model was not fitted on gets the shared model, and a
            warning; so does, without it, every row without one.
        threads : int, optional
            Default: the model's, else all cores.
        output : {"array", "frame"}
            "frame": a table of the kind of X, with a column "prediction" and one "deviation" where that is wanted, of
            several outputs "prediction_0" and so on; of pandas with the index of X.

        Returns
        -------
        ndarray of `dtype`, shape (n,) or (n, n_outputs); or two of them; or a table
            In the units of y, of the shape y had.  Of float64 where float32 could not hold those units: if the training
            labels were above 1e30, or their standard deviation below 1e-30.  inf beyond the range of float64.

        Raises
        ------
        ValueError
            If X has another number of columns or a value that is not finite; or if a deviation is wanted of a model
            without tangents of noise; or if there are users and the model knows none.
        TypeError
            If a table is wanted and X is none.

        Examples
        --------
        >>> import numpy as np, pandas as pd, fasttangent as ft
        >>> table = pd.DataFrame({"x": np.linspace(-1, 1, 40)}, index=[f"sample {i}" for i in range(40)])
        >>> model = ft.fit(table, table["x"] ** 2, hidden=(8,), strength=1e-4)
        >>> model.predict(table[:2], output="frame").round(1)
                  prediction
        sample 0         1.0
        sample 1         0.9
        """
        as_frame, rows = wants_frame(X, output), self._rows(X)
        of = by_user.numbers_of(self, users, len(rows))
        found = np.empty((len(rows), self.n_outputs), self._output_dtype)

        standard = np.empty(found.shape, self.dtype) if return_std else None

        def finish(part: slice, f: NDArray, ft: NDArray) -> None:
            found[part] = self.scaling.predictions(f)
            if standard is not None:
                standard[part] = f

        self._each_chunk(rows, np.empty((0, len(self.params))), threads, finish, of)
        prediction = self._shaped(found)
        if standard is None:
            return framed(X, prediction=prediction) if as_frame else prediction
        spread = np.sqrt(self._label_variance(rows, threads, of))
        deviation = self._shaped(self.scaling.deviations(standard, spread))
        return framed(X, prediction=prediction, deviation=deviation) if as_frame else (prediction, deviation)

    def posterior(
        self, X: Any, samples: int | None = None, *, users: Any = None, threads: int | None = None
    ) -> NDArray:
        """Draws of the function f at rows, from the linearised-Laplace posterior: f(x) + sqrt(noise) tau_k . grad f(x).

        Draw k is one function: the same in every call, whatever the rows.  Without the noise of labels.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        samples : int, optional
            How many; default: as many as the model has tangents of noise.
        users : array_like of shape (n,), or one id, optional
            Of a model with users: whose each row is.  One that the model was not fitted on gets the shared model, and a
            warning; so does, without it, every row without one.
        threads : int, optional

        Returns
        -------
        ndarray, shape (samples, n) or (samples, n, n_outputs)
            In the units of y; the dtype is that of `predict`.

        Raises
        ------
        ValueError
            As for `predict`, or if the model has fewer tangents of noise.

        Examples
        --------
        >>> import numpy as np
        >>> import fasttangent as ft
        >>> X = np.linspace(-1, 1, 40)[:, None]
        >>> y = np.sin(3 * X[:, 0]) + np.random.default_rng(0).normal(0, 0.1, 40)
        >>> model = ft.fit(X, y, hidden=(8,), strength=1e-2, tangents=("strength", "posterior"))
        >>> inside, outside = model.posterior([[0.0], [3.0]]).std(axis=0)
        >>> bool(outside > 3 * inside)
        True
        """
        rows, drawn = self._rows(X), len(self._noise_tangents())
        K = drawn if samples is None else checks.integer("samples", samples, at_least=1)
        if drawn < K:
            raise ValueError(
                f"samples must be at most {drawn}, the model's tangents of noise, got {K}; "
                f"draw more: model.with_posterior(X, y, samples={K})"
            )
        of = by_user.numbers_of(self, users, len(rows))
        found = np.empty((K, len(rows), self.n_outputs), self._output_dtype)

        def finish(part: slice, f: NDArray, ft: NDArray) -> None:
            found[:, part] = self.scaling.linear(f)

        self._each_chunk(rows, np.empty((0, len(self.params))), threads, finish, of)
        for part, E in self._noise_embeddings(rows, K, threads, of):
            found[:, part] += np.moveaxis(E, 2, 0) * (np.sqrt(K) * self.scaling.y_scale)
        found = self.scaling.brought_back(found).astype(found.dtype, copy=False)
        return found[:, :, 0] if self.flat_targets else found

    def with_posterior(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        samples: int = 256,
        seed: int = 0,
        users: Any = None,
        threads: int | None = None,
    ) -> Model:
        """This model with tangents of noise, for `predict` with deviations, `posterior`, `embed` and batches.

        For any model, settled or not, from one Gauss-Newton system on the labelled rows: the tangents tau_k are draws
        from N(0, A^-1 / S), and the posterior of theta is params + sqrt(noise) tau_k.  The noise is the residual sum
        of squares over the number of labels less the effective parameters; under strengths that were learned, times
        the number of labels over that once more (generalised cross-validation).

        Parameters
        ----------
        X : array_like of shape (n, n_features)
            The rows the model was trained on.
        y : array_like of shape (n,) or (n, n_outputs), optional
            Their labels.  Without them, the noise comes from the residuals at training, and robust losses are taken
            for squared ones.
        sample_weight : array_like of shape (n,), optional
        samples : int
            K.  Deviations are off by about 1 / sqrt(2 K) of themselves; a batch of k rows wants K > k.
        seed : int
        users : array_like of shape (n,), optional
            Whose rows they are, of a model with users, which needs their labels, too.
        threads : int, optional

        Returns
        -------
        Model
            With ``tangents["posterior"]`` (K, p), ``tangents["bias"]`` = strength A^-1 grad C (p,) and ``noise``;
            otherwise this one.

        Raises
        ------
        ValueError
            If rows or labels do not fit the model or are not finite.
        IndefiniteError
            If the strength is 0 and the rows leave directions undetermined.

        References
        ----------
        MacKay 1992, "A practical Bayesian framework for backpropagation networks"; Antoran et al. 2023,
        "Sampling-based inference for large linear models", arXiv 2210.04994.
        """
        from fasttangent.model.posterior import draw

        samples, seed = (
            checks.integer("samples", samples, at_least=2),
            checks.seed(seed),
        )
        if y is None and self.users is not None:
            raise ValueError(
                "y must be given for a model with users; pass the labels of the rows, and users="
            )
        if y is None:
            rows = self.standard_inputs("X", X)
            w = checks.row_weights("sample_weight", sample_weight, len(rows))
            squared = replace(self.objective, loss="squared")
            labels = np.zeros((len(rows), self.n_outputs))
            n_threads = checks.thread_count(self.threads if threads is None else threads)
            problem = Problem(self.network, squared, rows, labels, w, n_threads)
            residual_variance = float(np.mean(self.slope_squared))
        else:
            problem = self.problem(X, y, sample_weight, users=users, threads=threads)
            residual_variance = problem.residual_variance(self.params)
        learned = self.path is not None
        drawn = draw(problem, self.params, residual_variance, samples, seed, learned)
        return replace(
            self,
            tangents={**self.tangents, "posterior": drawn.tangents, "bias": drawn.bias},
            noise=drawn.noise,
        )

    @overload
    def embed(
        self,
        X: Any,
        kind: str = "posterior",
        dim: int | None = None,
        *,
        seed: int = 0,
        users: Any = None,
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
        users: Any = None,
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
        users: Any = None,
        threads: int | None = None,
        output: str = "array",
    ) -> Any:
        """Rows as vectors whose inner products say how much two rows have in common, for diverse batches.

        All in standard units.  With f the outputs of the network, h_l the inputs of layer l and d_l the derivatives
        of an output in its pre-activations,

            posterior   e_k(x) = sqrt(noise / K) tau_k . grad f(x):  E E^T is the posterior covariance of f
            error       the same, and one more column: -strength s(x), to first order what f(x) would gain without
                        the regulariser, s(x) by the Gauss-Newton matrix:  E E^T is covariance plus bias bias^T
            gradient    sum_l (P_l h_l) * (Q_l d_l) / sqrt(D), P_l and Q_l standard normal:  E[E E^T] = J J^T
            hidden      h of the last layer
            input       standardised inputs; 0 where a column was constant in training

        Parameters
        ----------
        X : array_like of shape (n, n_features)
            Rows in the units the model was fitted on, of any real dtype; also a memory map.
        kind : {"posterior", "error", "gradient", "hidden", "input"}
            "posterior" and "error" need tangents of noise, see `with_posterior`.
        dim : int, optional
            K of "posterior" and "error": the first so many tangents; default all.  D of "gradient"; default 512.  The
            standard deviation of an inner product is at most 3 / sqrt(D) of the product of the two lengths.  Not for
            the others, whose size the network sets.
        seed : int
            Of "gradient": rows embedded with different seeds have nothing in common.
        users : array_like of shape (n,), or one id, optional
            As for `predict`; not for "gradient".
        threads : int, optional
            Default: the model's, else all cores.  The result is the same for any number.
        output : {"array", "frame"}
            "frame": a table of the kind of X, with columns "posterior_0" and so on, named by the kind.

        Returns
        -------
        ndarray of `dtype`, shape (n, D); or a table
            Several outputs: "posterior" has them side by side, D = n_outputs K, so has "error", D = n_outputs (K + 1);
            "gradient" adds them up.  So inner products are sums over the outputs.

        Raises
        ------
        ValueError
            As for `predict`; or if an argument is not as described, or the model has no tangents of noise.
        TypeError
            If a table is wanted and X is none.

        References
        ----------
        Holzmueller et al. 2023, "A framework and benchmark for deep batch active learning for regression", JMLR 24
        (164), arXiv 2203.09410: sketches of gradients layer by layer.

        Examples
        --------
        >>> import numpy as np
        >>> import fasttangent as ft
        >>> X = np.linspace(-1, 1, 40)[:, None]
        >>> model = ft.fit(X, np.sin(3 * X[:, 0]), hidden=(8,), strength=1e-2)
        >>> near, same, far = model.embed([[0.5], [0.5], [-1.0]], "gradient")
        >>> bool((near == same).all()), bool(near @ near > abs(near @ far))
        (True, True)
        """
        from fasttangent.model import embeddings

        if wants_frame(X, output):
            return framed(X, **{kind: self.embed(X, kind, dim, seed=seed, users=users, threads=threads)})
        rows, n_threads = self._rows(X), checks.thread_count(self.threads if threads is None else threads)
        of = by_user.numbers_of(self, users, len(rows))
        if of is not None and kind == "gradient":
            raise ValueError(
                "kind must be another than 'gradient' with users, whose own gradients the sketch does not tell apart; "
                "use 'posterior', or model.of_user(user).embed"
            )
        if self.users is not None:
            return by_user.embedded(
                self, rows, of, lambda one, own: one.embed(own, kind, dim, seed=seed, threads=n_threads)
            )
        found = embeddings.embed(self, rows, kind, dim=dim, seed=seed, threads=n_threads)
        bad_rows.refuse(self, rows, found.bad)
        told(rows)
        return found.E

    def sensitivity(
        self, X: Any, *, group: str | None = None, users: Any = None, threads: int | None = None
    ) -> NDArray:
        """s(x) = tau . grad f(x) = d prediction / d strength: change the strength by h, refit, and the prediction
        changes by h s(x).

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        group : str, optional
            d prediction / d the strength of this group alone, see `strengths`; for models with tangents "groups".
            Default: of the common factor of all.  "users" is the group of users' deviations.
        users : array_like of shape (n,), or one id, optional
            Of a model with users: whose each row is.  One that the model was not fitted on gets the shared model, and a
            warning; so does, without it, every row without one.
        threads : int, optional

        Returns
        -------
        ndarray, shape (n,) or (n, n_outputs)
            Units of y per unit of strength; the dtype is that of `predict`.

        Raises
        ------
        ValueError
            As for `predict`, or if the model carries no such tangent.

        References
        ----------
        Eaton 2024, arXiv 2411.15292.
        """
        rows = self._rows(X)
        found = np.empty((len(rows), self.n_outputs), self._output_dtype)

        def finish(part: slice, f: NDArray, ft: NDArray) -> None:
            found[part] = self.scaling.changes_at(f, ft[:, 0])

        of = by_user.numbers_of(self, users, len(rows))
        self._each_chunk(rows, self._tangent(group)[None], threads, finish, of)
        return self._shaped(found)

    def influence(
        self, X: Any, y: Any, *, group: str | None = None, users: Any = None, threads: int | None = None
    ) -> Float:
        """tau . grad loss(x, y) = loss'(f - y) s(x): what labelling a row does to the model's complexity.

        As an experiment: add eps loss(x, y) to the objective F, refit, and C changes by eps times this number.
        One further row among n has eps = 1/n.  Positive: the row makes the model more complex.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        y : array_like of shape (n,) or (n, n_outputs)
            Labels, in the units of y.
        group : str, optional
            The change of this group's complexity C_g, see `strengths`; default: of C = sum_g ratio_g C_g.  With
            users: "users" says what a row does to the deviations, the other groups what it does to what is shared.
        users : array_like of shape (n,), or one id, optional
            Of a model with users: whose each row is.  One that the model was not fitted on gets the shared model, and a
            warning; so does, without it, every row without one.
        threads : int, optional

        Returns
        -------
        ndarray of float64, shape (n,)
            Change of C = ||theta||^2 / 2, theta in standard units (so without unit), per unit of eps.

        Raises
        ------
        ValueError
            As for `sensitivity`, or if y does not match X or is not finite.
        """
        rows, labels = self.labelled_rows(X, y)
        found, y_standard = np.empty(len(rows)), self.scaling.near_targets("y", labels)

        def finish(part: slice, f: NDArray, ft: NDArray) -> None:
            found[part] = scores.influence(self.objective, f, y_standard[part], ft[:, 0])

        self._each_chunk(
            rows, self._tangent(group)[None], threads, finish, by_user.numbers_of(self, users, len(rows))
        )
        return found

    def curiosity(
        self,
        X: Any,
        variance: Any = None,
        *,
        group: str | None = None,
        users: Any = None,
        threads: int | None = None,
    ) -> Float:
        """E_y[influence^2] = E[loss'^2] s(x)^2, which needs no label: for squared loss sigma^2(x) s(x)^2.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        variance : float, array_like of shape (n,) or (n, n_outputs), or "posterior", optional
            sigma^2, the variance of y given x that you believe in, in units of y squared; "posterior": the square of
            the deviation that `predict` gives.  Default: what the training rows show, the mean of loss'^2 (for
            squared loss the residual variance).
        group : str, optional
            As for `influence`.
        users : array_like of shape (n,), or one id, optional
            Of a model with users: whose each row is.  One that the model was not fitted on gets the shared model, and a
            warning; so does, without it, every row without one.
        threads : int, optional

        Returns
        -------
        ndarray of float64, shape (n,)
            Expected squared change of C per squared unit of eps, as in `influence`; without unit.

        Raises
        ------
        ValueError
            As for `sensitivity`, or if the variance is negative or of another shape.
        """
        rows, by_posterior = self._rows(X), isinstance(variance, str)
        of = by_user.numbers_of(self, users, len(rows))
        if by_posterior:
            checks.choice("variance", variance, ("posterior",))
        slope_squared = self._slope_squared(None if by_posterior else variance, len(rows))
        s = self._standard_sensitivity(rows, threads, group, of)
        if by_posterior:
            believed = self._label_variance(rows, threads, of)
            slope_squared = scores.expected_slope_squared(self.objective, believed)
        return scores.curiosity(slope_squared, s)

    @overload
    def score(
        self, X: Any, *, users: Any = None, threads: int | None = None, output: Literal["array"] = "array"
    ) -> Scores: ...

    @overload
    def score(
        self, X: Any, *, users: Any = None, threads: int | None = None, output: Literal["frame"]
    ) -> Any: ...

    def score(self, X: Any, *, users: Any = None, threads: int | None = None, output: str = "array") -> Any:
        """Prediction, sensitivity and curiosity of rows in one pass.

        Rows that hold a value that is not finite have nan for all three, and a warning counts them; the other
        methods raise.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        users : array_like of shape (n,), or one id, optional
            Of a model with users: whose each row is.  One that the model was not fitted on gets the shared model, and a
            warning; so does, without it, every row without one.
        threads : int, optional
        output : {"array", "frame"}
            "frame": a table of the kind of X, as `Scores.to_frame` makes it.

        Returns
        -------
        Scores, or a table

        Raises
        ------
        TypeError
            If a table is wanted and X is none.
        """
        if wants_frame(X, output):
            return self.score(X, users=users, threads=threads).to_frame(X)
        rows = self._rows(X)
        found = by_user.scored(self, rows, by_user.numbers_of(self, users, len(rows)), threads)
        self._warn_of_mistrust()
        bad_rows.warn_of(self, rows, found.bad)
        told(rows)
        return found.scores

    def score_batches(
        self, batches: Any, *, keep: Sequence[str] = (), threads: int | None = None
    ) -> Iterator[Any]:
        """Scores of a stream of Arrow record batches, as a stream of record batches.

        What Spark's ``mapInArrow`` calls, and all that other engines need: a batch at a time is in memory.

        Parameters
        ----------
        batches : iterable of pyarrow.RecordBatch
            Rows in the units the model was fitted on; their columns are found by name where the model knows names, else
            all but those of `keep` are taken in their order.  Also a table, a data set or a reader of Arrow.
        keep : sequence of str
            Columns of any kind that go with the scores, such as an id.
        threads : int, optional
            Default: the model's, else all cores.

        Returns
        -------
        iterator of pyarrow.RecordBatch
            Of each batch the columns of `keep`, "prediction", "sensitivity" and "curiosity": to the bit what `score`
            gives for the same rows, however they are cut into batches.  Of several outputs "prediction_0" and so on.
            Rows that hold a value that is missing or not finite have nan; a warning at the end counts them.

        Raises
        ------
        ImportError
            Without pyarrow.
        ValueError, TypeError
            As for `score`; or if there is no column of `keep`, or it is called as one of the scores.

        Examples
        --------
        >>> import numpy as np, pyarrow as pa
        >>> import fasttangent as ft
        >>> X = np.linspace(-1, 1, 40)[:, None]
        >>> model = ft.fit(X, np.sin(3 * X[:, 0]), hidden=(8,), strength=1e-2, feature_names=["x"])
        >>> table = pa.table({"x": np.linspace(-2, 2, 1000), "id": [f"row {i}" for i in range(1000)]})
        >>> scored = model.score_batches(table.to_batches(max_chunksize=300), keep=["id"])
        >>> next(scored).schema.names
        ['id', 'prediction', 'sensitivity', 'curiosity']
        """
        return score_batches(self, batches, keep, threads)

    def problem(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        users: Any = None,
        threads: int | None = None,
    ) -> Problem:
        """The objective F of the model on labelled rows: its values, gradients and curvature products, in float64.

        Give the training rows to get the problem whose minimum the model is.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        y : array_like of shape (n,) or (n, n_outputs)
            Labels, in the units of y.
        sample_weight : array_like of shape (n,), optional
            w >= 0; F divides by their sum.
        users : array_like of shape (n,), optional
            Whose rows they are, of a model with users, which needs it: ones that the model knows.
        threads : int, optional

        Returns
        -------
        Problem

        Raises
        ------
        ValueError
            If X or y does not fit the model or is not finite, or there is no row.
        """
        rows, labels = self.labelled_rows(X, y)
        if len(rows) == 0:
            raise ValueError("X must have at least 1 row, got none")
        checks.finite("X", rows)
        w = checks.row_weights("sample_weight", sample_weight, len(rows))
        near = self.scaling.near_inputs("X", rows), self.scaling.near_targets("y", labels), w
        n_threads = checks.thread_count(self.threads if threads is None else threads)
        of = by_user.numbers_of(self, users, len(rows))
        return by_user.problem_of(self, near, of, n_threads)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one ``.npz`` file, which `load` reads; it holds no pickled objects.

        The file is written under another name and renamed, so `path` holds the old model or the new one, never
        half of one.  Of a symbolic link the file it leads to is replaced.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        OSError
            If the folder is not writable, the disk is full, or there is a folder, a device or a pipe at `path`.
        """
        saving.save(self, path)

    def to_torch(self) -> Any:
        """The network as a torch.nn.Sequential of float64 that takes and gives the units of the user.

        Of a model of columns of any kind it takes their inputs, which `matrix` makes.

        Returns
        -------
        torch.nn.Sequential

        Raises
        ------
        ImportError
            Without torch.
        """
        from fasttangent.model.exports import to_torch

        self._refuse_users("to_torch")
        return to_torch(self)

    def _refuse_users(self, what: str) -> None:
        if self.users is not None:
            raise ValueError(
                f"{what} takes a model without users, got one with {len(self.users.ids)}; call it of model.shared, or "
                f"of model.of_user(user)"
            )

    def to_sklearn(self) -> Any:
        """The network as a fitted MLPRegressor that takes and gives the units of the user.

        Of a model of columns of any kind it takes their inputs, which `matrix` makes, by `input_names`.

        Returns
        -------
        sklearn.neural_network.MLPRegressor

        Raises
        ------
        ImportError
            Without scikit-learn.
        ValueError
            If the activation is not tanh, relu or identity: scikit-learn has no other that is here.
        """
        from fasttangent.model.exports import to_sklearn

        self._refuse_users("to_sklearn")
        alpha = self.objective.strength * self.training.get("rows", 1)
        return to_sklearn(self, alpha, self.input_names)

    def to_onnx(self, path: str | os.PathLike[str] | None = None, *, dtype: str = "float64") -> Any:
        """What `predict` does as an ONNX graph, of opset 17, for runtimes without Python.

        It takes "X" (n, n_features) in float64, rows as the model takes them.  Of a model of columns of any kind it
        takes an input (n, 1) for each column by its name: categories as text, empty where missing; all others in
        float64, nan where missing: True and False as 1 and 0, moments as days since 1970 in UTC, durations as days.
        It gives "prediction" (n,) or (n, n_outputs), in float64 and the units of y.

        Parameters
        ----------
        path : path-like, optional
            Where to write it, too.
        dtype : {"float64", "float32"}
            In which the network is computed; its inputs are brought to standard units in float64.  onnxruntime has the
            erf of "gelu" in float32 alone.

        Returns
        -------
        onnx.ModelProto

        Raises
        ------
        ImportError
            Without onnx.
        ValueError
            If the model has users, or a column has no name, or that of the output.
        OSError
            As for `save`.
        """
        from fasttangent.model.onnx_graph import Exported, to_onnx

        self._refuse_users("to_onnx")
        kind = np.dtype(checks.choice("dtype", dtype, DTYPES))
        exported = Exported(self.network, self.scaling, self.params, self.columns, self.flat_targets)
        return to_onnx(exported, kind, path)

    def summary(self) -> dict[str, Any]:
        """Network, objective, training and certificate as plain Python values."""
        return {
            "network": {
                "sizes": list(self.network.sizes),
                "activation": self.network.activation,
                "parameters": self.network.layout.n_params,
            },
            "objective": {
                name: getattr(self.objective, name) for name in ("loss", "delta", "complexity", "strength")
            },
            **({"strengths": self.strengths} if self.objective.ratios or self.users else {}),
            **({"users": len(self.users.ids)} if self.users else {}),
            "training": {**self.training, "dtype": self.dtype, "interrupted": self.interrupted},
            "features": list(self.feature_names) if self.feature_names else None,
            **({} if self.columns is None else {"columns": self.columns.summary}),
            **({} if (power := power_of(self.scaling)) is None else {"target_power": list(power)}),
            "hardly_used": self._hardly_used(),
            "tangents": list(self.tangents),
            "certificate": {**asdict(self.certificate), "reasons": list(self.certificate.reasons)},
        }

    def matrix(self, name: str, X: Any) -> NDArray:
        """Rows as the numbers that the network takes, before they are brought to standard units.

        Every method that takes rows reads them so.

        Parameters
        ----------
        name : str
            Of the argument, for errors.
        X : array_like of shape (n, n_features)
            Rows as given; columns with names are found by them.

        Returns
        -------
        ndarray, shape (n, n_features)
            Of any real dtype; no copy where X is such an array.

        Raises
        ------
        ValueError, TypeError
            If the rows do not fit the model or hold no numbers.
        """
        return whole(self._read(name, X))

    def _rows(self, X: Any) -> NDArray:
        found = self._read("X", X)
        return cast("NDArray", found) if self.users is None else whole(found)  # `Encoded` is read as an array

    def _read(self, name: str, X: Any) -> NDArray | Encoded:
        if self.columns is None:
            return checks.features(name, X, self.n_features, self.feature_names)
        return encoded(name, X, self.columns)

    def standard_inputs(self, name: str, X: Any) -> Float:
        """Rows in standard units and float64, all of them finite.

        Parameters
        ----------
        name : str
            Of the argument, for errors.
        X : array_like of shape (n, n_features)
            Rows as given.

        Returns
        -------
        ndarray of float64, shape (n, n_features)

        Raises
        ------
        ValueError
            If the rows do not fit the model or hold a value that is not finite.
        """
        rows = self.matrix(name, X)
        checks.finite(name, rows)
        return self.scaling.near_inputs(name, rows)

    def labelled_rows(self, X: Any, y: Any) -> tuple[NDArray, NDArray]:
        """Rows and their labels, checked against each other and the model.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        y : array_like of shape (n,) or (n, n_outputs)

        Returns
        -------
        rows : ndarray, shape (n, n_features)
        labels : ndarray, shape (n, n_outputs)
            Both in the units they were given in.

        Raises
        ------
        ValueError
            If they do not fit each other or the model, or a label is not finite.
        """
        if is_pool(X):
            X, y, names = from_pool(X, y)
            check_names(names, self.feature_names)
        rows = self.matrix("X", X)
        Y = checks.targets("y", y, len(rows))
        checks.finite("y", Y)
        if Y[:1].size != self.n_outputs * len(rows[:1]):
            raise ValueError(f"y must have {self.n_outputs} outputs per row, got shape {Y.shape}")
        return rows, Y.reshape(len(rows), self.n_outputs)

    def _each_chunk(
        self,
        rows: NDArray,
        tangents: Float,
        threads: int | None,
        finish: Finish,
        of: NDArray[np.int64] | None = None,
    ) -> None:
        """Call finish(part, f, ft) for chunks of rows, which are all to be finite; `of` are the numbers of users."""
        n_threads = checks.thread_count(self.threads if threads is None else threads)
        if self.users is not None:
            bad_rows.refuse(self, rows, by_user.each_chunk(self, tangents, rows, of, n_threads, finish))
            return
        bad_rows.refuse(self, rows, scores.each_chunk(self, tangents, rows, n_threads, finish))
        told(rows)

    def _tangent(self, group: str | None = None) -> Float:
        tangent = scores.strength_tangent(self) if group is None else self._group_tangent(group)
        self._warn_of_mistrust()
        return tangent

    def _group_tangent(self, group: str) -> Float:
        names = tuple(self.strengths)
        number = names.index(checks.choice("group", group, names))
        if "groups" not in self.tangents:
            raise ValueError('the model has no tangents of groups; fit with tangents=("strength", "groups")')
        return self.tangents["groups"][number]

    def _warn_of_mistrust(self) -> None:
        if not self.certificate.trusted:
            warn(self.certificate.warning, UntrustedTangentWarning)

    def _standard_predictions(self, rows: NDArray, threads: int | None) -> NDArray:
        """f (n, n_outputs) in `dtype`."""
        found = np.empty((len(rows), self.n_outputs), self.dtype)

        def finish(part: slice, f: NDArray, ft: NDArray) -> None:
            found[part] = f

        self._each_chunk(rows, np.empty((0, len(self.params))), threads, finish)
        return found

    def _standard_sensitivity(
        self,
        rows: NDArray,
        threads: int | None,
        group: str | None = None,
        of: NDArray[np.int64] | None = None,
    ) -> NDArray:
        """s (n, n_outputs) in `dtype`."""
        found = np.empty((len(rows), self.n_outputs), self.dtype)

        def finish(part: slice, f: NDArray, ft: NDArray) -> None:
            found[part] = ft[:, 0]

        self._each_chunk(rows, self._tangent(group)[None], threads, finish, of)
        return found

    def _noise_tangents(self) -> Float:
        """(K, p) for noise of variance 1."""
        if "posterior" not in self.tangents:
            raise ValueError(
                "the model has no tangents of noise, so it knows no deviations; fit with "
                'tangents=("strength", "posterior"), or use model.with_posterior(X, y)'
            )
        return self.tangents["posterior"]

    def _noise_embeddings(
        self, rows: NDArray, K: int, threads: int | None, of: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[slice, NDArray]]:
        """Posterior embeddings of some rows at a time, each (rows, n_outputs, K)."""

        def embed(one: Model, own: NDArray) -> NDArray:
            return one.embed(own, "posterior", dim=K, threads=threads)

        for start in range(0, len(rows), EMBEDDED_ROWS):
            part = slice(start, min(start + EMBEDDED_ROWS, len(rows)))
            if self.users is None:
                E = embed(self, rows[part])
            else:
                E = by_user.embedded(self, rows[part], None if of is None else of[part], embed)
            yield part, E.reshape(len(E), self.n_outputs, K)

    def _label_variance(
        self, rows: NDArray, threads: int | None, of: NDArray[np.int64] | None = None
    ) -> Float:
        """Var f + noise (n, n_outputs), standard units."""
        variance, K = np.full((len(rows), self.n_outputs), self.noise), len(self._noise_tangents())
        for part, E in self._noise_embeddings(rows, K, threads, of):
            variance[part] += np.sum(np.square(E, dtype=np.float64), axis=2)
        return variance

    def _slope_squared(self, variance: Any, n: int) -> Float:
        """E[loss'^2] in standard units, to broadcast against (n, n_outputs)."""
        if variance is None:
            return self.slope_squared
        v = checks.array("variance", variance).astype(np.float64)
        if v.shape not in ((), (n,), (n, self.n_outputs)):
            raise ValueError(
                f"variance must be a number or have shape ({n},) to match X, got shape {v.shape}"
            )
        if not (np.isfinite(v).all() and (v >= 0).all()):
            raise ValueError("variance must be finite and >= 0; it is a variance of y, in units of y squared")
        standard = self.scaling.standard_variance(v[:, None] if v.ndim == 1 else v)
        if not np.isfinite(standard).all():
            raise ValueError(
                f"variance must be a number in variances of y, got {float(v.max()):g} where y has a standard deviation "
                f"of {float(self.scaling.y_scale.min()):g}; it is in units of y squared"
            )
        return scores.expected_slope_squared(self.objective, standard)

    def _shaped(self, values: NDArray) -> NDArray:
        """(n, n_outputs) in the dtype of predictions and the shape of y."""
        values = values.astype(self._output_dtype, copy=False)
        return values[:, 0] if self.flat_targets else values

"""What `fit` returns: a trained network with its tangents, its certificate, and the scores they give."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fasttangent import checks, influence
from fasttangent.certificate import Certificate
from fasttangent.errors import UntrustedTangentWarning
from fasttangent.network import Network
from fasttangent.objective import Objective, Problem
from fasttangent.scaling import Scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Finish = Callable[[slice, NDArray, NDArray], None]


class Scores(NamedTuple):
    """All scores of rows from one pass; nan where a row holds a value that is not finite."""

    prediction: NDArray  # (n,) or (n, n_outputs), units of y
    sensitivity: NDArray  # the same shape, units of y per unit of strength
    curiosity: NDArray  # (n,), without unit


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
        theta, for inputs and targets in standard units.
    tangents : dict of str to ndarray of float64, shape (p,)
        ``{"strength": tau}``; empty when none was carried.
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
    feature_names: tuple[str, ...] | None = None
    flat_targets: bool = True  # y was (n,), not (n, n_outputs)
    interrupted: bool = False
    training: dict[str, Any] = field(default_factory=dict)
    history: dict[str, NDArray] = field(default_factory=dict)
    threads: int | None = None

    @property
    def n_features(self) -> int:
        """Number of inputs."""
        return self.network.sizes[0]

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return self.network.sizes[-1]

    def __repr__(self) -> str:
        trusted = "trusted" if self.certificate.trusted else "not trusted"
        return f"Model({self.network}, strength={self.objective.strength:g}, {trusted})"

    def predict(self, X: Any, *, threads: int | None = None) -> NDArray:
        """Predictions.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
            Rows in the units the model was fitted on, of any real dtype; also a memory map.
        threads : int, optional
            Default: the model's, else all cores.

        Returns
        -------
        ndarray of `dtype`, shape (n,) or (n, n_outputs)
            In the units of y, of the shape y had.

        Raises
        ------
        ValueError
            If X has another number of columns or a value that is not finite.
        """
        rows = self._rows(X)
        found = np.empty((len(rows), self.n_outputs), self.dtype)

        def finish(part: slice, f: NDArray, s: NDArray) -> None:
            found[part] = self.scaling.predictions(f)

        self._each_finite_chunk(rows, False, threads, finish)
        return self._shaped(found)

    def sensitivity(self, X: Any, *, threads: int | None = None) -> NDArray:
        """s(x) = tau . grad f(x) = d prediction / d strength: change the strength by h, refit, and the prediction
        changes by h s(x).

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        threads : int, optional

        Returns
        -------
        ndarray of `dtype`, shape (n,) or (n, n_outputs)
            Units of y per unit of strength.

        Raises
        ------
        ValueError
            As for `predict`, or if the model carries no tangent.

        References
        ----------
        Eaton 2024, arXiv 2411.15292.
        """
        rows = self._rows(X)
        found = np.empty((len(rows), self.n_outputs), self.dtype)

        def finish(part: slice, f: NDArray, s: NDArray) -> None:
            found[part] = s * self.scaling.y_scale

        self._each_finite_chunk(rows, True, threads, finish)
        return self._shaped(found)

    def influence(self, X: Any, y: Any, *, threads: int | None = None) -> Float:
        """tau . grad loss(x, y) = loss'(f - y) s(x): what labelling a row does to the model's complexity.

        As an experiment: add eps loss(x, y) to the objective F, refit, and C changes by eps times this number.
        One further row among n has eps = 1/n.  Positive: the row makes the model more complex.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        y : array_like of shape (n,) or (n, n_outputs)
            Labels, in the units of y.
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
        rows, labels = self._labelled(X, y)
        found = np.empty(len(rows))

        def finish(part: slice, f: NDArray, s: NDArray) -> None:
            y_standard = self.scaling.targets(labels[part], np.dtype(float))
            found[part] = influence.influence(self.objective, f, y_standard, s)

        self._each_finite_chunk(rows, True, threads, finish)
        return found

    def curiosity(self, X: Any, variance: Any = None, *, threads: int | None = None) -> Float:
        """E_y[influence^2] = E[loss'^2] s(x)^2, which needs no label: for squared loss sigma^2(x) s(x)^2.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        variance : float or array_like of shape (n,) or (n, n_outputs), optional
            sigma^2, the variance of y given x that you believe in, in units of y squared.  Default: what the
            training rows show, the mean of loss'^2 (for squared loss the residual variance).
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
        rows = self._rows(X)
        slope_squared = self._slope_squared(variance, len(rows))
        found = np.empty(len(rows))

        def finish(part: slice, f: NDArray, s: NDArray) -> None:
            found[part] = influence.curiosity(
                slope_squared[part] if slope_squared.ndim == 2 else slope_squared, s
            )

        self._each_finite_chunk(rows, True, threads, finish)
        return found

    def score(self, X: Any, *, threads: int | None = None) -> Scores:
        """Prediction, sensitivity and curiosity of rows in one pass.

        Rows that hold a value that is not finite have nan for all three, and a warning counts them; the other
        methods raise.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        threads : int, optional

        Returns
        -------
        Scores
        """
        rows = self._rows(X)
        n = len(rows)
        prediction, sensitivity = (np.empty((n, self.n_outputs), self.dtype) for _ in range(2))
        curiosity = np.empty(n)

        def finish(part: slice, f: NDArray, s: NDArray) -> None:
            prediction[part] = self.scaling.predictions(f)
            sensitivity[part] = s * self.scaling.y_scale
            curiosity[part] = influence.curiosity(self.slope_squared, s)

        bad = self._each_chunk(rows, True, threads, finish)
        if len(bad):
            count = "1 row holds" if len(bad) == 1 else f"{len(bad)} rows hold"
            warnings.warn(
                f"{count} a value that is not finite (first: row {bad[0]}); scores there are nan",
                UserWarning,
                stacklevel=2,
            )
        return Scores(self._shaped(prediction), self._shaped(sensitivity), curiosity)

    def problem(self, X: Any, y: Any, sample_weight: Any = None, *, threads: int | None = None) -> Problem:
        """The objective F of the model on labelled rows: its values, gradients and curvature products, in float64.

        Give the training rows to get the problem whose minimum the model is.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        y : array_like of shape (n,) or (n, n_outputs)
            Labels, in the units of y.
        sample_weight : array_like of shape (n,), optional
            w >= 0; F divides by their sum.
        threads : int, optional

        Returns
        -------
        Problem

        Raises
        ------
        ValueError
            If X or y does not fit the model or is not finite, or there is no row.
        """
        rows, labels = self._labelled(X, y)
        if len(rows) == 0:
            raise ValueError("X must have at least 1 row, got none")
        checks.finite("X", rows)
        w = checks.row_weights("sample_weight", sample_weight, len(rows))
        float64 = np.dtype(np.float64)
        return Problem(
            self.network,
            self.objective,
            self.scaling.inputs(rows, float64),
            self.scaling.targets(labels, float64),
            w,
            checks.thread_count(self.threads if threads is None else threads),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one ``.npz`` file, which `load` reads; it holds no pickled objects.

        The file is written under another name and renamed, so `path` holds the old model or the new one, never
        half of one.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        OSError
            If the folder is not writable or the disk is full.
        """
        from fasttangent import files

        files.save(self, path)

    def summary(self) -> dict[str, Any]:
        """Network, objective, training and certificate as plain Python values."""
        return {
            "network": {
                "sizes": list(self.network.sizes),
                "activation": self.network.activation,
                "parameters": self.network.layout.n_params,
            },
            "objective": asdict(self.objective),
            "training": {**self.training, "dtype": self.dtype, "interrupted": self.interrupted},
            "features": list(self.feature_names) if self.feature_names else None,
            "tangents": list(self.tangents),
            "certificate": {**asdict(self.certificate), "reasons": list(self.certificate.reasons)},
        }

    def _rows(self, X: Any) -> NDArray:
        return checks.features("X", X, self.n_features, self.feature_names)

    def _standard_inputs(self, name: str, X: Any) -> Float:
        """Rows in standard units and float64, all of them finite."""
        rows = checks.features(name, X, self.n_features, self.feature_names)
        checks.finite(name, rows)
        return self.scaling.inputs(rows, np.dtype(np.float64))

    def _labelled(self, X: Any, y: Any) -> tuple[NDArray, NDArray]:
        """Rows (n, n_features) and their labels (n, n_outputs), as given."""
        rows = self._rows(X)
        Y = checks.targets("y", y, len(rows))
        checks.finite("y", Y)
        if Y[:1].size != self.n_outputs * len(rows[:1]):
            raise ValueError(f"y must have {self.n_outputs} outputs per row, got shape {Y.shape}")
        return rows, Y.reshape(len(rows), self.n_outputs)

    def _each_chunk(
        self, rows: NDArray, with_tangent: bool, threads: int | None, finish: Finish
    ) -> NDArray[np.int64]:
        """Call finish(slice of rows, outputs f, sensitivity s) for chunks of rows, f and s in standard units.

        Returns the numbers of rows with a value that is not finite.
        """
        tangents = self._tangent()[None] if with_tangent else np.empty((0, len(self.params)))

        def keep(start: int, f: NDArray, ft: NDArray) -> None:
            finish(slice(start, start + len(f)), f, ft[:, 0] if with_tangent else f)

        return influence.each_chunk(
            self.network,
            self.scaling,
            self.params,
            tangents,
            rows,
            np.dtype(self.dtype),
            checks.thread_count(self.threads if threads is None else threads),
            keep,
        )

    def _each_finite_chunk(
        self, rows: NDArray, with_tangent: bool, threads: int | None, finish: Finish
    ) -> None:
        bad = self._each_chunk(rows, with_tangent, threads, finish)
        if len(bad):
            i = int(bad[0])
            if np.isfinite(rows[i]).all():
                largest = float(abs(rows[i].astype(np.float64)).max())
                raise ValueError(
                    f"X must be within the range of {self.dtype}, in which the model computes, got {largest:g} in "
                    f'row {i}; fit with dtype="float64", or drop such rows'
                )
            raise ValueError(checks.non_finite_message("X", rows, i, np.isfinite(rows[i : i + 1])))

    def _tangent(self) -> Float:
        if "strength" not in self.tangents:
            why = "; ".join(self.certificate.reasons)
            raise ValueError(f"the model carries no tangent, so it gives no scores: {why}")
        if not self.certificate.trusted:
            warnings.warn(
                "scores are not to be trusted: " + "; ".join(self.certificate.reasons),
                UntrustedTangentWarning,
                stacklevel=5,
            )
        return self.tangents["strength"]

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
        standard = (v[:, None] if v.ndim == 1 else v) / self.scaling.y_scale**2
        return influence.expected_slope_squared(self.objective, standard)

    def _shaped(self, values: NDArray) -> NDArray:
        """(n, n_outputs) in the dtype of the model and the shape of y."""
        values = values.astype(self.dtype, copy=False)
        return values[:, 0] if self.flat_targets else values

"""The model as an estimator of scikit-learn, for its pipelines, searches and scores.

    from fasttangent.sklearn import TangentRegressor

Needs scikit-learn, which the package itself does not: pip install 'fasttangent[sklearn]'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.active.picked import Selection
from fasttangent.active.selection import select
from fasttangent.common import checks, frames
from fasttangent.common.columns import Columns
from fasttangent.model.fit import fit

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise ImportError(
        "fasttangent.sklearn needs scikit-learn: pip install 'fasttangent[sklearn]'", name="sklearn"
    ) from error

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn before 1.6

    def validate_data(estimator: Any, *args: Any, ensure_all_finite: bool = True, **options: Any) -> Any:
        return estimator._validate_data(*args, force_all_finite=ensure_all_finite, **options)


if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.model.model import Model

__all__ = ["TangentRegressor"]


class TangentRegressor(RegressorMixin, BaseEstimator):
    """`fasttangent.fit` as a regressor of scikit-learn.

    The parameters are those of `fasttangent.fit`, with its names, defaults and meanings, and are checked in `fit`; but
    ``seed`` is called ``random_state``, as in all of scikit-learn, and ``transform``, which there is a method's name,
    ``input_transform``.  The same numbers give the same model, bit for bit.

    Parameters
    ----------
    hidden, activation : sequence of int, str
        The network.
    loss, delta, strength, complexity, groups : str, float, float or "auto" or dict, str, str or array_like of int
        What is minimised.
    optimizer, learning_rate, momentum, epochs, batch_size : str, float or None, float, int or None, int
        The minibatch steps.
    tangents, samples, curvature : str or sequence of str or None, int, str
        What is carried along.  ``tangents=("strength", "posterior")`` for ``predict(return_std=True)`` and for batches
        without ``labeled=``.
    settle, standardize, validation, patience, start : bool or float, bool, float or None, int, Model or None
        Settling, units, rows held back, and a model to start from.
    dtype, members : str, int
        Of scores; and how many models from independent starts.
    random_state : int, RandomState, Generator or None
        An int is the ``seed`` of `fasttangent.fit`: the same model in every fit.  Of a RandomState or a Generator, and
        for None of NumPy's own RandomState, a seed is drawn, in every fit another.
    threads : int or None
        All processors for None, whatever ``n_jobs`` is; with ``n_jobs`` give ``threads=1``.
    progress : bool or callable
        As of `fasttangent.fit`.
    feature_names : sequence of str or None
        Default: the columns of X if it is a data frame.
    categorical, input_transform, columns : sequence of str, str or None, Columns or None
        Of a data frame with columns of any kind.
    target_transform : {"yeo-johnson"} or None
        As of `fasttangent.fit`.

    Attributes
    ----------
    model_ : Model or Members
        With everything that there is to it: certificate, strengths, influence, embeddings, `Model.save`.
    n_features_in_, n_outputs_ : int
        Columns of X and of y.
    feature_names_in_ : ndarray of object
        Columns of the data frame it was fitted on; not there otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> from fasttangent.sklearn import TangentRegressor
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import PolynomialFeatures
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (60, 2))
    >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    >>> pipeline = make_pipeline(PolynomialFeatures(2), TangentRegressor(hidden=(4,), epochs=20, strength=1e-2))
    >>> search = GridSearchCV(pipeline[1:], {"tangentregressor__strength": [1e-3, 1.0]}, cv=3).fit(X, y)
    >>> search.best_params_
    {'tangentregressor__strength': 0.001}
    >>> regressor = search.best_estimator_[-1]
    >>> regressor.model_.certificate.trusted
    True
    >>> len(regressor.select(rng.uniform(-1, 1, (500, 2)), 10, labeled=X))
    10
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        loss: str = "squared",
        delta: float = 1.0,
        strength: float | str | Mapping[str, float] = "auto",
        complexity: str = "l2",
        groups: Any = "inputs",
        optimizer: str = "adam",
        learning_rate: float | None = None,
        momentum: float = 0.9,
        epochs: int | None = None,
        batch_size: int = 64,
        tangents: str | Sequence[str] | None = "strength",
        samples: int = 256,
        curvature: str = "gauss-newton",
        settle: bool | float = True,
        standardize: bool = True,
        validation: float | None = None,
        patience: int = 20,
        start: Model | None = None,
        dtype: str = "float32",
        members: int = 1,
        random_state: Any = 0,
        threads: int | None = None,
        progress: bool | Callable[..., None] = False,
        feature_names: Sequence[str] | None = None,
        categorical: Sequence[str] = (),
        input_transform: str | None = None,
        columns: Columns | None = None,
        target_transform: str | None = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.loss = loss
        self.delta = delta
        self.strength = strength
        self.complexity = complexity
        self.groups = groups
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.epochs = epochs
        self.batch_size = batch_size
        self.tangents = tangents
        self.samples = samples
        self.curvature = curvature
        self.settle = settle
        self.standardize = standardize
        self.validation = validation
        self.patience = patience
        self.start = start
        self.dtype = dtype
        self.members = members
        self.random_state = random_state
        self.threads = threads
        self.progress = progress
        self.feature_names = feature_names
        self.categorical = categorical
        self.input_transform = input_transform
        self.columns = columns
        self.target_transform = target_transform

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TangentRegressor:
        """Train, settle and certify.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        y : array_like of shape (n,) or (n, n_outputs)
        sample_weight : array_like of shape (n,), optional

        Returns
        -------
        TangentRegressor
            This one.

        Raises
        ------
        ValueError, TypeError
            For bad input, before any work starts.
        KeyboardInterrupt
            After Ctrl-C, so that a search ends, too; `model_` is then the model as far as it got.
        """
        given = self.get_params(deep=False)
        seed, given["transform"] = _seed(given.pop("random_state")), given.pop("input_transform")
        for name, value in (("X", X), ("y", y)):
            _refuse_masked(name, value)
        if _encodes(X, self.columns, self.input_transform):
            names = frames.names_of(X)
            self.feature_names_in_, self.n_features_in_ = np.array(names, object), len(names)
        else:
            X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, ensure_min_samples=2)
            if self.feature_names is None:
                given["feature_names"] = getattr(self, "feature_names_in_", None)
        self.model_ = fit(X, y, sample_weight=sample_weight, seed=seed, **given)
        self.n_outputs_ = self.model_.n_outputs
        if self.model_.interrupted:
            raise KeyboardInterrupt
        return self

    def predict(self, X: Any, return_std: bool = False) -> NDArray | tuple[NDArray, NDArray]:
        """Predictions, and the standard deviation of a new label, as `Model.predict` gives them.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        return_std : bool
            Also return deviations; for models with ``tangents=("strength", "posterior")``.

        Returns
        -------
        ndarray of float64, shape (n,) or (n, n_outputs); or two of them
            The same values as `Model.predict` has in `dtype`.
        """
        rows = self._rows(X)
        if not return_std:
            return _doubles(self.model_.predict(rows))
        prediction, deviation = self.model_.predict(rows, return_std=True)
        return _doubles(prediction), _doubles(deviation)

    def sensitivity(self, X: Any, group: str | None = None) -> NDArray:
        """By how much predictions change per unit of strength, as `Model.sensitivity` gives it.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        group : str, optional
            Of whose strength, for models with ``tangents=("strength", "groups")``.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
        """
        rows = self._rows(X)
        return self.model_.sensitivity(rows, group=group)

    def curiosity(self, X: Any, variance: Any = None) -> NDArray:
        """The expected square of what labelling a row does to the model, as `Model.curiosity` gives it.

        Parameters
        ----------
        X : array_like of shape (n, n_features)
        variance : float, array_like of shape (n,) or (n, n_outputs), or "posterior", optional
            Of y given x; default: what the training rows show.

        Returns
        -------
        ndarray of float64, shape (n,)
        """
        rows = self._rows(X)
        return self.model_.curiosity(rows, variance)

    def select(self, pool: Any, k: int, **options: Any) -> Selection:
        """Pick k rows of a pool to label next, as `fasttangent.select` does.

        Parameters
        ----------
        pool : array_like of shape (n, n_features)
            Candidates; rows that are not finite are never picked.
        k : int
            Number of rows.
        **options
            Of `fasttangent.select`: ``strategy``, ``labeled`` (the rows it was fitted on, unless it was fitted with
            ``tangents=("strength", "posterior")``), ``seed`` and so on.

        Returns
        -------
        Selection
        """
        rows = self._rows(pool, ensure_all_finite=False)
        return select(self.model_, rows, k, **options)

    def _rows(self, X: Any, **options: Any) -> NDArray:
        """X as rows for the fitted model, as scikit-learn checks them."""
        check_is_fitted(self)
        _refuse_masked("X", X)
        if frames.is_frame(X) and self.model_.columns is not None:
            return self.model_.matrix("X", X)
        return validate_data(self, X, reset=False, **options)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _more_tags(self) -> dict[str, bool]:
        """The same for scikit-learn before 1.6."""
        return {"multioutput": True}


def _encodes(X: Any, columns: Columns | None, transform: str | None) -> bool:
    """Whether X is a data frame with more than numbers, which scikit-learn would refuse."""
    if not frames.is_frame(X):
        return False
    if columns is not None or transform is not None:
        return True
    try:
        return not np.isfinite(checks.matrix("X", X)).all()
    except TypeError:
        return True


def _seed(random_state: Any) -> int:
    """The seed that `fasttangent.fit` takes."""
    if isinstance(random_state, (int, np.integer)):
        return checks.integer("random_state", random_state, at_least=0)
    if isinstance(random_state, np.random.Generator):
        return checks.seed(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _doubles(values: NDArray) -> NDArray:
    """In float64, as scikit-learn's regressors predict."""
    return values.astype(np.float64, copy=False)


def _refuse_masked(name: str, value: Any) -> None:
    """Raise if values are masked, which scikit-learn would take for what lies beneath."""
    if isinstance(value, np.ma.MaskedArray):
        checks.array(name, value)

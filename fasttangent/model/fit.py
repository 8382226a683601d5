"""`fit`: labelled rows in, a trained model with its tangent and certificate out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fasttangent.common.columns import Columns
from fasttangent.model.labelled import OF_TABLE
from fasttangent.model.model import Model
from fasttangent.model.prepared_many import prepare_fit
from fasttangent.model.settings import SETTINGS
from fasttangent.model.side_by_side import fit_one


def fit(
    X: Any,
    y: Any,
    *,
    hidden: Sequence[int] = (64, 64),
    activation: str = "tanh",
    loss: str = "squared",
    delta: float = 1.0,
    strength: float | str | Mapping[str, float] = "auto",
    complexity: str = "l2",
    groups: Any = "inputs",
    sample_weight: Any = None,
    users: Any = None,
    user_layers: Sequence[int] = (-1,),
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
    seed: int = 0,
    threads: int | None = None,
    progress: bool | Callable[..., None] = False,
    feature_names: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    transform: str | None = None,
    columns: Columns | None = None,
    target_transform: str | None = None,
) -> Model:
    """Train a multilayer perceptron together with its regularity tangent.

    Minimises F(theta) = (1/S) sum_i w_i loss(f(x_i), y_i) + strength C(theta), S = sum_i w_i, first by minibatch
    steps, then (`settle`) to a stationary point in float64, where tau = d theta / d strength is exact.

    Parameters
    ----------
    X : array_like of shape (n, n_features), or Pool
        Labelled rows, any real dtype, in any units from 1e-300 to 1e300, or a data frame (pandas, polars, Arrow;
        narwhals reads all but plain numbers of pandas) with columns of any kind: numbers, True and False, text,
        categories, dates, durations, and gaps.  What was made of each is `Model.columns`, which later tables, whose
        columns are found by name, are read with.  An array's masked values are gaps; nan in an array is an error.
        Of many rows (more than 131,072, of which settling would keep more than 1 GB) an array, a memory map and a Pool
        are read in blocks, again and again: memory does not depend on their number, and the model does not depend on
        which of them they are.  See Notes.
    y : array_like of shape (n,) or (n, n_outputs), str or int
        Labels, in any units from 1e-300 to 1e300; of a Pool also the name, or the number, of the column that has them.
    hidden : sequence of int
        Units of each hidden layer; () for a linear model.
    activation : {"tanh", "silu", "relu", "softplus", "gelu", "identity"}
        relu has kinks, at which a model may end without a gradient and so without a trusted tangent.
    loss : {"squared", "huber", "log-cosh"}
        Of the residual r in standard deviations of y: r^2/2, or robust versions of it.
    delta : float
        Residual at which the robust losses turn from quadratic to linear, in standard deviations of y.
    strength : float, "auto" or dict
        lambda >= 0, the same for all groups.  Small strengths fit closer and settle slower; at 0 there is usually no
        tangent.  "auto": a strength for each group, learned from the rows: those under which the infinitely wide
        network explains the labels best, their common factor by the evidence of this one, where it is to settle
        (`Model.path`).  Of more than 3,000 labels nothing is learned, and 3 over their number, at the
        least 1e-4, is taken for all.  A dict: the strength of each group by name, see `Model.strengths`.
    complexity : {"l2", "l2-weights"}
        C = ||theta||^2 / 2 over all parameters, or over the weights alone (then units that went dead leave the
        tangent undetermined).
    groups : {"inputs", "layers", "one"} or array_like of int, shape (p,)
        Of parameters, each with a strength of its own unless `strength` is a number: the weights of each input column,
        and biases and weights of each layer but for these; weights and biases of each layer; all together; or the
        number 0, 1, ... of each parameter's group.
    sample_weight : array_like of shape (n,), optional
        w >= 0; 2 means a row twice, 0 no row.  Learned strengths take them relative to their mean.
    users : array_like of int or str, shape (n,), optional
        Whose each row is: a person, a machine, a site.  All share one network, and each has a deviation of its own
        from it in `user_layers`, so that a user of few rows borrows from all.  Deviations are one more group, "users",
        held near zero by a strength of its own, a number or learned as the others are (of more than 3,000 labels it
        alone): C_users = sum (||W_u||^2 + ||b_u||^2 / n_in) / 2.  Predictions and scores take ``users=``, too, and
        ``group="users"`` tells what a row does to the deviations from what it does to what is shared.  See
        `Model.of_user`.  Minibatch steps train the shared network; deviations come with settling.
    user_layers : sequence of int
        The layers whose weights and biases users have of their own, 0 the first, -1 the last, whose own weights and
        bias are gains and an offset of each output.
    optimizer : {"adam", "momentum", "sgd"}
        Of the minibatch steps.
    learning_rate : float, optional
        At first; it falls to zero along a cosine.  Default: 1e-2; where a hidden layer has more than 256 units,
        2.56 over the widest.
    momentum : float
        beta of Nesterov momentum, beta_1 of Adam.
    epochs, batch_size : int or None, int
        Passes over the rows and rows per step, before settling.  None: 200 epochs; where rows are read in blocks as
        many as take the steps of 200 epochs of 131,072 rows, 3 of 10,000,000.
    tangents : "strength", "posterior", "groups", a sequence of them, or None
        "strength": the regularity tangent, carried along.  "posterior": tangents of noise, solved for at the end as
        `Model.with_posterior` does, for deviations, draws from the posterior and batches.  "groups": the tangent of
        each group's strength, once settled.  None: a plain regressor.
    samples : int
        How many tangents of noise.
    curvature : {"gauss-newton", "hessian"}
        The matrix that propagates the tangent during minibatch steps.
    settle : bool or float
        True: until stationary.  A number: for at most so many seconds, within which a strength is learned and the
        certificate looks for the smallest curvature, too; what it had no time for it does not vouch for.  False: not at
        all; such a model scores with the tangent of an early-stopped system and says so.
    standardize : bool
        Fit means and standard deviations of inputs and targets, and work in those units inside.  False: take values as
        they are, whose squares must be numbers in `dtype`.
    validation : float, optional
        Share of the rows to hold back, to end minibatch steps when their loss stops falling.  The rows held back
        take no part in settling either.
    patience : int
        Epochs to wait for a lower validation loss.
    start : Model, optional
        A model of the same network to start from (warm start), in place of random weights; its function is the
        same at first, also if inputs and targets are now scaled otherwise.  For several members as many, each to its
        own.
    dtype : {"float32", "float64"}
        Of minibatch steps and of scores; settling is always in float64.
    members : int
        Models from independent starts, fitted side by side, as one: see `Members`.  The first is the model of `seed`
        alone, the others have seeds drawn from it, the same units and the same rows held back.  "auto": the first
        learns the strengths, the others take them.  `samples` and the seconds of `settle` are for all together.
    seed : int
        Of initial weights, order of rows, validation split and noise: the same seed gives the same model.
    threads : int, optional
        Default: all cores.  Results do not depend on it.
    progress : bool or callable
        True: bars on stderr.  A callable gets (stage, done, total, **figures).
    feature_names : sequence of str, optional
        Default: the columns of X if it is a data frame.
    categorical : sequence of str
        Columns of X whose numbers are labels.
    transform : {"yeo-johnson"}, optional
        Of columns of numbers with heavy tails, see `learn_columns`; of a data frame.
    columns : Columns, optional
        What to make of the columns, as `learn_columns` or another model has it; X may then also hold the inputs made
        by it, as an array.  Default: those of `start`, or learned from X.
    target_transform : {"yeo-johnson"}, optional
        Of one target with a heavy tail: learned from the labels, with a power from 0, about a logarithm, to 2, or that
        of `start`; none where it makes them less than e^4 times as likely.  The network learns its transform, in whose
        standard deviations losses, strengths, influence and curiosity are.  Predictions come back in the units of y as
        medians of a label, not means, deviations as half the distance between its quantiles of 15.9 and 84.1 %, and the
        sensitivity is the derivative of that prediction.  Not for several outputs or members, exact influence, refits,
        unlearning and `to_torch`; `to_onnx` has it.  ``bench/TARGETS.md`` says where it helps, and where not.

    Returns
    -------
    Model
        `Members`, if there are to be several.  After Ctrl-C the model as far as it got, or the members that there are,
        marked `interrupted`.

    Raises
    ------
    ValueError, TypeError
        For bad input, before any work starts.
    DivergenceError
        If the minibatch steps ran away.  If those of some members did, it has an attribute ``models``: the others, and
        None in their place.

    Examples
    --------
    >>> import numpy as np
    >>> import fasttangent as ft
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (100, 2))
    >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
    >>> model = ft.fit(X, y, hidden=(16,), strength=1e-2)
    >>> model.certificate.trusted
    True
    >>> model.sensitivity(X[:3]).shape
    (3,)

    Notes
    -----
    Rows that are read in blocks: minibatch steps shuffle the rows of pieces that the seed draws from all over the file.
    Settling lets a sample of the rows propose steps; gradient, tangents and curvature are those of all rows, and so is
    the certificate.  A pass over 10,000,000 rows takes seconds and settling hundreds of them, so give it an end, such
    as ``settle=600``.  The strength that is taken of so many labels is 1e-4, at which settling is still to be hoped
    for; errors of predictions are smaller at less (``bench/BIG.md``).  Rows with `users`, and with tangents
    "posterior", are held in memory however many they are.  A Pool is copied to a temporary file, 8 bytes a value, in
    the folder that the environment variable TMPDIR names.

    References
    ----------
    Eaton 2024, "Regularity tangents", arXiv 2411.15292; Pearlmutter 1994 for the dual pass; Neal 1996, Williams 1998
    and MacKay 1992 for learned strengths.
    """
    given = locals()
    prepared = prepare_fit(
        X, y, sample_weight, start, threads, users, **{name: given[name] for name in (*SETTINGS, *OF_TABLE)}
    )
    prepared.warn()
    return fit_one(prepared, progress)

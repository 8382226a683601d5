"""The objective on given rows: values, gradients, products with its curvature, derivatives of the predictions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fasttangent.common import parallel
from fasttangent.problem import groups
from fasttangent.problem.network import Network
from fasttangent.problem.objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fasttangent.kernels.rows import Chunks, DataTerm, Rows

    Float = NDArray[np.float64]

FLOAT64 = np.dtype(np.float64)


class Problem:
    """F on given rows in standard units, full batch, in float64: values, gradients, curvature products.

    Sums run over a number of chunks of rows that depends on the problem alone and are reduced in their order,
    so every result is bit-identical for any number of threads.

    Parameters
    ----------
    network, objective : Network, Objective
    X : ndarray of float64, shape (n, n_features)
    Y : ndarray of float64, shape (n, n_outputs)
    w : ndarray of float64, shape (n,)
        Weights of the rows.
    threads : int

    Attributes
    ----------
    total : float
        S, the sum of the weights, by which F divides; 1 where `with_rows` was given weights that are divided already.
    rows : Rows
        X, Y and the weights divided by S.
    """

    CHUNK_ROWS = 64  # the least a thread is given: below, starting it costs more than the rows
    MOST_CHUNKS = 32
    OUTPUT_ROWS = 1024  # of one task where nothing is summed
    LEAST_PRODUCTS = (
        10_000_000  # multiplications that are worth waking a second thread; 0.2 ms of float64 on Zen 5
    )
    MOST_SUMS = 2**24  # values in the chunks' own sums of one direction: 128 MB

    def __init__(
        self, network: Network, objective: Objective, X: Float, Y: Float, w: Float, threads: int
    ) -> None:
        self._set_objective(network, objective)
        self._set_rows(X, Y, w, float(w.sum()), threads)

    def _set_objective(self, network: Network, objective: Objective) -> None:
        self.network, self.objective = network, objective
        self.mask = objective.mask(network)
        each, layout = objective.ratio_of_each(network), network.layout
        plain = bool((each == 1).all())
        #: What solvers take for the diagonal of C'': rho, without what is not a number of each input of a layer.
        self.inputs_ratio = None if plain else groups.by_inputs(each, layout)  # (units,) as in `Layout.table`
        self.metric = each if self.inputs_ratio is None else groups.spread(self.inputs_ratio, layout)  # (p,)

    def _set_rows(self, X: Float, Y: Float, w: Float, total: float, threads: int) -> None:
        from fasttangent.kernels.rows import Chunks, Rows

        self.total, self.threads = total, threads
        self.rows: Rows = Rows(X, Y, w / total)
        self.every = np.arange(len(X))
        most = max(1, min(self.MOST_CHUNKS, self.MOST_SUMS // self.network.layout.n_params))
        blocks = -(-len(X) // self.CHUNK_ROWS)
        size = self.CHUNK_ROWS * max(1, -(-blocks // most))
        self._chunks: Chunks = Chunks(0, -(-len(X) // size), size, self.every)
        self._kept: tuple[Float, Float, Float] | None = None
        self._data: dict[tuple[bool, np.dtype], DataTerm] = {}

    def with_rows(self, X: Float, Y: Float, w: Float, threads: int) -> Problem:
        """The same network and objective at other rows, whose weights are divided by S already."""
        other = copy.copy(self)
        other._set_rows(X, Y, w, 1.0, threads)
        return other

    def some(self, rows: NDArray[np.int64], factor: float) -> Problem:
        """Some of the rows, their weights times a factor."""
        X, Y, w = (np.ascontiguousarray(a[rows]) for a in self.rows)
        return self.with_rows(X, Y, w * factor, self.threads)

    def parts(self) -> Iterator[Problem]:
        """Problems of some rows each, their weights divided by S: the data term is the sum of theirs, in this order."""
        yield self

    @property
    def shared(self) -> Problem:
        """The problem of what all users share: this one, which has none."""
        return self

    def extended(self, vectors: Float) -> Float:
        """Vectors of `shared` as vectors of this problem."""
        return vectors

    def each_user(self, theta: Float) -> list[tuple[NDArray[np.int64], Float]]:
        """Numbers of the rows that share parameters, and those (p,): all, where there are no users."""
        return [(self.every, theta)]

    def at_strength(self, strength: float) -> Problem:
        """The same rows under another strength, with the same ratios."""
        other = copy.copy(self)
        other.objective = replace(self.objective, strength=strength)
        other._kept, other._data = None, {}
        return other

    def unlabelled(self, X: Float, threads: int) -> Problem:
        """The same network and objective at other rows, in standard units, whose labels nobody asks for."""
        return self.with_rows(X, np.zeros((len(X), self.rows.Y.shape[1])), np.ones(len(X)), threads)

    def alone(self) -> Problem:
        """The same with one thread and room of its own: for use next to this one in another thread."""
        return self.with_rows(*self.rows, 1)

    def value_and_gradient(self, theta: Float) -> tuple[float, Float]:
        """F and its gradient (p,)."""
        value, gradient, _ = self._sums(theta, np.empty((0, len(theta))), False)
        strength = self.objective.strength
        return value + strength * self.complexity(theta), gradient + strength * self.mask * theta

    def value(self, theta: Float, outputs: Float) -> float:
        """F, from the predictions (n, n_outputs) at theta: as in `value_and_gradient`, but for rounding."""
        from fasttangent.kernels.losses import loss_values

        residual, losses = outputs - self.rows.Y, np.empty(outputs.shape)
        loss_values(losses.ravel(), residual.ravel(), self.objective.kernel_loss.code, self.objective.delta)
        return float(np.sum(self.rows.w[:, None] * losses)) + self.objective.strength * self.complexity(theta)

    def product(self, theta: Float, V: Float, *, gauss_newton: bool = False) -> Float:
        """(H + strength C'') v for each row v of V (K, p), H the Hessian or Gauss-Newton matrix of the data term."""
        HV = self.data_product(theta, V, gauss_newton=gauss_newton)
        return HV + self.objective.strength * self.mask * V

    def data_product(self, theta: Float, V: Float, *, gauss_newton: bool = False) -> Float:
        """H v for each row v of V (K, p)."""
        return self._sums(theta, V, gauss_newton)[2]

    def complexity(self, theta: Float) -> float:
        """C(theta)."""
        return 0.5 * float(np.sum(self.mask * theta * theta))

    def complexity_gradient(self, theta: Float) -> Float:
        """grad C = C'' theta, the right-hand side of the tangent with respect to the strength."""
        return self.mask * theta

    def tangent_residual(self, theta: Float, tau: Float, *, gauss_newton: bool = False) -> Float:
        """(H + strength C'') tau + grad C for each row of tau (K, p): zero for the implicit tangent."""
        return self.product(theta, tau, gauss_newton=gauss_newton) + self.complexity_gradient(theta)

    def predictions(self, theta: Float) -> Float:
        """f (n, n_outputs) in standard units."""
        return self._outputs(theta, np.empty((0, len(theta))))[0]

    def jacobian_product(self, theta: Float, V: Float, part: slice = slice(None)) -> Float:
        """J v for each row v of V (K, p), J the derivatives of the predictions, all or some: (K, rows, n_outputs)."""
        return np.ascontiguousarray(np.moveaxis(self._outputs(theta, V, part)[1], 1, 0))

    def jacobian(self, theta: Float, part: slice | NDArray[np.int64] = slice(None)) -> Float:
        """J of all rows or some, as dense as it is: (rows, n_outputs, p)."""
        from fasttangent.kernels.rows import output_jacobian

        X = self.rows.X[part]
        J = np.empty((len(X), self.rows.Y.shape[1], len(theta)))
        output_jacobian(J, theta, X, np.arange(len(X)), self.network.kernel_view)
        return J

    def jacobian_transposed_product(self, theta: Float, U: Float) -> Float:
        """J^T u for each u of U (K, n, n_outputs): (K, p)."""
        from fasttangent.kernels.rows import add_up, weighted_gradients

        values, _, G = self._room(len(U))
        U, X, network = np.ascontiguousarray(U), self.rows.X, self.network.kernel_view
        self._share(lambda chunks: weighted_gradients(G, chunks, theta, U, X, network))
        add_up(values, np.empty((len(G), 0)), G)
        return G[0].copy()

    def _outputs(self, theta: Float, V: Float, part: slice = slice(None)) -> tuple[Float, Float]:
        """f (n, n_outputs) and its derivatives along the rows of V (n, K, n_outputs)."""
        from fasttangent.kernels.scoring import outputs

        inputs = self.rows.X[part]
        (n, n_features), n_outputs = inputs.shape, self.rows.Y.shape[1]
        F, FT = np.empty((n, n_outputs)), np.empty((n, len(V), n_outputs))
        turned, centre = self.network.layout.transposed, np.zeros(n_features)
        WT, VT, size = turned(theta), turned(np.ascontiguousarray(V)), self.OUTPUT_ROWS
        n_tasks, network = -(-n // size), self.network.kernel_view

        def task(i: int) -> None:
            rows = slice(i * size, (i + 1) * size)
            outputs(F[rows], FT[rows], WT, VT, inputs[rows].ravel(), n_features, centre, network)

        def launch(threads: int) -> bool:
            from fasttangent.kernels.drivers import outputs_of_parts
            from fasttangent.kernels.launch import launched

            flat = inputs.ravel(), n_features, centre
            return launched(outputs_of_parts, threads, F, FT, n_tasks, size, WT, VT, *flat, network)

        threads = min(self.threads, n_tasks)
        if threads <= 1 or not launch(threads):
            parallel.run(task, n_tasks, threads)
        return F, FT

    def residual_variance(self, theta: Float) -> float:
        """Weighted mean square of f - y, over rows and outputs."""
        residual = self.predictions(theta) - self.rows.Y
        return float(np.sum(self.rows.w[:, None] * residual**2)) / residual.shape[1]

    def output_weights(self, theta: Float) -> Float:
        """D = w loss'' (n, n_outputs): the Gauss-Newton matrix of the data term is J^T D J."""
        from fasttangent.kernels.losses import loss_curvatures

        residual, D = self.predictions(theta) - self.rows.Y, np.empty(self.rows.Y.shape)
        loss_curvatures(D.ravel(), residual.ravel(), self.objective.kernel_loss.code, self.objective.delta)
        return self.rows.w[:, None] * D

    def _sums(self, theta: Float, V: Float, gauss_newton: bool) -> tuple[float, Float, Float]:
        from fasttangent.kernels.rows import add_up, loss_of_chunks

        values, G, GT = self._room(len(V))
        V, data = np.ascontiguousarray(V), self.data_term(gauss_newton)
        products = self.n_rows * len(theta) * (3 + 6 * len(V))
        if min(self.threads, len(G)) > 1 and products > self.LEAST_PRODUCTS:
            self._shared_sums((values, G, GT), theta, V, data)
        else:
            loss_of_chunks(values, G, GT, self._chunks, theta, V, data)
        return add_up(values, G, GT), G[0].copy(), GT[0].copy()

    def _shared_sums(self, into: tuple[Float, Float, Float], theta: Float, V: Float, data: DataTerm) -> None:
        from fasttangent.kernels.drivers import loss_of_parts
        from fasttangent.kernels.launch import launched
        from fasttangent.kernels.rows import loss_of_chunks

        n, chunks, threads = self._n_parts, self._chunks, min(self.threads, self._n_parts)
        if not launched(loss_of_parts, threads, *into, n, chunks, theta, V, data):
            self._share(lambda chunks: loss_of_chunks(*into, chunks, theta, V, data))

    def data_term(self, gauss_newton: bool, dtype: np.dtype = FLOAT64) -> DataTerm:
        """What kernels know of the data term, for parameters of a dtype."""
        if (gauss_newton, dtype) not in self._data:  # made once: records cost as much as sums over a few rows
            from fasttangent.kernels.rows import DataTerm

            network, loss = self.network.kernel_view, self.objective.kernel_loss
            rows = self.rows._replace(X=np.ascontiguousarray(self.rows.X, dtype))
            self._data[gauss_newton, dtype] = DataTerm(rows, network, loss, gauss_newton)
        return self._data[gauss_newton, dtype]

    def _share(self, task: Callable[[Chunks], None]) -> None:
        """Call task(chunks) for parts of all chunks, at most two for a thread.

        A call costs 10 microseconds, and to other threads the interpreter's lock.
        """
        C, every, n = self._chunks.last, self._chunks, self._n_parts
        parts = [every._replace(first=C * i // n, last=C * (i + 1) // n) for i in range(n)]
        parallel.run(lambda i: task(parts[i]), n, self.threads)

    @property
    def _n_parts(self) -> int:
        return min(self._chunks.last, 2 * self.threads)

    def _room(self, K: int) -> tuple[Float, Float, Float]:
        """What chunks write to, kept from call to call."""
        if self._kept is None or self._kept[2].shape[1] != K:
            C, p = self._chunks.last, self.network.layout.n_params
            self._kept = np.empty(C), np.empty((C, p)), np.empty((C, K, p))
        return self._kept

    @property
    def n_rows(self) -> int:
        return len(self.rows.w)

    @property
    def n_labels(self) -> int:
        """Rows times outputs."""
        return self.rows.Y.size

    @property
    def n_learned(self) -> int:
        """Rows that have a weight."""
        return self.n_rows

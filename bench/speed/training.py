"""Time of a training step, with and without the tangent, against JAX, PyTorch and scikit-learn.

    python -m bench training [--quick]

Adam, float32, epochs of 50 minibatches.  JAX runs an epoch in one compiled lax.scan, its tangent is the jvp of
the gradient, so ours is timed with the Hessian too; PyTorch and scikit-learn carry none.  Before timing, each
trains from the same start through the same rows and must arrive at the same parameters and the same tangent.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

import fasttangent as ft
from bench.common import networks, ours, peak
from bench.common.turns import Contender, race, summary
from bench.peers.lazy import with_jax, with_sklearn, with_torch
from bench.speed.section import print_section

CASES = (((8, 64, 64, 1), 64), ((16, 128, 128, 1), 128), ((32, 256, 256, 256, 1), 256))
BATCHES, STRENGTH = 50, 1e-3
RATE = 1e-6  # while timing: parameters and tangent stay where they are however many epochs are run
CHECK_RATE, CHECK_EPOCHS, CHECK_BATCHES = 1e-3, 2, 4
TOLERANCE = {
    "float64": 1e-8,
    "float32": 5e-3,
}  # steps multiply the rounding: 2e-3 seen with 140,000 parameters
PLAIN, TANGENT, GAUSS_NEWTON = "plain", "with tangent", "with Gauss-Newton tangent"
CURVATURE = {PLAIN: None, TANGENT: "hessian", GAUSS_NEWTON: "gauss-newton"}
PRODUCTS = {
    PLAIN: (2, 3),
    TANGENT: (4, 9),
    GAUSS_NEWTON: (4, 7),
}  # matrices of a gradient, then with its tangent
JAX, TORCH, SKLEARN = "jax", "torch", "scikit-learn"


def make_task(sizes, batch_size: int, batches: int, dtype: str = "float32") -> ours.Task:
    rng = np.random.default_rng(0)
    network = ft.Network(sizes, "tanh")
    theta = network.initial_params(rng)
    tau = 0.1 * rng.normal(size=len(theta))
    X = rng.normal(size=(batches * batch_size, sizes[0]))
    y = np.sin(X[:, 0]) + 0.5 * X[:, 1] * X[:, 2]
    return ours.Task(network, theta, tau, X.astype(dtype), y.astype(dtype), batch_size, STRENGTH, dtype)


def check(sizes, batch_size: int) -> dict[str, float]:
    """Relative differences of the others from ours after a few steps, by what was compared."""
    found = {}
    for dtype, allowed in TOLERANCE.items():
        task = make_task(sizes, batch_size, CHECK_BATCHES, dtype)
        epochs = ours.orders(task, CHECK_RATE, CHECK_EPOCHS, seed=0)
        theta, tangents = ours.train(task, CHECK_RATE, CHECK_EPOCHS, "hessian", seed=0)
        state, epoch = with_jax.start_of(task), with_jax.make_epoch(task, with_tangent=True)
        torch_epoch, params = with_torch.make_epoch(task)
        for e, (order, rates) in enumerate(epochs):
            state = epoch(state, order, rates, done=e * len(rates))
            torch_epoch(order, rates)
        pairs = {
            f"{JAX}, parameters": (with_jax.flat(state[0]), theta),
            f"{JAX}, tangent": (with_jax.flat(state[3]), tangents[0]),
            f"{TORCH}, parameters": (with_torch.flat(params), theta),
        }
        for name, (value, reference) in pairs.items():
            start = task.tau if name.endswith("tangent") else task.theta
            what = f"{name}, {dtype}, {sizes}: change from the start"
            found[f"{name}, {dtype}"] = networks.check_equal(value - start, reference - start, allowed, what)
    found[f"{SKLEARN}, parameters, float64"] = _check_sklearn(sizes, batch_size)
    return found


def _check_sklearn(sizes, batch_size: int) -> float:
    """Against JAX, which has been compared with ours, at what all of them have in common.

    scikit-learn leaves the biases out of the penalty, keeps its rate, and has its epsilon elsewhere in the step:
    so no penalty, a constant rate, and an epsilon that does not matter.
    """
    epsilon, task = 1e-14, replace(make_task(sizes, batch_size, CHECK_BATCHES, "float64"), strength=0.0)
    epoch = with_jax.make_epoch(task, with_tangent=False, epsilon=epsilon)
    state = epoch(with_jax.start_of(task), np.arange(len(task.y)), np.full(CHECK_BATCHES, CHECK_RATE))
    value = with_sklearn.params_after_epoch(task, CHECK_RATE, epsilon)
    reference = with_jax.flat(state[0])
    return networks.check_equal(value - task.theta, reference - task.theta, 1e-6, f"{SKLEARN}, {sizes}")


def ours_named(label: str, threads: int) -> str:
    return f"fasttangent, {label}, {threads} thread" + "s" * (threads > 1)


def contenders_of(task: ours.Task, sklearn_epochs: int = 4) -> dict[str, Contender]:
    """An epoch of each, by name."""
    found = {}
    for threads, (label, curvature) in itertools.product((1, 2), CURVATURE.items()):
        epoch = ours.epoch_after(task, RATE, curvature, threads)
        found[ours_named(label, threads)] = Contender(epoch)
    order = np.random.default_rng(0).permutation(len(task.y))
    rates = np.full(BATCHES, RATE)
    state = with_jax.start_of(task)
    for label in (PLAIN, TANGENT):
        epoch = with_jax.make_epoch(task, label == TANGENT)
        found[f"{JAX}, {label}"] = Contender(
            lambda e=epoch: with_jax.jax.block_until_ready(e(state, order, rates))
        )
    torch_epoch, _ = with_torch.make_epoch(task)
    found[f"{TORCH}, {PLAIN}"] = Contender(lambda: torch_epoch(order, rates))
    found[f"{SKLEARN}, {PLAIN}"] = Contender(
        lambda: with_sklearn.epoch_seconds(task, RATE, sklearn_epochs), reports_seconds=True
    )
    return found


def flops_per_step(sizes, batch_size: int, label: str) -> int:
    """2 per multiply-add of the products over hidden layers, `PRODUCTS` for the first and for further ones."""
    hidden = networks.hidden_products(sizes)
    return sum(2 * batch_size * PRODUCTS[label][min(l, 1)] * product for l, product in enumerate(hidden))


def measure(sizes, batch_size: int, budget: float = 15.0) -> dict:
    """Figures of one network: seconds per step."""
    differences = check(sizes, batch_size)
    task = make_task(sizes, batch_size, BATCHES)
    contenders = contenders_of(task)
    figures = race({**contenders, **peak.peaks()}, budget)
    found = {}
    for name in contenders:
        label = name.split(", ")[1]
        gflops = BATCHES * flops_per_step(sizes, batch_size, label) / figures[name] / 1e9
        peak_name = peak.peak_name("float32", 1 if name.endswith("1 thread") else 2)
        found[name] = {
            "seconds_per_step": summary(figures[name] / BATCHES),
            "share_of_peak": summary(gflops / figures[peak_name]),
        }
    return {
        "network": networks.name_of(sizes),
        "batch_size": batch_size,
        "batches": BATCHES,
        "contenders": found,
        "ratios": ratios(figures),
        "peak_gflops": {t: summary(figures[peak.peak_name("float32", t)]) for t in (1, 2)},
        "differences": differences,
    }


def ratios(figures) -> dict[str, dict[str, float]]:
    """Peers over ours at the same work, and tangent over plain."""
    pairs = {}
    for threads in (1, 2):
        for peer, label in ((JAX, PLAIN), (JAX, TANGENT), (TORCH, PLAIN), (SKLEARN, PLAIN)):
            name = f"{peer}, {label}"
            pairs[f"{name} over fasttangent, {threads}"] = (name, ours_named(label, threads))
        for label in (TANGENT, GAUSS_NEWTON):
            pair = ours_named(label, threads), ours_named(PLAIN, threads)
            pairs[f"fasttangent, {label} over plain, {threads}"] = pair
    pairs[f"{JAX}, {TANGENT} over plain"] = f"{JAX}, {TANGENT}", f"{JAX}, {PLAIN}"
    return {name: summary(figures[above] / figures[below]) for name, (above, below) in pairs.items()}


def measure_all(quick: bool = False) -> list[dict]:
    if quick:
        return [measure(*case, budget=2.0) for case in CASES[:2]]
    return [measure(*case) for case in CASES]


def main() -> None:
    print_section(measure_all)

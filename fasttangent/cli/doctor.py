"""What runs here, how fast, whether it computes what it should, and compiling everything beforehand."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from fasttangent._version import __version__
from fasttangent.common import parallel
from fasttangent.common.progress import Report

Outcome = tuple[bool, str]


def examine() -> dict[str, Any]:
    """Describe the installation and the machine.

    Returns
    -------
    dict
        Plain Python values: versions, processor, threads, vectors, register tile and the cache of compiled code.
    """
    from fasttangent.kernels import launch, processor

    return {
        "fasttangent": __version__,
        "python": platform.python_version(),
        **{name: _version_of(name) for name in ("numpy", "numba", "llvmlite", "scipy")},
        "cpu": _cpu_name(),
        "cores_available": parallel.available(),
        "threading": launch.described(parallel.available()),
        "vector_bits": processor.vector_bits(),
        "lanes_float32": processor.lanes("float32"),
        "lanes_float64": processor.lanes("float64"),
        "fused_multiply_add": processor.has_fma(),
        "tile_rows": processor.TILE_ROWS,
        "tile_vectors": processor.tile_vectors(),
        "tile_accumulators": processor.TILE_ROWS * processor.tile_vectors(),
        **_cache(),
    }


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cache() -> dict[str, Any]:
    from fasttangent.kernels.cache_folder import cache_folder

    folder = cache_folder()
    if folder is None:
        return {"cache_folder": None, "cache_enabled": False, "cache_writable": False, "cache_megabytes": 0.0}
    size = sum(file.stat().st_size for file in folder.glob("**/*") if file.is_file())
    return {
        "cache_folder": str(folder),
        "cache_enabled": True,
        "cache_writable": os.access(folder, os.W_OK),
        "cache_megabytes": size / 1e6,
    }


def measure() -> dict[str, float]:
    """Measure how fast this machine multiplies and adds, and how much of that scoring uses; a second or two.

    Returns
    -------
    dict
        With one thread and with all: ``peak_gflops_...``, from multiply-adds that never leave the registers;
        ``scoring_rows_per_second_...``, sensitivities of a 32-128-128-1 tanh network in float32; and
        ``scoring_share_of_peak_...``, its matrix products over the peak of float32.
    """
    from fasttangent.cli.peak import fma_gflops

    found = {}
    for n_threads, name in ((1, "1_thread"), (parallel.available(), "all_threads")):
        for dtype in ("float32", "float64"):
            found[f"peak_gflops_{dtype}_{name}"] = fma_gflops(dtype, n_threads)
        rows_per_second, gflops = _scoring_speed(n_threads)
        found[f"scoring_rows_per_second_{name}"] = rows_per_second
        found[f"scoring_share_of_peak_{name}"] = gflops / found[f"peak_gflops_float32_{name}"]
    return found


def _scoring_speed(n_threads: int) -> tuple[float, float]:
    """(rows per second, GFLOP/s of the matrix products) of sensitivities: the median of a few runs."""
    from fasttangent.model.scores import outputs_of_rows
    from fasttangent.problem.network import Network
    from fasttangent.problem.scaling import identity_scaling

    rng, n_rows = np.random.default_rng(0), 100_000
    network, dtype = Network((32, 128, 128, 1), "tanh"), np.dtype("float32")
    theta, tangent = (network.initial_params(rng) for _ in range(2))
    X = rng.standard_normal((n_rows, 32), dtype)

    def seconds(n: int) -> float:
        start = time.perf_counter()
        outputs_of_rows(network, identity_scaling(32, 1), theta, tangent[None], X[:n], dtype, n_threads)
        return time.perf_counter() - start

    seconds(64)  # compiles
    rows_per_second = n_rows / median(seconds(n_rows) for _ in range(3))
    # the first layer has a value and a tangent; the others have two terms in their tangents, W ht and V h
    products = 2 * 32 * 128 + 3 * (128 * 128 + 128 * 1)
    return rows_per_second, 2e-9 * products * rows_per_second


def self_test(report: Report) -> list[tuple[str, bool, str]]:
    """Compute small things in two ways and compare; about ten seconds once everything is compiled.

    Parameters
    ----------
    report : callable
        ``report(stage, done, total, **figures)``, called after each test.

    Returns
    -------
    list of (name, passed, detail)
        A test that raised has failed, with the error as its detail.
    """
    tests: dict[str, Callable[[], Outcome]] = {
        "gradient": _gradient_is_the_difference,
        "curvature": _product_is_the_difference,
        "settles": _settles,
        "sensitivity": _sensitivity_is_the_derivative,
        "influence": _influence_is_sensitivity_times_slope,
        "files": _files_keep_everything,
        "threads": _threads_change_nothing,
    }
    results = []
    for done, (name, test) in enumerate(tests.items(), 1):
        try:
            passed, detail = test()
        except Exception as error:  # whatever is wrong here is the finding
            passed, detail = False, f"{type(error).__name__}: {error}"
        results.append((name, passed, detail))
        report("self-test", done, len(tests))
    return results


def _problem(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, 3))
    return X, np.sin(X[:, 0]) + 0.5 * X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=n)


def _tiny(strength: float = 1e-2, **changed: Any) -> Any:
    import fasttangent as ft

    settings = {"hidden": (5,), "epochs": 40, "dtype": "float64", "strength": strength, **changed}
    return ft.fit(*_problem(), **settings)


def _small_net() -> tuple[Any, np.ndarray, np.ndarray]:
    """F of a net with two outputs, a point and a direction."""
    from fasttangent.problem.network import Network
    from fasttangent.problem.objective import Objective
    from fasttangent.problem.problem import Problem

    rng = np.random.default_rng(4)
    network = Network((3, 5, 4, 2), "silu")
    X, Y, w = rng.normal(size=(70, 3)), rng.normal(size=(70, 2)), rng.uniform(0.5, 2, 70)
    theta = network.initial_params(rng)
    return Problem(network, Objective(), X, Y, w, threads=2), theta, rng.normal(size=theta.size)


def _gradient_is_the_difference() -> Outcome:
    problem, theta, _ = _small_net()
    h = 1e-5
    steps = h * np.eye(theta.size)
    values = [[problem.value_and_gradient(theta + sign * step)[0] for sign in (1, -1)] for step in steps]
    difference = np.subtract(*np.transpose(values)) / (2 * h)
    error = _relative(problem.value_and_gradient(theta)[1], difference)
    return error < 1e-6, f"against central differences: relative error {error:.1e}"


def _product_is_the_difference() -> Outcome:
    problem, theta, v = _small_net()
    h = 1e-5
    above, below = (problem.value_and_gradient(theta + sign * h * v)[1] for sign in (1, -1))
    error = _relative(problem.product(theta, v[None])[0], (above - below) / (2 * h))
    return error < 1e-6, f"Hessian products against central differences: relative error {error:.1e}"


def _settles() -> Outcome:
    certificate = _tiny().certificate
    detail = (
        f"gradient norm {certificate.gradient_norm:.1e}, tangent residual {certificate.tangent_residual:.1e}"
    )
    return certificate.trusted, "; ".join([detail, *certificate.reasons])


def _sensitivity_is_the_derivative() -> Outcome:
    X, _ = _problem()
    h = 1e-6
    above, below = _tiny(1e-2 + h), _tiny(1e-2 - h)
    difference = (above.predict(X) - below.predict(X)) / (2 * h)
    error = _relative(_tiny().sensitivity(X), difference)
    return error < 1e-3, f"against refits: relative error {error:.1e}"


def _influence_is_sensitivity_times_slope() -> Outcome:
    X, y = _problem()
    model = _tiny(standardize=False)
    error = _relative(model.influence(X, y), (model.predict(X) - y) * model.sensitivity(X))
    return error < 1e-9, f"residual times sensitivity: relative error {error:.1e}"


def _files_keep_everything() -> Outcome:
    import fasttangent as ft

    model, (X, _) = _tiny(), _problem()
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.npz")
        again = ft.load(Path(folder) / "model.npz")
    same = np.array_equal(model.sensitivity(X), again.sensitivity(X)) and np.array_equal(
        model.predict(X), again.predict(X)
    )
    return same, "a saved model scores the same" if same else "a saved model scores differently"


def _threads_change_nothing() -> Outcome:
    X = np.random.default_rng(2).normal(size=(20_000, 3)).astype(np.float32)
    one, two = (_tiny(dtype="float32", threads=threads) for threads in (1, 2))
    same = np.array_equal(one.params, two.params)
    same &= np.array_equal(one.sensitivity(X, threads=1), two.sensitivity(X, threads=2))
    return same, "1 and 2 threads agree to the bit" if same else "1 and 2 threads differ"


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def warmup(report: Report, kinds: Sequence[str] = (), folder: Path | None = None) -> None:
    """Compile every kernel for both dtypes by doing a little of everything, so that the cache holds it.

    Parameters
    ----------
    report : callable
        ``report(stage, done, total, **figures)``, called after each combination.
    kinds : sequence of str
        Names of kinds of processor to compile for as well, by `fasttangent.kernels.kinds`.
    folder : Path, optional
        Where to, for those; to be read elsewhere as $FASTTANGENT_CACHE.
    """
    from fasttangent.active import rehearsal
    from fasttangent.kernels.helpers import beside

    dtypes = ("float32", "float64")
    with beside(f"warmup {dtypes[-1]}", parallel.available()):
        for done, dtype in enumerate(dtypes, 1):
            rehearsal.everything(dtype)
            report("compiling", done, len(dtypes))
    if folder is None:
        return
    from fasttangent.kernels import elsewhere

    wanted = elsewhere.signatures()
    for kind in kinds:
        elsewhere.compile_for(kind, folder, wanted, partial(report, f"for {kind}"))
    elsewhere.open_to_read(folder)

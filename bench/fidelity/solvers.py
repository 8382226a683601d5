"""Every solver against Cholesky, on settled problems at the model's own strength, nothing added to the matrix.

    python -m bench solvers DATA_FOLDER [-o bench/results/solvers.json]

Models of 500 rows of kin8nm, concrete and energy, 32-32 and strengths 1e-2 and 1e-3.  Each solver finds the tangent
d theta / d strength; the table has its relative difference from that of Cholesky (refined to a residual of 1e-12
and below), the largest relative difference of the influence of up to 2,000 candidates, its own residual, iterations,
why it stopped, and seconds (preparation included).  The last lines: 50 strengths from one eigendecomposition against
50 separate ones by NumPy's LU.
"""

from __future__ import annotations

import itertools
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import fasttangent as ft
from bench.common import options
from bench.common.data import THREE, parted
from bench.common.places import RESULTS
from fasttangent.problem.curvature import System
from fasttangent.solvers import prepare

PRECONDITIONED = ("gauss-newton", "nystroem", "jacobi", "none")
CASES = [
    ("cholesky", {}),
    ("spectrum", {}),
    *(("cg", {"preconditioner": name}) for name in PRECONDITIONED),
    ("block-cg", {}),
    ("minres", {}),
    ("lissa", {}),
]
STRENGTHS = (1e-2, 1e-3)
PATH = np.logspace(-4, 0, 50)


def difference(a, b) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def compare(folder: Path, name: str, strength: float) -> list[dict]:
    X, y, X_new, y_new = parted(folder, name, 0)
    model = ft.fit(X, y, hidden=(32, 32), strength=strength, dtype="float64")
    problem = model.problem(X, y)
    gradient = problem.complexity_gradient(model.params)[None]
    system, gauss_newton = System(problem, model.params), System(problem, model.params, True)

    def scores(tau):
        return replace(model, tangents={"strength": tau}).influence(X_new, y_new)

    lines, references = [], {}
    runs = [(system, *case) for case in CASES] + [(gauss_newton, "cholesky", {}), (gauss_newton, "dual", {})]
    for which, solver, how in runs:
        start = time.perf_counter()
        found = prepare(which, solver, **how).solve(-gradient)
        seconds, tau = time.perf_counter() - start, found.x[0]
        reference = references.setdefault(which, tau)
        a, b = scores(tau), scores(reference)
        lines.append(
            {
                "set": name,
                "strength": strength,
                "condition": model.certificate.condition,
                "matrix": "Gauss-Newton" if which.gauss_newton else "Hessian",
                "solver": " ".join([solver, *how.values()]),
                "tangent": difference(tau, reference),
                "scores": difference(a, b),
                "Spearman": float(spearmanr(a, b).statistic),
                "residual": float(found.residuals[0]),
                "iterations": found.iterations,
                "stopped": found.stopped,
                "seconds": seconds,
            }
        )
        print(lines[-1], flush=True)
    spectrum = prepare(system, "spectrum")
    start = time.perf_counter()
    path = spectrum.path(-gradient[0], PATH)
    seconds, worst = time.perf_counter() - start, 0.0
    separate = time.perf_counter()
    for s, tau in zip(PATH, path, strict=True):
        other = model.problem(X, y)
        other.objective = replace(other.objective, strength=float(s))
        A = System(other, model.params).dense()  # below the model's own strength it may be indefinite: LU
        worst = max(worst, difference(tau, np.linalg.solve(A, -gradient[0])))
    line = {"set": name, "strength": strength, "path": worst, "seconds": seconds}
    lines.append(line | {"separate": time.perf_counter() - separate})
    print(lines[-1], flush=True)
    return lines


def markdown(lines: list[dict]) -> str:
    keys = (
        "set",
        "strength",
        "matrix",
        "solver",
        "tangent",
        "scores",
        "Spearman",
        "residual",
        "iterations",
        "stopped",
    )
    rows = ["| " + " | ".join([*keys, "seconds"]) + " |", "|" + "---|" * (len(keys) + 1)]
    for line in lines:
        if "path" in line:
            rows.append(
                f"| {line['set']} | {line['strength']:g} | Hessian | spectrum, path of {len(PATH)} strengths | "
                f"{line['path']:.0e} at most | | | | | | {line['seconds']:.3f}; separately {line['separate']:.1f} |"
            )
            continue
        cells = [line["set"], f"{line['strength']:g}", line["matrix"], line["solver"]]
        cells += [f"{line[key]:.0e}" for key in ("tangent", "scores")] + [f"{line['Spearman']:.4f}"]
        cells += [
            f"{line['residual']:.0e}",
            str(line["iterations"]),
            line["stopped"],
            f"{line['seconds']:.2f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "solvers.json")
    given = parser.parse_args()
    warnings.simplefilter("ignore", ft.UntrustedTangentWarning)
    lines = []
    for name, strength in itertools.product(THREE, STRENGTHS):
        lines += compare(given.folder, name, strength)
        given.output.write_text(json.dumps(lines, indent=1) + "\n")
    print(markdown(lines))

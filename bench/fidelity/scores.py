"""How far scores are from exact influence and from refitting, and whether certificates know.

    python -m bench fidelity grid DATA_FOLDER [--part 0/1] [-o bench/results/fidelity.jsonl]
    python -m bench fidelity refits DATA_FOLDER [-o bench/results/refits.json]
    python -m bench fidelity table > bench/FIDELITY.md

grid    3 data sets x 2 sizes x 3 strengths x 3 seeds x 5 activations: a model of 500 rows, settled within 3 minutes.
        Spearman correlation of the model's influence (float32, as a user gets it) on up to 2,000 candidates with
        the exact solve, and on 40 of them with the derivative of C found by refitting with a thousandth of the
        row more, and less (a ten-thousandth where such a refit does not settle).  A line of JSON a case; a case
        that is in the file is not run again.
refits  3 data sets, 500 rows, 32-32, two strengths: infinitesimal up-weighting, adding one whole row, leaving one
        out, 50 rows each, and ten at a time, against first and second order.
table   What all of this says, and `python -m bench solvers`, in Markdown.

DATA_FOLDER holds kin8nm, concrete and energy as .csv.gz without header, the target in the last column.
"""

from __future__ import annotations

import itertools
import json
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import fasttangent as ft
from bench.common import options
from bench.common.data import THREE, parted
from bench.common.places import RESULTS
from bench.fidelity import tables
from fasttangent.model.certificate import LARGEST_GRADIENT, relative_gradient

SIZES = ((32, 32), (64, 64))
STRENGTHS = (1e-1, 1e-2, 1e-3)
SEEDS = (0, 1, 2)
ACTIVATIONS = ("tanh", "silu", "softplus", "gelu", "relu")
REFITTED = 40  # of the candidates
FRACTIONS = (1e-3, 1e-4)  # of a row, either way; the second where a refit does not settle with the first
ROWS = 50  # of a kind of experiment
STEPS, GOAL = 40, 1e-13  # of a refit
SECONDS = 180.0  # of settling


def spearman(a, b) -> float:
    return float(spearmanr(a, b).statistic)


def case(folder: Path, name: str, hidden, strength: float, seed: int, activation: str) -> dict:
    """One model: what its certificate says, and what its scores are worth."""
    X, y, X_new, y_new = parted(folder, name, seed)
    start = time.perf_counter()
    model = ft.fit(X, y, hidden=hidden, activation=activation, strength=strength, settle=SECONDS, seed=seed)
    found = {"seconds": time.perf_counter() - start, "trusted": model.certificate.trusted}
    found["reasons"] = list(model.certificate.reasons)
    found["tangent_error"] = model.certificate.tangent_error
    cheap = model.influence(X_new, y_new)
    try:
        truth = ft.exact(model, X, y, solver="cholesky", residuals=False)
    except ValueError as error:
        return found | {"exact": None, "why": str(error)}
    solved = truth.influence(X_new, y_new)
    found |= {
        "exact": spearman(cheap, solved),
        "exact_sensitivity": spearman(model.sensitivity(X_new), truth.sensitivity(X_new)),
    }
    found["tangent_difference"] = float(
        np.linalg.norm(truth.tangent - model.tangents["strength"]) / np.linalg.norm(truth.tangent)
    )
    some = np.linspace(0, len(X_new) - 1, min(REFITTED, len(X_new))).astype(int)
    start = time.perf_counter()
    derivatives, gradient_norm = by_refitting(truth, X_new[some], y_new[some])
    return found | {
        "refitted": spearman(cheap[some], derivatives),
        "refitted_pearson": float(np.corrcoef(cheap[some], derivatives)[0, 1]),
        "refits": len(some),
        "refit_gradient_norm": gradient_norm,
        "refit_seconds": time.perf_counter() - start,
    }


def by_refitting(truth: ft.Exact, X, y) -> tuple[np.ndarray, float]:
    """Central differences of C over plus and minus a part of each row, and the largest gradient norm left.

    The minimum for a row is found by Newton steps with the model's own Hessian, which is near enough to that of the
    changed objective for the gradient to fall by orders of magnitude a step.
    """
    new = truth.model.problem(X, y).rows
    found, worst = [], 0.0
    for i in range(len(X)):
        for fraction in FRACTIONS:
            derivative, gradient_norm = derivative_by_refitting(truth, new.X[i], new.Y[i], fraction)
            if gradient_norm <= LARGEST_GRADIENT:
                break
        found.append(derivative)
        worst = max(worst, gradient_norm)
    return np.array(found), worst


def derivative_by_refitting(truth: ft.Exact, x, y, fraction: float) -> tuple[float, float]:
    """d C / d eps for a row in standard units, and the larger gradient norm of the two refits."""
    model, base, ends, worst = truth.model, truth.system.problem, [], 0.0
    eps = fraction / base.n_rows
    for sign in (1, -1):
        rows = np.vstack([base.rows.X, x]), np.vstack([base.rows.Y, y])
        w = np.append(base.rows.w, sign * eps)
        changed = base.with_rows(*rows, w, base.threads)
        theta, steps = model.params, 0
        gradient = changed.value_and_gradient(theta)[1]
        while relative_gradient(changed, theta, gradient) > GOAL and steps < STEPS:
            theta = theta - truth.solver.solve(gradient[None]).x[0]
            gradient, steps = changed.value_and_gradient(theta)[1], steps + 1
        ends.append(theta)
        worst = max(worst, relative_gradient(changed, theta, gradient))
    return float((ends[0] - ends[1]) @ (ends[0] + ends[1]) / (4 * eps)), worst


def grid(folder: Path, output: Path, part: str) -> None:
    number, parts = map(int, part.split("/"))
    cases = list(itertools.product(SEEDS, SIZES, STRENGTHS, ACTIVATIONS, THREE))
    cases.sort(key=lambda one: one[3] == "relu")  # seldom settled: last
    done = {tuple(line["case"]) for line in tables.lines(output)}
    for seed, hidden, strength, activation, name in cases[number::parts]:
        key = (name, "-".join(map(str, hidden)), strength, seed, activation)
        if key in done:
            continue
        found = case(folder, name, hidden, strength, seed, activation)
        with output.open("a") as file:
            file.write(json.dumps({"case": key, **found}) + "\n")
        short = {k: v for k, v in found.items() if k in ("seconds", "trusted", "exact", "refitted", "why")}
        print(*key, short, flush=True)


def refits(folder: Path, output: Path) -> None:
    results = []
    for name, strength in itertools.product(THREE, (1e-2, 1e-3)):
        X, y, X_new, y_new = parted(folder, name, 0)
        model = ft.fit(X, y, hidden=(32, 32), strength=strength, dtype="float64")
        new = range(min(ROWS, len(X_new)))
        old = np.linspace(0, len(X) - 1, ROWS).astype(int)
        kinds = {
            "up-weight, infinitesimal": [ft.Change.add(X_new[i], y_new[i]).times(1e-4) for i in new],
            "add one": [ft.Change.add(X_new[i], y_new[i]) for i in new],
            "leave one out": [ft.Change.leave_out(int(i)) for i in old],
            "leave 10 out": [
                ft.Change.leave_out([int(i) for i in old[k : k + 10]]) for k in range(0, ROWS, 10)
            ],
        }
        for kind, changes in kinds.items():
            start = time.perf_counter()
            out = ft.refit(model, X, y, changes, at=X_new[:20])
            line = {
                "set": name,
                "strength": strength,
                "trusted": model.certificate.trusted,
                "kind": kind,
                "experiments": len(changes),
                "settled": int(out.settled.sum()),
                "jumped": int(out.jumped.sum()),
                "seconds": time.perf_counter() - start,
            }
            stayed = ~out.jumped
            for of, order in itertools.product(("complexity", "predictions"), (1, 2)):
                predicted = getattr(out, f"{of}_{'first' if order == 1 else 'second'}")
                line[f"{of} {order}"] = ft.agreement(predicted, getattr(out, of))._asdict()
                line[f"{of} {order} stayed"] = ft.agreement(
                    predicted[stayed], getattr(out, of)[stayed]
                )._asdict()
            results.append(line)
            print(
                {
                    k: (v if not isinstance(v, dict) else [round(x, 6) for x in v.values()])
                    for k, v in line.items()
                },
                flush=True,
            )
            output.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("what", choices=("grid", "refits", "table"))
    parser.add_argument("folder", type=Path, nargs="?", help="DATA_FOLDER")
    parser.add_argument("--part", default="0/1", help="share of the cases, for several processes")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.what != "table" and given.folder is None:
        parser.error("DATA_FOLDER is missing")
    warnings.simplefilter("ignore", ft.UntrustedTangentWarning)
    if given.what == "table":
        print(tables.everything())
    elif given.what == "grid":
        grid(given.folder, given.output or RESULTS / "fidelity.jsonl", given.part)
    else:
        refits(given.folder, given.output or RESULTS / "refits.json")

"""Which score finds the rows a model is wrong about: learned losses beside sensitivity and deviations.

    python -m bench learned-losses run DATA_FOLDER [--quick] [-o bench/results/learned_losses.json]
    python -m bench learned-losses table [-o bench/results/learned_losses.json]
    python -m bench learned-losses gradients

run        Six data sets, 3 seeds (--quick: 1), 300 labelled rows, strength 1e-3; a model of hidden (64, 64) after
           minibatch steps, and one of (32, 32) that settled.  Every score ranks the same up to 2,000 new rows of the
           same model; that of joint training ranks the losses of its own.  A line of the file for each.
table      What the file says, in Markdown: Spearman correlation of score and true loss; the share of pairs in the
           right order; the mean loss of the tenth of the rows with the highest scores over that of all rows.
gradients  What the authors of LearningLoss++ say of pairs of converged losses, and what the kernels say.

DATA_FOLDER holds the sets as .csv.gz without header, the target in the last column; of rows with equal inputs the
first alone is kept.  Settings of the heads were chosen on naval, grid_stability and bike_noleak, which are not here.
"""

from __future__ import annotations

import json
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.common.data import SIX, parted
from bench.common.places import RESULTS
from fasttangent.active.learned_losses.measures import close_pairs
from fasttangent.kernels import learning_loss as kernels

SEEDS = (0, 1, 2)
LABELLED, MEMBERS, SECONDS = 300, 5, 60.0
STAGES = {
    "minibatch steps": {"hidden": (64, 64), "settle": False},
    "settled": {"hidden": (32, 32), "settle": SECONDS},
}
HEADS = {
    "Learning Loss, in sample": {"method": "learning-loss", "folds": None},
    "Learning Loss, 5 folds": {"method": "learning-loss", "folds": 5},
    "LearningLoss++, in sample": {"method": "learning-loss++", "folds": None},
    "LearningLoss++, 5 folds": {"method": "learning-loss++", "folds": 5},
    "LearningLoss++, 4 x 5 folds": {"method": "learning-loss++", "folds": 5, "repeats": 4},
}
JOINT = {"Learning Loss, joint": "learning-loss", "LearningLoss++, joint": "learning-loss++"}
STRENGTH = 1e-3


def rows_of(folder: Path, name: str, seed: int):
    """(X, y) to train on and (X, y) of others; constant columns are dropped."""
    X, y, X_new, y_new = parted(folder, name, seed, LABELLED)
    varied = np.ptp(X, axis=0) > 0
    return X[:, varied], y, X_new[:, varied], y_new


def measured(folder: Path, name: str, seed: int, stage: str):
    """A record for each score of one model."""
    X, y, X_new, y_new = rows_of(folder, name, seed)
    model, seconds = timed(lambda: ft.fit(X, y, strength=STRENGTH, **STAGES[stage], seed=seed))
    losses = (model.predict(X_new) - y_new) ** 2
    base = {"set": name, "seed": seed, "stage": stage, "new": len(X_new)}
    base |= {"rmse": float(np.sqrt(losses.mean()) / y_new.std()), "fit_seconds": seconds}

    def record(score, values, seconds, losses=losses):
        return base | ft.loss_ranking(values, losses)._asdict() | {"score": score, "seconds": seconds}

    for score, how in HEADS.items():
        if stage == "settled" and "repeats" in how:
            continue
        yield record(score, *timed(lambda how=how: ft.learning_loss(model, X, y, **how).predict(X_new)))
    for score, method in JOINT.items() if stage != "settled" else ():
        (own, head), seconds = timed(lambda method=method: joint(X, y, method, seed))
        yield record(score, head.predict(X_new), seconds, (own.predict(X_new) - y_new) ** 2)
    yield record("abs(sensitivity)", *timed(lambda: abs(model.sensitivity(X_new))))
    yield record(
        "posterior deviation",
        *timed(lambda: model.with_posterior(X, y).predict(X_new, return_std=True)[1]),
    )
    yield record(f"ensemble of {MEMBERS}", *timed(lambda: ensemble_deviation(X, y, X_new, seed, stage)))
    yield record("random", np.random.default_rng(seed).normal(size=len(X_new)), 0.0)


def joint(X, y, method: str, seed: int, **how):
    hidden = STAGES["minibatch steps"]["hidden"]
    return ft.fit_with_learning_loss(X, y, hidden=hidden, strength=STRENGTH, method=method, seed=seed, **how)


def ensemble_deviation(X, y, X_new, seed: int, stage: str):
    """Standard deviation of the predictions of other models, of the same settings and stage."""
    members = range(100 * (seed + 1), 100 * (seed + 1) + MEMBERS)
    fits = [dict(X=X, y=y, strength=STRENGTH, **STAGES[stage], seed=s) for s in members]
    return np.std([model.predict(X_new) for model in ft.fit_many(fits)], axis=0)


def timed(call):
    """(what a call returns, seconds)."""
    start = time.perf_counter()
    found = call()
    return found, time.perf_counter() - start


def run(folder: Path, output: Path, seeds) -> None:
    """All records into the file; those of a model that is in it are not made again."""
    warnings.simplefilter("ignore", ft.UntrustedTangentWarning)
    records = json.loads(output.read_text()) if output.exists() else []
    done = {(r["set"], r["seed"], r["stage"]) for r in records}
    warm_up(folder)
    for seed in seeds:
        for name in SIX:
            for stage in STAGES:
                if (name, seed, stage) in done:
                    continue
                records += measured(folder, name, seed, stage)
                output.write_text("[\n" + ",\n".join(json.dumps(rounded(r)) for r in records) + "\n]\n")
                print(name, seed, stage, flush=True)


def warm_up(folder: Path) -> None:
    """Compile before anything is timed."""
    X, y, X_new, _ = rows_of(folder, SIX[0], 0)
    model = ft.fit(X, y, strength=STRENGTH, settle=False, epochs=1)
    model.sensitivity(X_new)
    model.with_posterior(X, y).predict(X_new, return_std=True)
    for how in HEADS.values():
        ft.learning_loss(model, X, y, **how, epochs=1).predict(X_new)
    joint(X, y, "learning-loss", 0, epochs=1)


def rounded(record):
    """Figures with four digits, and nan as null."""
    return {
        key: (None if value != value else float(f"{value:.4g}")) if isinstance(value, float) else value
        for key, value in record.items()
    }


def table(records) -> str:
    """Markdown: a table for each stage, the best of a column in bold."""
    lines = []
    for stage in STAGES:
        found = defaultdict(list)
        for r in records:
            if r["stage"] == stage:
                found[r["score"]].append(r)
        if not found:
            continue
        names = [name for name in SIX if any(r["set"] == name and r["stage"] == stage for r in records)]
        rows = {score: figures(several, names) for score, several in found.items()}
        best = np.nanmax([values[:-1] for values in rows.values()], axis=0)
        models = {(r["set"], r["seed"]) for several in found.values() for r in several}
        lines += [{"settled": "Settled models"}.get(stage, f"Models after {stage}"), ""]
        lines += [f"({len(models)} models; Spearman correlation by data set, then means over sets)", ""]
        lines += [
            "| score | " + " | ".join(names) + " | Spearman | pairs in order | failure finding | seconds |"
        ]
        lines += ["|---|" + "---|" * (len(names) + 4)]
        for score, values in rows.items():
            cells = [
                f"**{v:.2f}**" if round(v, 2) >= round(b, 2) else f"{v:.2f}"
                for v, b in zip(values[:-1], best, strict=True)
            ]
            lines.append("| " + " | ".join([score, *cells, f"{values[-1]:.2f}"]) + " |")
        lines.append("")
    return "\n".join(lines)


def figures(several, names):
    """Spearman by set, then its mean, pairs in order, failure finding, median seconds."""

    def mean(measure, name):
        return np.mean([r[measure] for r in several if r["set"] == name])

    spearman = [mean("spearman", name) for name in names]
    others = [np.mean([mean(measure, name) for name in names]) for measure in ("pairwise", "failure_finding")]
    return [*spearman, np.mean(spearman), *others, np.median([r["seconds"] for r in several])]


def gradients() -> str:
    """Markdown: the published figures beside ours."""
    distances, published = (0.02, 0.04, 0.06, 0.08, 0.10), (0.094, 0.185, 0.274, 0.358, 0.437)
    X, Y = np.random.default_rng(0).gamma(4, 0.066, (2, 1_000_000))
    lines = ["| d | P(abs(X - Y) <= d), published | by quadrature | a million pairs |", "|---|---|---|---|"]
    for d, p, exact in zip(distances, published, close_pairs(distances), strict=True):
        lines.append(f"| {d:.2f} | {p:.3f} | {exact:.4f} | {np.mean(abs(X - Y) <= d):.4f} |")
    losses, v, pairs = np.array([0.45, 0.47, 2.87]), np.array([1.48, 1.51, 1.63]), np.array([[0, 1], [0, 2]])
    slopes, values = np.empty((2, 2)), np.empty(2)
    for code in (0, 1):
        kernels.pair_slopes(slopes[code], values, v[pairs], losses[pairs], kernels.Pairs(code, 1.0, 1e-12))
    lines += ["", "| losses | size of the gradient: Learning Loss | LearningLoss++, published | ours |"]
    lines += ["|---|---|---|---|"]
    for i, p in enumerate((0.003, 0.327)):
        a, b = losses[pairs[i]]
        lines.append(f"| {a}, {b} | {abs(slopes[0, i]):.0f} | {p} | {abs(slopes[1, i]):.4f} |")
    return "\n".join(lines)


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("what", choices=("run", "table", "gradients"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "learned_losses.json")
    args = parser.parse_args()
    if args.what == "gradients":
        print(gradients())
        return
    if args.what == "run":
        if args.folder is None:
            parser.error("run needs the folder of data")
        run(args.folder, args.output, SEEDS[:1] if args.quick else SEEDS)
    print(table(json.loads(args.output.read_text())))

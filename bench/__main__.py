"""One command for all benchmarks: `python -m bench` lists them, `python -m bench NAME --help` explains one."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = {  # name: (file, what it says)
    "scoring": ("cost.scoring", "rows per second, memory and the first call"),
    "settling": ("cost.settling", "what settling changes, and what carrying a tangent costs"),
    "columns": ("columns", "rows per second of tables with text and gaps (pandas, polars, pyarrow)"),
    "speed": ("speed.command", "all sections of speed beside peers, into results/results.json"),
    "speed-scoring": ("speed.scoring", "scores per second (jax, torch)"),
    "training": ("speed.training", "seconds of a training step (jax, torch, scikit-learn)"),
    "speed-settling": ("speed.settling", "time to a stationary point (jax)"),
    "mapped": ("speed.mapped", "scores of a table that stays on disk"),
    "many": ("speed.many", "many small fits side by side"),
    "curves": ("speed.curves", "scoring by rows, width, depth and tangents (jax)"),
    "active": ("active.command", "active learning against random labelling and bmdal_reg"),
    "fidelity": ("fidelity.scores", "scores against exact influence and refits"),
    "solvers": ("fidelity.solvers", "every solver against Cholesky"),
    "exact": ("exact.command", "exact curvature and influence beside peers"),
    "exact-rows": ("exact.rows", "a million rows by tangent and by a solve for each"),
    "selection": ("selection.cost", "seconds and memory of selecting a batch (bmdal_reg)"),
    "selection-loss": ("selection.loss", "what is lost by comparing drawn candidates and not all"),
    "selection-thinning": (
        "selection.thinning",
        "what thinning a large pool costs in the error after labelling",
    ),
    "selection-large": (
        "selection.large",
        "select on up to 10,000,000 rows beside bmdal_reg: seconds, and RMSE after",
    ),
    "selection-sizes": ("selection.sizes", "seconds and memory of select by the size of the pool, streamed"),
    "selection-picks": ("selection.picks", "whether LCMD picks what bmdal_reg picks"),
    "learned-losses": ("errors.learned_losses", "which score finds the rows with large errors"),
    "calibration": ("errors.calibration", "whether posterior deviations are right"),
    "quality": (
        "quality.command",
        "errors of the regressor beside what one would use instead (scikit-learn)",
    ),
    "targets": ("targets", "errors and deviations with a transform of the target"),
    "members": ("members.command", "one model against five members: rankings, errors, batches"),
    "users": ("users.command", "several users of one network: errors beside other ways, and 1,000 of them"),
    "reliability": ("reliability.command", "an hour of hostile random use, and whatever goes wrong"),
    "parallel": ("parallel.command", "our threads beside prange: a table of faults, and what each costs"),
    "pools": ("scale.pools", "files scored beside what Arrow needs to decode them, and memory by files"),
    "kills": (
        "scale.kills",
        "commands and Dask workers killed at random moments: nothing lost, nothing half-written",
    ),
    "cuts": ("scale.cuts", "picks of a pool however it is cut into files, partitions and workers: digests"),
    "big": ("scale.big", "fits by rows and parameters: time, memory, errors (scikit-learn)"),
    "recipes": ("scale.recipes", "scores on Spark, Ray and Slurm: functions to copy, a script to submit"),
    "conversions": ("conversions", "models from torch and scikit-learn, and back"),
    "embeddings": (
        "embeddings",
        "batches by leaves of trees and hidden layers (scikit-learn, LightGBM, torch)",
    ),
    "estimators": ("estimators", "the estimator inside scikit-activeml and modAL"),
    "identity": ("identity", "digests of what a user can see, to compare two checkouts"),
    "render": ("render", "results into RESULTS.md and README.md"),
}


def listing() -> str:
    lines = ["usage: python -m bench NAME [options]", ""]
    lines += [f"  {name:16} {says}" for name, (_, says) in COMMANDS.items()]
    return "\n".join([*lines, "", "python -m bench NAME --help says how one is run."])


def main() -> None:
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        return print(listing())
    if name not in COMMANDS:
        sys.exit(f"{name} is no benchmark; choose from {', '.join(COMMANDS)}")
    sys.argv = [f"python -m bench {name}", *rest]
    import_module(f"bench.{COMMANDS[name][0]}").main()


if __name__ == "__main__":
    main()

"""What a transform of the target does to errors and deviations; TARGETS_PROTOCOL.md says how it is measured.

    python -m bench targets FOLDER --splits 100 101 102

A table: a line for each set and number of labels, means over the splits.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.quality.splits import Split, split
from fasttangent.common.powers import inverse, likeliest, slopes, transformed

CASES = [(name, size) for name in ("energy", "concrete", "pol", "bike") for size in (64, 320)]
CASES += [("yacht", 64), ("yacht", 128)]
POINTS = 41


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", type=int, nargs="+", default=[100, 101, 102])
    chosen = parser.parse_args()
    print(
        "| set | labels | transformed | rms none | median | mean | abs none | median | mean | nll none | transformed |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, size in CASES:
        figures = [_one(_split(chosen.folder, name, number, size)) for number in chosen.splits]
        used = sum(used for used, _ in figures)
        mean = np.mean([found for _, found in figures], axis=0)
        print(
            f"| {name} | {size} | {used} of {len(figures)} | " + " | ".join(f"{v:.4f}" for v in mean) + " |",
            flush=True,
        )


def _split(folder: Path, name: str, number: int, size: int) -> Split:
    if name != "bike":
        return split(folder, name, number, size)
    found = split(folder, "bike_noleak", number, size)
    return found._replace(y=np.exp(found.y), y_test=np.exp(found.y_test))


def _one(rows: Split):
    """(whether it was transformed, figures) of one split."""
    unit = rows.y_test.std()
    f, s = _fitted(rows, rows.y)
    found = {"none": f}
    z = (rows.y_test - f) / s
    nll_none = np.mean(0.5 * z**2 + np.log(s / unit) + 0.5 * np.log(2 * np.pi))
    how = likeliest(rows.y, np.ones(len(rows.y)), (0.0, 2.0))
    if how is None:
        found |= {"median": f, "mean": f}
        nll = nll_none
    else:
        f, s = _fitted(rows, transformed(rows.y, how))
        at, w = np.polynomial.hermite_e.hermegauss(POINTS)
        found["median"] = inverse(f, how)
        found["mean"] = inverse(f[:, None] + s[:, None] * at, how) @ (w / w.sum())
        z = (transformed(rows.y_test, how) - f) / s
        nll = np.mean(
            0.5 * z**2 + np.log(s) + 0.5 * np.log(2 * np.pi) - np.log(slopes(rows.y_test, how) * unit)
        )
    errors = [(rows.y_test - one) / unit for one in found.values()]
    rms, absolute = [np.sqrt(np.mean(e**2)) for e in errors], [np.mean(abs(e)) for e in errors]
    return how is not None, [*rms, *absolute, nll_none, nll]


def _fitted(rows: Split, y: np.ndarray):
    """Predictions and deviations of `fit` with its defaults."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ft.fit(rows.X, y, tangents=("strength", "posterior"))
        f, s = model.predict(rows.X_test, return_std=True)
    return f.astype(float), s.astype(float)


if __name__ == "__main__":
    sys.exit(main())

"""Tables of the results of `python -m bench quality`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from bench.common.markdown import markdown

Cells = dict[tuple[str, int, str], list[dict[str, Any]]]  # by set, labels, method


def everything(results: list[dict[str, Any]]) -> str:
    cells: Cells = defaultdict(list)
    for one in results:
        cells[one["set"], one["labels"], one["method"]].append(one)
    methods = list(dict.fromkeys(method for _, _, method in cells))
    parts = [_ratios(cells, methods, reference) for reference in ("gp", "ours") if reference in methods]
    return "\n\n".join([*parts, _errors(cells, methods)])


def _mean(cells: Cells, name: str, labels: int, method: str, figure: str = "rmse") -> float | None:
    """Over splits; geometric for errors."""
    found = [one[figure] for one in cells.get((name, labels, method), ()) if figure in one]
    if not found:
        return None
    return float(np.exp(np.mean(np.log(found)))) if figure == "rmse" else float(np.mean(found))


def _ratios(cells: Cells, methods: list[str], reference: str) -> str:
    rows = [["labels", "sets", *methods]]
    for labels in sorted({n for _, n, _ in cells}):
        names = sorted({s for s, n, m in cells if n == labels and m == reference})
        if names:
            rows.append(
                [
                    f"{labels:,}",
                    str(len(names)),
                    *(_ratio(cells, names, labels, m, reference) for m in methods),
                ]
            )
    return f"Error over that of `{reference}`, geometric mean over sets (worst set)\n\n{markdown(rows)}"


def _ratio(cells: Cells, names: list[str], labels: int, method: str, reference: str) -> str:
    found = {}
    for name in names:
        error, other = _mean(cells, name, labels, method), _mean(cells, name, labels, reference)
        if error is not None and other is not None:
            found[name] = error / other
    if len(found) < len(names):
        return "-"
    worst = max(found, key=lambda name: found[name])
    return f"{np.exp(np.mean(np.log(list(found.values())))):.3f} ({worst} {found[worst]:.2f})"


def _errors(cells: Cells, methods: list[str]) -> str:
    rows = [["labels", "set", *methods]]
    for labels, name in sorted({(n, s) for s, n, _ in cells}):
        found = [_mean(cells, name, labels, method) for method in methods]
        seconds = [_mean(cells, name, labels, method, "seconds") for method in methods]
        cell = ["-" if a is None else f"{a:.3f} ({b:.1f} s)" for a, b in zip(found, seconds, strict=True)]
        rows.append([f"{labels:,}", name, *cell])
    return f"Errors in standard deviations of the target\n\n{markdown(rows)}"

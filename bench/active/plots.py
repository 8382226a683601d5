"""Pictures of the active learning benchmark: every method's effect, and learning curves set by set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bench.active.data import INITIAL, SETS
from bench.active.tables import BASELINE, PUBLISHED, Design

INK, MUTED, GRID = "#0b0b0b", "#898781", "#e1e0d9"
COLORS = {"default": "#256abf", PUBLISHED: "#eb6834", "top": "#b5b3ac", BASELINE: INK}


def write(folder: Path, output: Path) -> None:
    """`active_methods.png` and `active_curves.png` from active.json and the choice in another folder."""
    from matplotlib import use

    use("agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 8.5, "axes.edgecolor": MUTED, "text.color": INK})
    data = json.loads((folder / "active.json").read_text())
    default = json.loads((folder / "active_choice.json").read_text())["default"]
    effects(Design(data["first, 32"]), default, output / "active_methods.png")
    curves(data["first, 32"], default, output / "active_curves.png")


def effects(design: Design, default: str, path: Path) -> None:
    """A line a method: a pale point for each set, the mean and its interval."""
    import matplotlib.pyplot as plt

    names = [name for name in design.runs if name != BASELINE]
    found = {name: design.effect(name, BASELINE) for name in names}
    names.sort(key=lambda name: -found[name].mean)
    figure, axis = plt.subplots(figsize=(8, 0.3 * len(names) + 1))
    for row, name in enumerate(names):
        color = _color(name, default, MUTED)
        by_set = [100 * np.expm1(d.mean()) for d in design.differences(name, BASELINE).values()]
        axis.plot(by_set, [row - 0.25] * len(by_set), "o", color=color, alpha=0.45, markersize=3, mew=0)
        effect = found[name]
        axis.plot([effect.low, effect.high], [row, row], color=color, linewidth=2.2)
        axis.plot(effect.mean, row, "o", color=color, markersize=5)
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.set_yticks(range(len(names)), [f"{name} (default)" if name == default else name for name in names])
    axis.set_xlabel("RMSE against random labelling, %: mean, 95 % interval, and each set")
    _tidy(axis)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def curves(methods: dict, default: str, path: Path) -> None:
    """Geometric mean of the test RMSE over the seeds, by labels."""
    import matplotlib.pyplot as plt

    names = [n for n in dict.fromkeys((BASELINE, "top", PUBLISHED, default)) if n in methods]
    sets = [s for s in SETS if s in methods[BASELINE]["curves"]]
    figure, axes = plt.subplots(2, -(-len(sets) // 2), figsize=(12, 5), squeeze=False)
    for axis in axes.flat[len(sets) :]:
        axis.set_axis_off()
    for axis, s in zip(axes.flat, sets, strict=False):
        for name in names:
            values = np.exp(methods[name]["curves"][s])
            labels = INITIAL + 32 * np.arange(len(values))
            color = _color(name, default, MUTED)
            width = 1.2 if name in (BASELINE, "top") else 1.9
            axis.plot(labels, values, color=color, linewidth=width, label=name)
        axis.set_yscale("log")
        axis.set_title(s, fontsize=9)
        axis.minorticks_off()
        low, high = axis.get_ylim()
        ticks = np.geomspace(low, high, 5)[1:-1]
        axis.set_yticks(ticks, [f"{tick:.2g}" for tick in ticks])
        _tidy(axis)
    axes[-1, 0].set_xlabel("labels")
    axes[0, 0].set_ylabel("test RMSE")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    labels = [f"{name} (default)" if name == default else name for name in labels]
    figure.legend(handles, labels, loc="upper center", ncols=len(names), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _color(name: str, default: str, otherwise: str) -> str:
    return COLORS["default"] if name == default else COLORS.get(name, otherwise)


def _tidy(axis) -> None:
    axis.grid(color=GRID, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=MUTED, labelcolor=INK)

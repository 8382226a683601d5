"""Small multiples of what scoring costs: one column for what is varied, rates above, shares of the peak below."""

from __future__ import annotations

from pathlib import Path

LABELS = {
    "rows": "rows",
    "width": "units in each of two hidden layers",
    "depth": "hidden layers of 64 units",
    "tangents": "tangents at once",
}
COLORS = {"fasttangent, 1 thread": "#86b6ef", "fasttangent, 2 threads": "#256abf", "jax": "#eb6834"}
MARKERS = {"fasttangent, 1 thread": "o", "fasttangent, 2 threads": "s", "jax": "^"}
INK, MUTED, GRID = "#0b0b0b", "#898781", "#e1e0d9"


def cost_curves(sweeps: dict[str, list[dict]], path: Path) -> None:
    """Write the figure; curves as `curves.measure_all` returns them."""
    from matplotlib import use

    use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogFormatter

    plt.rcParams.update({"font.size": 8.5, "axes.edgecolor": MUTED, "text.color": INK})
    figure, axes = plt.subplots(2, len(sweeps), figsize=(12, 5.4), sharex="col", squeeze=False)
    for (varied, points), (above, below) in zip(sweeps.items(), axes.T, strict=True):
        for name, color in COLORS.items():
            kept = [p for p in points if name in p["contenders"]]
            x = [p["value"] for p in kept]
            style = {
                "color": color,
                "marker": MARKERS[name],
                "markersize": 4,
                "linewidth": 1.8,
                "label": name,
            }
            for axis, what, scale in ((above, "rows_per_second", 1e-6), (below, "share_of_peak", 100)):
                figures = [p["contenders"][name][what] for p in kept]
                axis.plot(x, [scale * f["median"] for f in figures], **style)
                low, high = ([scale * f[side] for f in figures] for side in ("low", "high"))
                axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        above.set_yscale("log")
        below.set_ylim(0, 100)
        below.set_xlabel(LABELS[varied])
        above.yaxis.set_major_formatter(LogFormatter())
        above.yaxis.set_minor_formatter(LogFormatter())
        if varied != "depth":
            above.set_xscale("log")
        if varied != "rows":
            values = [p["value"] for p in points]
            below.set_xticks(values, map(str, values))
            below.set_xticks([], minor=True)
        for axis in (above, below):
            axis.grid(color=GRID, linewidth=0.6)
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(colors=MUTED, labelcolor=INK)
    axes[0, 0].set_ylabel("million rows/s")
    axes[1, 0].set_ylabel("share of the FMA peak, %")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(COLORS), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(path, dpi=130)
    plt.close(figure)

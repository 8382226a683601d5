"""Pictures.  matplotlib is imported here and nowhere else, and no display is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = {
    "random": {"color": "#7f7f7f", "marker": "o", "label": "labelled at random"},
    "sample": {"color": "#d1495b", "marker": "s", "label": "sampled by curiosity"},
}
DOTS_PER_INCH = 150


def require() -> None:
    """Raise now, before long work, if pictures cannot be drawn.

    Raises
    ------
    ImportError
        Without matplotlib, naming the extra to install.
    """
    _empty_figure()


def learning_curves(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw test error against number of labels, one curve per way of labelling, and write it to a file.

    Parameters
    ----------
    result : mapping
        What `demo.run` returns: "labelled", the numbers of labels; "rmse", by way of labelling one list of
        errors per seed; "seeds"; "test", the number of test rows; "unit", of the errors.
    path : path-like
        File to write; its ending (.png, .pdf, .svg) is the format.

    Raises
    ------
    ImportError
        Without matplotlib.
    OSError
        If the file cannot be written.

    Notes
    -----
    A line is the mean over the seeds, its band one standard deviation either way, thin lines are the seeds.
    """
    figure = _empty_figure()
    axes = figure.add_subplot()
    for way, errors in result["rmse"].items():
        _curve(axes, result["labelled"], np.asarray(errors), STYLES[way])
    axes.set_xticks(result["labelled"])
    axes.set_xlabel("labelled poses")
    axes.set_ylabel(f"RMSE on {result['test']:,} fresh poses ({result['unit']})")
    n_seeds = len(result["seeds"])
    band = f"mean ± one standard deviation of {n_seeds} seeds" if n_seeds > 1 else "one seed"
    axes.set_title(f"Which poses of an 8-joint arm to label next\n{band}", fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _curve(axes: Axes, labelled: list[int], errors: np.ndarray, style: dict[str, Any]) -> None:
    """Mean, spread and single runs of errors (seeds, rounds + 1)."""
    mean, color = errors.mean(axis=0), style["color"]
    axes.plot(labelled, mean, linewidth=2, **style)
    if len(errors) > 1:
        spread = errors.std(axis=0, ddof=1)
        axes.fill_between(labelled, mean - spread, mean + spread, color=color, alpha=0.18, linewidth=0)
        axes.plot(labelled, errors.T, color=color, linewidth=0.6, alpha=0.5)


def _empty_figure() -> Figure:
    """A figure without pyplot, so without windows, global state or a display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"pictures need matplotlib, which cannot be imported ({error}): pip install 'fasttangent[plots]'"
        ) from error
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    return figure

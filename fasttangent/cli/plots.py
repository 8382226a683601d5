"""Pictures.  matplotlib is imported here and nowhere else, and no display is needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.cli.interrupts import heed
from fasttangent.common.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fasttangent.influence.fidelity.report import Fidelity
    from fasttangent.model.model import Model
    from fasttangent.model.strengths import Path as StrengthPath

STYLES = {
    "random": {"color": "#7f7f7f", "marker": "o", "label": "labelled at random"},
    "sample": {"color": "#d1495b", "marker": "s", "label": "sampled by curiosity"},
}
TRUSTED, DISTRUSTED, REFITTED = "#2e5e8c", "#d1495b", "#3c8d5a"
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
    _save(figure, path)


def _curve(axes: Axes, labelled: list[int], errors: np.ndarray, style: dict[str, Any]) -> None:
    """Mean, spread and single runs of errors (seeds, rounds + 1)."""
    mean, color = errors.mean(axis=0), style["color"]
    axes.plot(labelled, mean, linewidth=2, **style)
    if len(errors) > 1:
        spread = errors.std(axis=0, ddof=1)
        axes.fill_between(labelled, mean - spread, mean + spread, color=color, alpha=0.18, linewidth=0)
        axes.plot(labelled, errors.T, color=color, linewidth=0.6, alpha=0.5)


def fidelity(found: Fidelity, path: str | os.PathLike[str]) -> None:
    """Draw a fidelity report: each method's scores against the exact ones, and refits against predictions.

    Parameters
    ----------
    found : Fidelity
        What `fasttangent.fidelity` returns.
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
    Both axes are logarithmic on either side of a linear part around zero, as far as the median size of what is
    drawn.  Points on the dashed line agree.
    """
    exact, rows = found.scores["exact solve"], [row for row in found.rows if row.method != "exact solve"]
    n_columns = 4
    n_lines = -(-(len(rows) + 2) // n_columns)
    figure = _empty_figure(3.1 * n_columns, 3.0 * n_lines)
    axes = figure.subplots(n_lines, n_columns).ravel()
    for place, row in zip(axes, rows, strict=False):
        color = TRUSTED if row.trusted else DISTRUSTED
        _against(place, exact, {"": (found.scores[row.method], color)})
        place.set_title(f"{row.method}\nSpearman {row.spearman:.4f}", fontsize=9)
    refits, chosen = found.refits, found.refitted
    derivative, whole = axes[len(rows)], axes[len(rows) + 1]
    tangent = found.scores["settled tangent"][chosen]
    _against(derivative, tangent, {"": (refits.derivative, REFITTED)})
    derivative.set_title("d C / d eps refitted\nagainst the settled tangent", fontsize=9)
    orders = {
        "first order": (refits.complexity_first[:, 1], DISTRUSTED),
        "second order": (refits.complexity_second[:, 1], REFITTED),
    }
    _against(whole, refits.complexity[:, 1], orders)
    whole.set_title("change of C by a whole row,\npredicted against refitted", fontsize=9)
    whole.legend(frameon=False, fontsize=7)
    for empty in axes[len(rows) + 2 :]:
        empty.set_visible(False)
    figure.suptitle(
        "Influence on complexity: each method against the exact solve (blue: trusted by its certificate)",
        fontsize=11,
    )
    _save(figure, path)


def strengths(model: Model, path: str | os.PathLike[str]) -> None:
    """Draw the path of strengths that were tried, where one was learned, and the strength of each group.

    Parameters
    ----------
    model : Model
        What `fasttangent.fit` returns.
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
    The band around the strength that was chosen is one standard deviation by the curvature of the criterion; there is
    none where the criterion is at no optimum.
    """
    by_group = model.strengths
    figure = _empty_figure(10.0, max(4.0, 1.0 + 0.22 * len(by_group)))
    tried, groups = figure.subplots(1, 2, width_ratios=(3, 2))
    if model.path is None or not len(model.path.strength):
        tried.text(0.5, 0.5, "no strength was learned", ha="center", transform=tried.transAxes)
        tried.set_axis_off()
    else:
        _path(tried, model.path)
    places = np.arange(len(by_group))
    groups.barh(places, list(by_group.values()), color=TRUSTED, height=0.7)
    groups.set_xscale("log")
    groups.set_yticks(places, list(by_group), fontsize=8)
    groups.invert_yaxis()
    groups.set_xlabel("strength")
    groups.set_title("of each group of parameters; columns of\nlarge strength are hardly used", fontsize=10)
    groups.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _path(axes: Axes, found: StrengthPath) -> None:
    axes.plot(found.strength, found.criterion, color=TRUSTED, marker="o")
    axes.set_xscale("log")
    axes.set_xlabel("strength (geometric mean over the groups)")
    axes.set_ylabel("minus log evidence for a label", color=TRUSTED)
    axes.axvline(found.chosen, color=REFITTED, linewidth=1)
    flat = f"± {found.error:.2g} in its logarithm" if np.isfinite(found.error) else "at no optimum"
    if np.isfinite(found.error):
        ends = found.chosen * np.exp([-found.error, found.error])
        axes.axvspan(*ends, color=REFITTED, alpha=0.15, linewidth=0)
    axes.set_title(f"chosen: {found.chosen:.3g}, {flat}", fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top"]].set_visible(False)
    used = axes.twinx()
    used.plot(found.strength, found.parameters, color=DISTRUSTED, marker="s", linestyle="--")
    used.set_ylabel("parameters that the labels determine", color=DISTRUSTED)
    used.spines[["top"]].set_visible(False)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DOTS_PER_INCH, format=Path(path).suffix[1:].lower())
        heed()


def _against(axes: Axes, x: np.ndarray, series: Mapping[str, tuple[np.ndarray, str]]) -> None:
    """Scatter values over x, one colour a series, on axes that are alike, with the line of agreement."""
    size = max(float(np.nanmedian(abs(x))), np.finfo(float).tiny)
    values = np.concatenate([x, *(y for y, _ in series.values())])
    largest = 1.3 * max(float(np.nanmax(abs(values))), size)
    axes.plot([-largest, largest], [-largest, largest], color="#999999", linewidth=0.8, linestyle="--")
    for label, (y, color) in series.items():
        axes.scatter(x, y, s=5 if len(x) > 200 else 16, alpha=0.5, color=color, linewidths=0, label=label)
    for scale in (axes.set_xscale, axes.set_yscale):
        scale("symlog", linthresh=size)
    axes.set_xlim(-largest, largest)
    axes.set_ylim(-largest, largest)
    axes.set_xticks([-size, 0, size], ["", "0", f"{size:.2g}"])
    axes.set_yticks([-size, 0, size], ["", "0", f"{size:.2g}"])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _empty_figure(width: float = 6.4, height: float = 4.2) -> Figure:
    """A figure without pyplot, so without windows, global state or a display."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"pictures need matplotlib, which cannot be imported ({error}): pip install 'fasttangent[plots]'"
        ) from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure

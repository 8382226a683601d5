"""Markdown tables of what `python -m bench speed` measured."""

from __future__ import annotations

import numpy as np

from bench.common.markdown import markdown
from bench.speed import many as many_section
from bench.speed import scoring as scoring_section
from bench.speed import settling as settling_section
from bench.speed.training import GAUSS_NEWTON, JAX, PLAIN, SKLEARN, TANGENT, TORCH, ours_named

NONE = "-"
QUIET = 0.1  # cores that others may use while measuring


def shown(figure: dict[str, float], scale: float = 1.0, spread: bool = True) -> str:
    """Median (quartiles), to three digits."""
    low, middle, high = (f"{digits(figure[name] * scale)}" for name in ("low", "median", "high"))
    return f"{middle} ({low} to {high})" if spread else middle


def digits(x: float) -> str:
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}"


def plural(n: int) -> str:
    return "" if n == 1 else "s"


def percent(figure: dict[str, float]) -> str:
    return f"{100 * figure['median']:.0f} %"


def times(figure: dict[str, float]) -> str:
    return f"{figure['median']:.2f}"


def peak_line(figures: list[dict]) -> str:
    """The range of the peaks that were measured beside the cases."""
    found = []
    for dtype in ("float32", "float64"):
        for threads in (1, 2):
            values = [
                case["peak_gflops"][str(threads)]["median"]
                for case in figures
                if case.get("dtype", "float32") == dtype
            ]
            if values:
                found.append(
                    f"{dtype}, {threads} thread{plural(threads)}: {min(values):.0f} to {max(values):.0f}"
                )
    return "FMA peak measured in the same rounds, GFLOP/s: " + "; ".join(found) + "."


def scoring(figures: list[dict]) -> str:
    rows = [["network", "activation", "dtype", "contender", "million rows/s (quartiles)", "GFLOP/s"]]
    rows[0] += ["share of peak", "its time over fasttangent's, 2 threads", "difference from float64"]
    for case in figures:
        for name, found in case["contenders"].items():
            chunk = f", chunks of {found['chunk']}" if "chunk" in found else ""
            rows.append(
                [
                    case["network"],
                    case["activation"],
                    case["dtype"],
                    name + chunk,
                    shown(found["rows_per_second"], 1e-6),
                    shown(found["gflops"], spread=False),
                    percent(found["share_of_peak"]),
                    times(found["fasttangent_is_faster"]),
                    f"{found['difference_from_reference']:.0e}",
                ]
            )
    head = (
        f"Sensitivity of {figures[0]['rows']:,} rows. One score counts 2 n_0 n_1 multiply-adds for the first layer "
        "and 3 n_in n_out for each further hidden layer, the output layer and the activations nothing; the peak "
        "is that of as many threads. JAX and PyTorch use two threads."
    )
    return "\n\n".join([head, peak_line(figures), markdown(rows)])


def training(figures: list[dict]) -> str:
    rows = [["network, batch", "step", "fasttangent, 1 thread", "2 threads", JAX, TORCH, SKLEARN]]
    rows[0] += ["share of peak, 1 thread", "2 threads", f"{JAX} over fasttangent", f"{TORCH}", f"{SKLEARN}"]
    for case in figures:
        found, ratios = case["contenders"], case["ratios"]
        best = best_threads(case)
        for label in (PLAIN, TANGENT, GAUSS_NEWTON):
            cells = [f"{case['network']}, {case['batch_size']}", label]
            names = [ours_named(label, 1), ours_named(label, 2)]
            names += [f"{peer}, {label}" for peer in (JAX, TORCH, SKLEARN)]
            cells += [shown(found[n]["seconds_per_step"], 1e6) if n in found else NONE for n in names]
            cells += [percent(found[n]["share_of_peak"]) for n in names[:2]]
            for peer in (JAX, TORCH, SKLEARN):
                ratio = ratios.get(f"{peer}, {label} over fasttangent, {best}")
                cells.append(times(ratio) if ratio else NONE)
            rows.append(cells)
    cost = [
        [
            "network, batch",
            *(f"{label}, {t} thread{plural(t)}" for label in (TANGENT, GAUSS_NEWTON) for t in (1, 2)),
            JAX,
        ]
    ]
    for case in figures:
        names = [f"fasttangent, {label} over plain, {t}" for label in (TANGENT, GAUSS_NEWTON) for t in (1, 2)]
        names.append(f"{JAX}, {TANGENT} over plain")
        cells = [times(case["ratios"][name]) for name in names]
        cost.append([f"{case['network']}, {case['batch_size']}", *cells])
    head = (
        "Microseconds per step of Adam, float32, in epochs of 50 minibatches: median (quartiles). Ratios are to "
        "fasttangent with the number of threads that is faster. After a few steps from the same start all agree: "
        "parameters and tangents of JAX and PyTorch to "
        f"{worst(figures, 'float64'):.0e} in float64 and {worst(figures, 'float32'):.0e} in float32."
    )
    return "\n\n".join([head, markdown(rows), "A step with the tangent over a plain one:", markdown(cost)])


def best_threads(case: dict) -> int:
    """The number of threads with the faster plain step."""
    seconds = {t: case["contenders"][ours_named(PLAIN, t)]["seconds_per_step"]["median"] for t in (1, 2)}
    return min(seconds, key=seconds.__getitem__)


def worst(figures: list[dict], dtype: str) -> float:
    """The largest difference from ours, scikit-learn (which is compared with JAX) left out."""
    return max(
        value
        for case in figures
        for name, value in case["differences"].items()
        if name.endswith(dtype) and SKLEARN not in name
    )


def settling(figures: dict) -> str:
    rows = [["contender", *(f"to {goal}" for goal in figures["goals"]), "where it ended"]]
    for name in (settling_section.OURS, settling_section.SCIPY):
        seeds = [seed[name] for seed in figures["seeds"]]
        cells = [settling_seconds(seeds, goal) for goal in figures["goals"]]
        ends = ", ".join(f"{seed['gradient_norm']:.0e} after {seed['seconds']:.3g} s" for seed in seeds)
        rows.append([name, *cells, ends])
    n = len(figures["seeds"])
    head = (
        f"{figures['case']}: seconds from the end of the first stage to a relative gradient norm, median of {n} "
        f"seed{plural(n)} (smallest to largest). L-BFGS-B is given up after {figures['most_seconds']:g} s."
    )
    return f"{head}\n\n{markdown(rows)}"


def settling_seconds(seeds: list[dict], goal: str) -> str:
    """Median (range) over seeds; a seed that did not arrive counts as later than it was given up."""
    values = [seed["reached"][goal] for seed in seeds]
    reached = [value for value in values if value is not None]
    if not reached:
        return f"> {min(seed['seconds'] for seed in seeds):.3g}"
    late = [np.inf if value is None else value for value in values]
    middle = np.median(late)
    text = f"{middle:.3g}" if np.isfinite(middle) else f"> {max(seed['seconds'] for seed in seeds):.3g}"
    missing = len(values) - len(reached)
    more = f"; {missing} of {len(values)} never" if missing else ""
    return f"{text} ({min(reached):.3g} to {max(reached):.3g}{more})"


def mapped(figures: dict) -> str:
    rate = figures["rows_per_second"]
    rows = [
        ["what", "figure"],
        ["memory map", shown(rate["memory map"], 1e-6) + " million rows/s"],
        ["the same rows in memory", shown(rate["in memory"], 1e-6) + " million rows/s"],
        ["rate of the map over rate in memory", times(figures["map_over_memory"])],
        ["rows on disk", f"{figures['megabytes_of_rows']:,.0f} MB"],
        ["memory above the model", f"{figures['megabytes_above_model']:.0f} MB"],
        ["of which the scores", f"{figures['megabytes_of_result']:.0f} MB"],
    ]
    head = (
        f"{figures['rows']:,} rows of float32, {figures['network']}, two threads, the file in the page cache."
    )
    return f"{head}\n\n{markdown(rows)}"


def many(figures: dict | None) -> str:
    if figures is None:
        return "This version has no `fit_many`."
    rows = [["contender", "seconds (quartiles)"]]
    rows += [[name, shown(taken)] for name, taken in figures["seconds"].items()]
    rows.append(["two threads over one", f"{times(figures['speedup'])} times as fast"])
    return (
        f"{figures['fits']} fits of {many_section.ROWS} rows, the same models bit by bit.\n\n{markdown(rows)}"
    )


SECTIONS = {
    "scoring": ("Scores per second", scoring),
    "training": ("Time of a training step", training),
    "settling": ("Time to a stationary point", settling),
    "mapped": ("A table on disk", mapped),
    "many": ("Many small fits", many),
}


def all_tables(results: dict) -> str:
    """Every section that was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [f"{results['processor']}. {versions}."]
    for section, (title, table) in SECTIONS.items():
        if section in results:
            parts.append(f"### {title}\n\n{table(results[section]['figures'])}{caveats(results[section])}")
    return "\n\n".join(parts)


def caveats(section: dict) -> str:
    """What stands in the way of taking the figures at their word."""
    found = []
    if section["quick"]:
        found.append("A quick run: fewer cases, rows and rounds.")
    if section.get("cores_busy_elsewhere", 0) > QUIET:
        found.append(
            f"Other processes kept {section['cores_busy_elsewhere']:.2f} cores busy meanwhile: measure again."
        )
    return "\n\n" + " ".join(found) if found else ""


def summary(results: dict) -> str:
    """The rows that decide, for the README."""
    rows = [["work", "fasttangent", "jax", "torch", "scikit-learn", "fastest other over fasttangent"]]
    rows[0].append("share of peak")
    if "scoring" in results:
        rows += [_scoring_row(case) for case in results["scoring"]["figures"]]
    if "training" in results:
        for case in results["training"]["figures"]:
            rows += [_training_row(case, label) for label in (PLAIN, TANGENT)]
    if "settling" in results:
        rows.append(_settling_row(results["settling"]["figures"]))
    return (
        markdown(rows)
        + "\n\nScores: sensitivity, million rows/s. Steps: Adam, float32, microseconds. Settling: seconds to a "
        "relative gradient norm of 1e-10, against SciPy's L-BFGS-B on JAX."
    )


def _scoring_row(case: dict) -> list[str]:
    found = case["contenders"]
    own = found[scoring_section.OURS[2]]
    peers = found[scoring_section.JAX], found[scoring_section.TORCH]
    rates = [shown(each["rows_per_second"], 1e-6, spread=False) for each in (own, *peers)]
    ratio = min(each["fasttangent_is_faster"]["median"] for each in peers)
    what = f"scores, {case['network']}, {case['activation']}, {case['dtype']}"
    return [what, *rates, NONE, f"{ratio:.2f}", percent(own["share_of_peak"])]


def _training_row(case: dict, label: str) -> list[str]:
    found, best = case["contenders"], best_threads(case)
    own = found[ours_named(label, best)]
    cells = [shown(own["seconds_per_step"], 1e6, spread=False)]
    ratios = []
    for peer in (JAX, TORCH, SKLEARN):
        name = f"{peer}, {label}"
        cells.append(shown(found[name]["seconds_per_step"], 1e6, spread=False) if name in found else NONE)
        if name in found:
            ratios.append(case["ratios"][f"{name} over fasttangent, {best}"]["median"])
    what = f"step {label}, {case['network']}, batch {case['batch_size']}"
    return [what, *cells, f"{min(ratios):.2f}", percent(own["share_of_peak"])]


def _settling_row(figures: dict) -> list[str]:
    goal = figures["goals"][-1]
    ours, scipy = (
        [seed[name] for seed in figures["seeds"]] for name in (settling_section.OURS, settling_section.SCIPY)
    )
    cells = [settling_seconds(seeds, goal).split(" (")[0] for seeds in (ours, scipy)]
    own = float(np.median([seed["reached"][goal] or np.inf for seed in ours]))
    others = [seed["reached"][goal] or seed["seconds"] for seed in scipy]
    more = "> " if cells[1].startswith(">") else ""
    ratio = f"{more}{np.median(others) / own:.2f}"
    return [f"settling, {figures['case']}", cells[0], cells[1], NONE, NONE, ratio, NONE]

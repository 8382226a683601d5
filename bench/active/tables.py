"""What the runs of the active learning benchmark say: figures by method and set, tests, Markdown."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.active.data import SETS
from bench.active.loop import FIGURES
from bench.active.methods import CANDIDATES, METHODS
from bench.active.statistics import Effect, bootstrap, holm, mean_effect, paired_t, sign_flip_p, tally

BASELINE, PUBLISHED, CONTROL = "random", "lcmd", "permuted"
CLOSE = 0.005  # of the lowest mean error: there the seconds decide the choice
DESIGNS = {"first, 32": "first 32", "first, 128": "first 128", "settled, 32": "settled 32"}


def endpoints(line: dict) -> dict[str, float]:
    """The figures of one run that are compared; errors as logarithms."""
    logs = {name: np.log(line[name]) for name in FIGURES}
    found = {name: float(logs[name][1:].mean()) for name in FIGURES}
    seconds = {f"{what}_seconds": float(np.median(line[f"{what}_seconds"])) for what in ("fit", "select")}
    return {**found, "final": float(logs["rmse"][-1]), **seconds}


def choice(lines: Sequence[dict]) -> dict:
    """The default: the lowest mean endpoint, and if others are within half a per cent, the quickest of them."""
    table = by_method(lines)
    pairs = set.intersection(*(set(table[name]) for name in CANDIDATES))
    if {line["set"] for line in lines} != set(SETS):
        raise ValueError(f"the choice needs all of {', '.join(SETS)}; run those that are missing")
    found = {}
    for name in CANDIDATES:
        against = [
            np.array(
                [
                    table[name][s, k]["rmse"] - table[PUBLISHED][s, k]["rmse"]
                    for t, k in sorted(pairs)
                    if t == s
                ]
            )
            for s in SETS
        ]
        seconds = float(np.median([table[name][pair]["select_seconds"] for pair in sorted(pairs)]))
        found[name] = {
            "log_rmse_against_lcmd": mean_effect(against),
            "per_cent": 100 * float(np.expm1(mean_effect(against))),
            "select_seconds": seconds,
            "failures": sum(len(line["failures"]) for line in lines if line["method"] == name),
        }
    lowest = min(entry["log_rmse_against_lcmd"] for entry in found.values())
    close = [n for n in CANDIDATES if found[n]["log_rmse_against_lcmd"] <= lowest + np.log1p(CLOSE)]
    default = min(close, key=lambda name: found[name]["select_seconds"])
    return {"default": default, "close": close, "pairs": len(pairs), "candidates": found}


def by_method(lines: Sequence[dict]) -> dict[str, dict[tuple[str, int], dict[str, float]]]:
    """{method: {(set, seed): endpoints}}."""
    found: dict = defaultdict(dict)
    for line in lines:
        found[line["method"]][line["set"], line["seed"]] = endpoints(line)
    return dict(found)


def collect(lines: Sequence[dict]) -> dict:
    """All that tables and pictures need of the complete seeds, small enough to keep beside them."""
    found: dict = {}
    for design, key in DESIGNS.items():
        chosen = complete([line for line in lines if f"{line['stage']} {line['batch']}" == key])
        methods: dict = {}
        for name in METHODS:
            own = [line for line in chosen if line["method"] == name]
            if own:
                methods[name] = {
                    "runs": {
                        f"{line['set']} {line['seed']}": {k: _short(v) for k, v in endpoints(line).items()}
                        for line in own
                    },
                    "curves": _curves(own),
                    "failures": [
                        f"{line['set']} {line['seed']} {f}" for line in own for f in line["failures"]
                    ],
                    "unsettled": sum(stop != "settled" for line in own for stop in line["stopped"]),
                }
        if methods:
            found[design] = methods
    return found


def complete(lines: Sequence[dict]) -> list[dict]:
    """Lines of the seeds that a method, and random labelling, have on every set of the design."""
    sets = {line["set"] for line in lines}
    has = defaultdict(set)
    for line in lines:
        has[line["method"], line["seed"]].add(line["set"])
    return [
        line
        for line in lines
        if has[line["method"], line["seed"]] == sets == has.get((BASELINE, line["seed"]), set())
    ]


def _curves(lines: Sequence[dict]) -> dict[str, list[float]]:
    """Mean log RMSE over the seeds, by set and step."""
    by_set = defaultdict(list)
    for line in lines:
        by_set[line["set"]].append(np.log(line["rmse"]))
    return {
        name: [_short(value) for value in np.mean(by_set[name], axis=0)] for name in SETS if name in by_set
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")


class Design:
    """The runs of one design, compared within set and seed; methods of a single seed are left out."""

    def __init__(self, methods: dict) -> None:
        self.methods = methods
        runs = {
            name: {_pair(key): figures for key, figures in entry["runs"].items()}
            for name, entry in methods.items()
        }
        self.runs = {name: own for name, own in runs.items() if len({seed for _, seed in own}) >= 2}

    def differences(self, name: str, other: str, figure: str = "rmse") -> dict[str, np.ndarray]:
        """By set: the differences of the seeds that both have."""
        a, b = self.runs[name], self.runs[other]
        found: dict[str, list[float]] = defaultdict(list)
        for pair in sorted(set(a) & set(b)):
            found[pair[0]].append(a[pair][figure] - b[pair][figure])
        return {s: np.array(found[s]) for s in SETS if s in found}

    def effect(self, name: str, other: str, figure: str = "rmse") -> Effect:
        return bootstrap(list(self.differences(name, other, figure).values())).per_cent()

    def p_value(self, name: str, other: str) -> float:
        return sign_flip_p(list(self.differences(name, other).values()))

    def median(self, name: str, figure: str) -> float:
        return float(np.median([run[figure] for run in self.runs[name].values()]))


def _pair(key: str) -> tuple[str, int]:
    name, seed = key.split()
    return name, int(seed)


# Markdown ---------------------------------------------------------------------------------------------------------


def markdown(folder: Path) -> str:
    """bench/ACTIVE.md from the files that `collect`, `choose` and `cost` wrote."""
    data = json.loads((folder / "active.json").read_text())
    chosen = json.loads((folder / "active_choice.json").read_text())
    cost_path = folder / "active_cost.json"
    costs = json.loads(cost_path.read_text()) if cost_path.exists() else {}
    default, main = chosen["default"], Design(data["first, 32"])
    parts = [
        "# Active learning",
        "Written by `python -m bench active table`; rules: [ACTIVE_PROTOCOL.md](ACTIVE_PROTOCOL.md).\n"
        "Change of the RMSE in per cent (mean over the steps of its logarithm, then over seeds and sets), with 95 %\n"
        "intervals; wins, ties and losses are sets whose own interval lies below 0, holds it, or lies above.",
        hypotheses(main, default),
        "## All methods, batches of 32",
        methods_table(main, costs),
        "![Change of the RMSE against random labelling](active_methods.png)",
        f"## Set by set: {default}, the default, and LCMD",
        sets_table(main, default),
        "![Learning curves](active_curves.png)",
        "## Secondary figures",
        secondary_table(main),
    ]
    if _seeds(data, "first, 128") >= 2:
        parts += ["## Batches of 128", methods_table(Design(data["first, 128"]), {})]
    if _seeds(data, "settled, 32") >= 2:
        parts += ["## Settled models", settled_table(Design(data["settled, 32"]), main)]
    parts += ["## How the default was chosen", choice_table(chosen), "## Failures", failures(data)]
    return "\n\n".join(parts)


def _seeds(data: dict, design: str) -> int:
    """Complete seeds of random labelling: intervals need two."""
    return len({key.split()[1] for key in data.get(design, {}).get(BASELINE, {"runs": {}})["runs"]})


def hypotheses(design: Design, default: str) -> str:
    """The two that were declared."""
    others = [other for other in (BASELINE, PUBLISHED) if other != default]
    p = [design.p_value(default, other) for other in others]
    rows = ["| hypothesis | RMSE | 95 % | p | p, Holm | wins, ties, losses |", "|---|---|---|---|---|---|"]
    for other, value, adjusted in zip(others, p, holm(p), strict=True):
        effect = design.effect(default, other)
        counts = tally(list(design.differences(default, other).values()))
        rows.append(
            f"| {default} against {other} | {_percent(effect.mean)} | {_interval(effect)} | {_p(value)} | "
            f"{_p(adjusted)} | {_counts(counts)} |"
        )
    if CONTROL in design.runs:
        effect = design.effect(CONTROL, BASELINE)
        verdict = "holds" if effect.low <= 0 <= effect.high else "does not hold"
        rows += [
            "",
            f"Control: `permuted` against random {_percent(effect.mean)} ({_interval(effect)}), which {verdict} 0.",
        ]
    return "\n".join(rows)


def methods_table(design: Design, costs: dict) -> str:
    """By rising error."""
    compared = [name for name in design.runs if name != BASELINE]
    effects = {name: design.effect(name, BASELINE) for name in compared}
    rows = [
        "| batch chosen by | against random | 95 % | wins, ties, losses | against LCMD | 95 % | select, s | MB "
        "| runs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted(compared, key=lambda name: effects[name].mean):
        counts = tally(list(design.differences(name, BASELINE).values()))
        if name == PUBLISHED:
            against = ("", "")
        else:
            effect = design.effect(name, PUBLISHED)
            against = (_percent(effect.mean), _interval(effect))
        cells = (
            name,
            _percent(effects[name].mean),
            _interval(effects[name]),
            _counts(counts),
            *against,
            f"{costs[name]['seconds'] if name in costs else design.median(name, 'select_seconds'):.2g}",
            f"{costs[name]['mb']:.0f}" if "mb" in costs.get(name, {}) else "",
            str(len(design.runs[name])),
        )
        rows.append("| " + " | ".join(cells) + " |")
    seconds = design.median(BASELINE, "fit_seconds")
    how = (
        "of one selection from 4,744 candidates with 320 labels, alone on the machine"
        if costs
        else "medians of the runs, two of which shared the machine"
    )
    rows += [
        "",
        f"Seconds on one core: {how}.  Training the network takes {seconds:.2g} s (median of the runs).",
    ]
    return "\n".join(rows)


def sets_table(design: Design, default: str) -> str:
    names = [name for name in dict.fromkeys((default, PUBLISHED, "bmdal-lcmd")) if name in design.runs]
    header = [f"{name} against random | 95 %" for name in names]
    if default != PUBLISHED:
        header.append(f"{default} against lcmd | 95 %")
    rows = ["| set | " + " | ".join(header) + " |", "|---" * (1 + 2 * len(header)) + "|"]
    for s in design.differences(default, BASELINE):
        pairs = [(name, BASELINE) for name in names] + (
            [(default, PUBLISHED)] if default != PUBLISHED else []
        )
        cells = []
        for name, other in pairs:
            effect = paired_t(design.differences(name, other)[s]).per_cent()
            lost = effect.low > 0
            cells.append(f"{'**' * lost}{_percent(effect.mean)}{'**' * lost} | {_interval(effect)}")
        rows.append(f"| {s} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n\nBold: the interval lies above 0."


def secondary_table(design: Design) -> str:
    rows = [
        "| batch chosen by | after the last step | 95 % | MAE | 95 % | 99 % quantile | 95 % |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in design.runs:
        if name != BASELINE:
            effects = [design.effect(name, BASELINE, figure) for figure in ("final", "mae", "q99")]
            cells = " | ".join(f"{_percent(e.mean)} | {_interval(e)}" for e in effects)
            rows.append(f"| {name} | {cells} |")
    return "\n".join(rows)


def settled_table(settled: Design, first: Design) -> str:
    rows = [
        "| batch chosen by | settled against random, settled | 95 % | settled against first stage | 95 % "
        "| fit, s: settled | first stage | ended early |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in settled.runs:
        if name not in first.runs:
            continue
        both = Design({"settled": settled.methods[name], "first": first.methods[name]})
        between = both.effect("settled", "first")
        against = settled.effect(name, BASELINE) if name != BASELINE else None
        cells = (
            name,
            _percent(against.mean) if against else "",
            _interval(against) if against else "",
            _percent(between.mean),
            _interval(between),
            f"{settled.median(name, 'fit_seconds'):.2g}",
            f"{first.median(name, 'fit_seconds'):.2g}",
            str(settled.methods[name]["unsettled"]),
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def choice_table(chosen: dict) -> str:
    rows = [
        f"On {chosen['pairs']} sets and seeds that are not among those above; of those within half a per cent of the\n"
        "best, the quickest is taken.",
        "",
        "| candidate | against LCMD | select, s |",
        "|---|---|---|",
    ]
    entries = chosen["candidates"]
    for name in sorted(entries, key=lambda name: entries[name]["per_cent"]):
        mark = "**" if name == chosen["default"] else ""
        rows.append(
            f"| {mark}{name}{mark} | {_percent(entries[name]['per_cent'])} | {entries[name]['select_seconds']:.2g} |"
        )
    return "\n".join(rows)


def failures(data: dict) -> str:
    rows = [
        f"- {design}, {name}: {len(entry['failures'])} steps, the first: {entry['failures'][0]}"
        for design, methods in data.items()
        for name, entry in methods.items()
        if entry["failures"]
    ]
    return "\n".join(rows) if rows else "None: no training diverged, and every selection gave its batch."


def _percent(value: float) -> str:
    return f"{value:+.1f} %"


def _interval(effect: Effect) -> str:
    return f"{effect.low:+.1f} to {effect.high:+.1f}"


def _counts(counts: tuple[int, int, int]) -> str:
    return ", ".join(map(str, counts))


def _p(value: float) -> str:
    return f"{value:.5f}" if value >= 1e-4 else f"{value:.0e}"

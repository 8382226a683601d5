"""Tables of the results of `python -m bench members`."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.active.data import SETS
from bench.active.statistics import Effect, bootstrap
from bench.common.markdown import markdown

Results = list[dict[str, Any]]
HEAD = """# Several members

Written by `python -m bench members`, which says what was measured: one model against five members, 64-64, tanh, on the
splits for choosing of QUALITY_PROTOCOL.md."""
WHO = {"one": "one", "five": "five", "own": "five, each its own strengths"}


def everything(results: Results) -> str:
    parts = {"agreement": _agreement, "errors": _errors, "batches": _batches}
    texts = [HEAD]
    for name, table in parts.items():
        if some := [one for one in results if one["part"] == name]:
            texts.append(table(some))
    return "\n\n".join(texts)


def _agreement(results: Results) -> str:
    rows = [["strength", "set", "curiosity, one", "five", "\\|sensitivity\\|, one", "five", "trusted"]]
    for strength, name in dict.fromkeys((one["strength"], one["set"]) for one in results):
        some = [one for one in results if (one["strength"], one["set"]) == (strength, name)]
        cells = [
            _spread([one[f"{what}_{who}"] for one in some])
            for what in ("curiosity", "sensitivity")
            for who in ("one", "five")
        ]
        trusted = f"{sum(one['trusted'] for one in some)} of {10 * len(some)}"
        rows.append([str(strength), name, *cells, trusted])
    return (
        "## Rank agreement\n\nSpearman correlation over the test rows, 320 labels, between two models and between "
        f"two sets of five: mean and standard deviation over splits\n\n{markdown(rows)}"
    )


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def _errors(results: Results) -> str:
    rows = [["labels", "set", *(f"error, {words}" for words in WHO.values()),
             *(f"nll, {words}" for words in WHO.values()), *(f"CPU s, {words}" for words in WHO.values())]]  # fmt: skip
    ratios = []
    for labels in sorted({one["labels"] for one in results}):
        for name in SETS:
            some = [one for one in results if (one["labels"], one["set"]) == (labels, name)]
            if some:
                errors = [np.exp(np.mean(np.log([one[f"rmse_{who}"] for one in some]))) for who in WHO]
                likelihoods = [np.mean([one[f"nll_{who}"] for one in some]) for who in WHO]
                seconds = [np.mean([one[f"seconds_{who}"] for one in some]) for who in WHO]
                cells = [*(f"{v:.3f}" for v in errors), *(f"{v:.2f}" for v in likelihoods)]
                rows.append([str(labels), name, *cells, *(f"{v:.1f}" for v in seconds)])
        some = [one for one in results if one["labels"] == labels]
        for who in ("five", "own"):
            effect = bootstrap(_by_set(some, lambda one, who=who: _log_ratio(one, who))).per_cent()
            nll = bootstrap(_by_set(some, lambda one, who=who: one[f"nll_{who}"] - one["nll_one"]))
            ratios.append(
                f"- {labels} labels, {WHO[who]} against one: error {_written(effect)} %, negative log likelihood "
                f"{nll.mean:+.3f} ({nll.low:+.3f} to {nll.high:+.3f})"
            )
    return (
        "## Errors\n\nIn standard deviations of the target; means over splits. Of all sets, with intervals of 95 %:\n\n"
        + "\n".join(ratios)
        + f"\n\n{markdown(rows)}"
    )


def _log_ratio(one: dict[str, Any], who: str) -> float:
    return float(np.log(one[f"rmse_{who}"] / one["rmse_one"]))


def _by_set(results: Results, of: Any) -> list[np.ndarray]:
    names = dict.fromkeys(one["set"] for one in results)
    return [np.array([of(one) for one in results if one["set"] == name]) for name in names]


def _batches(results: Results) -> str:
    names = [name for name in results[0]["rmse"] if not name.startswith("random")]
    sets = list(dict.fromkeys(one["set"] for one in results))
    rows = [["picked by", "model or members", *sets, "all sets, of five", "all sets, of one"]]
    for name in names:
        by_set = [_by_set(results, lambda one, i=i: _against_random(one, name, i)) for i in (0, 1)]  # noqa: B023
        cells = [f"{100 * np.expm1(np.mean(d)):+.1f}" for d in by_set[0]]
        effects = [_written(bootstrap(differences).per_cent()) for differences in by_set]
        rows.append([*name.split(), *cells, *effects])
    both = []
    for strategy in dict.fromkeys(name.split()[0] for name in names):
        more = _by_set(
            results,
            lambda one: float(np.log(one["rmse"][f"{strategy} 5"][0] / one["rmse"][f"{strategy} 1"][0])),  # noqa: B023
        )
        both.append(f"- {strategy}: {_written(bootstrap(more).per_cent())} %")
    return (
        "## Batches\n\n64 labels and 32 more: error against 32 random ones, per cent, of five members fitted to the 96 "
        f"labels (last column: of one), with intervals of 95 %\n\n{markdown(rows)}\n\nPicked with five members against "
        "picked with one:\n\n" + "\n".join(both)
    )


def _against_random(one: dict[str, Any], name: str, i: int) -> float:
    random = [np.log(errors[i]) for other, errors in one["rmse"].items() if other.startswith("random")]
    return float(np.log(one["rmse"][name][i]) - np.mean(random))


def _written(effect: Effect) -> str:
    return f"{effect.mean:+.1f} ({effect.low:+.1f} to {effect.high:+.1f})"

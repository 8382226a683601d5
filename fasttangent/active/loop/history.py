"""What a campaign has come to, for people: a record per round, and a summary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fasttangent.active.loop import diagnostics
from fasttangent.active.loop.state import State

if TYPE_CHECKING:
    from fasttangent.active.loop.pooled import Pooled
    from fasttangent.model.model import Model

_OF_FIT = ("labels", "trusted", "start", "expected_change", "test_rmse", "test_mae")
_COMPARED = {
    "rmse": "beside_rmse",
    "mae": "beside_mae",
    "control_rmse": "control_rmse",
    "control_mae": "control_mae",
}


def history(state: State, first: int) -> list[dict[str, Any]]:
    """A record per round; `first` labels were there at the beginning.  See `ActiveLearner.history`."""
    fits = {fit["round"]: fit for fit in state.fits}
    n = max(len(state.rounds), max(fits, default=-1) + 1)
    return [_record(state, round, fits.get(round), first) for round in range(n)]


def _record(state: State, round: int, fit: dict[str, Any] | None, first: int) -> dict[str, Any]:
    asked = state.rounds[round] if round < len(state.rounds) else {}
    compared = state.compared.get(round, {})
    rows = [row for row in asked.get("rows", []) if state.place[row][0] == round]
    got = [row for row in rows if row in state.labels]
    figures = {name: (fit or {}).get(name) for name in _OF_FIT}
    if fit is None:
        figures["labels"] = first if round == 0 else None
    return {
        "round": round,
        **figures,
        "strategy": asked.get("strategy"),
        "rows": asked.get("rows", []),
        "asked": len(asked.get("rows", [])),
        "got": len(got),
        "failed": sum(row in state.failed for row in rows),
        "open": sum(row in state.open for row in rows),
        **_on_the_batch(state, asked, got),
        "redundancy": asked.get("redundancy"),
        **{name: compared.get(key) for key, name in _COMPARED.items()},
        "fit_seed": (fit or {}).get("seed"),
        "select_seed": asked.get("seed"),
        "fit_seconds": (fit or {}).get("seconds"),
        "select_seconds": asked.get("seconds"),
        "oracle_seconds": state.oracle_seconds.get(round),
    }


def _on_the_batch(state: State, asked: dict[str, Any], got: list[int]) -> dict[str, Any]:
    """How the model did on a batch before it was learned."""
    names = ("batch_rmse", "batch_mae", "score_error_correlation")
    predictions = asked.get("predictions")
    if not got or predictions is None:
        return dict.fromkeys(names)
    at = [asked["rows"].index(row) for row in got]
    predicted, truth = [predictions[i] for i in at], [state.labels[row] for row in got]
    scores = asked.get("scores")
    found = (
        math.nan
        if scores is None
        else diagnostics.finds_errors([_nan(scores[i]) for i in at], predicted, truth)
    )
    values = (*diagnostics.errors(predicted, truth), None if math.isnan(found) else found)
    return dict(zip(names, values, strict=True))


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def compared(run: State, control: State, model: Model, pool: Pooled) -> dict[str, Any] | None:
    """Errors of both runs on the rows that the control drew in the last round and neither has learned.

    `model` is the last one of the run; None where the round has been compared or has nothing to compare.
    """
    round = len(run.rounds) - 1
    fitted = bool(run.fits) and run.fits[-1]["round"] == round
    if not fitted or round in run.compared or round >= len(control.rounds):
        return None
    drawn = control.rounds[round]
    new = [
        (i, row)
        for i, row in enumerate(drawn["rows"])
        if row in control.labels and run.place.get(row, (round, 0))[0] >= round
    ]
    rows = [row for _, row in new]
    found: dict[str, Any] = {"round": round, "rows": len(rows)}
    truth = [control.labels[row] for row in rows]
    predictions: dict[str, Any] = {"": model.predict(pool.take(rows)) if rows else None, "control_": None}
    if drawn.get("predictions"):
        predictions["control_"] = [drawn["predictions"][i] for i, _ in new] or None
    for whose, predicted in predictions.items():
        errors = (None, None) if predicted is None else diagnostics.errors(predicted, truth)
        found |= {f"{whose}rmse": errors[0], f"{whose}mae": errors[1]}
    return found


def curve(
    own: list[dict[str, Any]], control: list[dict[str, Any]] | None, tested: bool
) -> dict[str, list[Any]]:
    """Labels learned and the error then, from the histories of a run and its control; see `ActiveLearner.curve`."""
    kind = "test" if tested else "beside" if control is not None else "batch"
    rows = own if tested else [h for h in own if h[f"{kind}_rmse"] is not None]
    columns = {"labels": [h["labels"] for h in rows]}
    columns |= {name: [h[f"{kind}_{name}"] for h in rows] for name in ("rmse", "mae")}
    if control is None:
        return columns
    if tested:
        columns["control_labels"] = [h["labels"] for h in control]
        return columns | {f"control_{name}": [h[f"test_{name}"] for h in control] for name in ("rmse", "mae")}
    return columns | {f"control_{name}": [h[f"control_{name}"] for h in rows] for name in ("rmse", "mae")}


def summary(state: State, first: int, budget: int | None, control: State | None) -> dict[str, Any]:
    """Counts, the outlook, and where the error is."""
    records = history(state, first)
    asked = len(state.labels) - len(state.borrowed & state.labels.keys())
    paid = None if control is None else len(control.labels) - len(control.borrowed & control.labels.keys())
    last = next((h for h in reversed(records) if h["batch_rmse"] is not None), None)
    ratio = (state.outlook or {}).get("ratio")
    return {
        "rounds": len(state.rounds),
        "labels": first + len(state.labels),
        "first_labels": first,
        "got": len(state.labels),
        "failed": len(state.failed),
        "open": len(state.open),
        "budget": budget,
        "labels_asked_for_this_run": asked,
        "labels_asked_for_the_control": paid,
        "rmse_mae_ratio": ratio,
        "outlook": outlook_in_words(ratio),
        "batch_rmse": None if last is None else last["batch_rmse"],
        "test_rmse": next((h["test_rmse"] for h in reversed(records) if h["test_rmse"] is not None), None),
        "seconds": {
            what: sum(h[f"{what}_seconds"] or 0.0 for h in records) for what in ("fit", "select", "oracle")
        },
    }


def outlook_in_words(ratio: float | None) -> str | None:
    """What the ratio of RMSE to MAE at the beginning says."""
    if ratio is None:
        return None
    figure = f"errors at the beginning have RMSE/MAE {ratio:.2f} (1.25 is normal)"
    if ratio >= diagnostics.HEAVY:
        return f"{figure}: a few rows make most of the error, and choosing rows should help"
    if ratio >= 1.3:
        return f"{figure}: choosing rows may help"
    return f"{figure}: errors are alike everywhere, and choosing rows can help little"

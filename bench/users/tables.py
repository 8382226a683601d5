"""Tables of the results of `python -m bench users`, and what was to be measured, written before it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.common.markdown import markdown

Results = list[dict[str, Any]]
HEAD = """# Users of one network

Written by `python -m bench users`.

## What is measured

**Errors.** Rows of several users, of which 5, 10 or 20 of each user have labels (of a user with few rows half of them);
up to 2,000 others of the same users are predicted. Five draws of the rows (seeds 0 to 4). Networks 8-32-32-1 and their
like, tanh, everything else as `fit` does it, strengths learned. What `fit(users=)` does was chosen on other draws
(seeds 100 to 102): that biases of users are held as loosely as all weights into a unit, that the hyperprior of their
variance is wide, that it is looked for from two places, and that the evidence then learns the strength of deviations.

- *kin8nm, users differ*: 24 made-up users, rows dealt to them at random; the label is its mean plus a gain (1 + 0.5
  times a normal number) times its deviation, plus an offset (0.5 standard deviations times a normal number).
- *kin8nm, users are alike*: the same without gains and offsets, to see what a hierarchy costs where there is none.
- *bike_noleak by hour*: the 24 hours of the day are the users. *concrete by age*: the 14 ages. The column is taken
  away.

| contender | |
|---|---|
| one for all | one model; nobody says whose a row is |
| one each | a model for each user, its mean where a model refuses |
| indicators | one model with a column of 0 and 1 for each user beside the others |
| column kept | one model that has the column as a number |
| hierarchy | `fit(users=)`: what all share, and a deviation of the last layer's weights and biases for each user |

Errors are root mean squares over the standard deviation of the test labels, geometric means over the draws. Wins count
draws in which the hierarchy has the smaller error. Sets where it loses stay in the table.

**1,000 users.** Made-up rows, 5 to 50 of a user, eight columns, a smooth function with a gain and an offset for each
user and noise; 30 epochs, then settled, at 1e-2 for both levels and at "auto" (beyond 3,000 labels 1e-3 for what is
shared, and the users' strength learned from a sample of users). The same fit without users beside it."""


def everything(results: Results) -> str:
    parts = {"errors": _errors, "many": _many}
    texts = [HEAD]
    for name, table in parts.items():
        if some := [one for one in results if one["part"] == name]:
            texts.append(table(some))
    return "\n\n".join(texts)


def _errors(results: Results) -> str:
    names = list(results[0]["found"])
    rows = [["rows", "labels of a user", *names, "wins over one, each, indicators"]]
    seconds = [["rows", "labels of a user", *names]]
    for case, each in dict.fromkeys((one["case"], one["each"]) for one in results):
        some = [one["found"] for one in results if (one["case"], one["each"]) == (case, each)]
        errors = {name: np.array([found[name]["rmse"] for found in some]) for name in names}
        means = {name: float(np.exp(np.mean(np.log(values)))) for name, values in errors.items()}
        least = min(value for value in means.values() if not np.isnan(value))
        cells = [_error(means[name], least) for name in names]
        won = [int(np.sum(errors["hierarchy"] < errors[name])) for name in names[:3]]
        rows.append([case, str(each), *cells, ", ".join(f"{n} of {len(some)}" for n in won)])
        taken = [np.median([found[name]["seconds"] for found in some]) for name in names]
        seconds.append([case, str(each), *(f"{value:.1f}" for value in taken)])
    return "\n\n".join(
        [
            "## Errors",
            markdown(rows),
            "Seconds of the processor for fits and predictions, medians:",
            markdown(seconds),
        ]
    )


def _error(value: float, least: float) -> str:
    if np.isnan(value):
        return ""
    return f"**{value:.3f}**" if value == least else f"{value:.3f}"


def _many(results: Results) -> str:
    fit = ["parameters", "steps", "seconds", "CPU", "trusted"]
    rows = [["users", "rows", "network", "strength", "of users", *fit, "without users: parameters", *fit[1:]]]
    for one in results:
        found, net = one["found"], "-".join(map(str, [8, *one["hidden"], 1]))
        cells = [
            cell
            for name in ("with", "without")
            for cell in (
                f"{found[name]['parameters']:,}",
                str(found[name]["steps"]),
                f"{found[name]['wall']:.0f}",
                f"{found[name]['cpu']:.0f}",
                "yes" if found[name]["trusted"] else "no",
            )
        ]
        level = f"{found['with']['strengths']['users']:.1e}"
        rows.append([str(one["users"]), f"{found['rows']:,}", net, str(one["strength"]), level, *cells])
    note = "Two cores that others used as well: seconds of the wall are upper bounds, those of the processor are not."
    return "\n\n".join(["## 1,000 users", markdown(rows), note])

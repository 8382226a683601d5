"""Rows per second of tables with text and gaps, beside plain floats.

    python -m bench columns --rows 1000000

A model of 64-64 units and four columns of text, of eight levels each, and four of numbers, of which a tenth is missing
(40 inputs); and one of eight columns of floats.  Curiosity on one thread; processor time, medians of repeats, kinds in
turns.
Scores of all kinds must be the same to the bit.  Needs pandas, polars and pyarrow.
"""

from __future__ import annotations

import time
import warnings

import numpy as np

import fasttangent as ft
from bench.common import options

WORDS = np.array(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"])
TEXT, GAPS, MISSING = [f"t{j}" for j in range(4)], [f"g{j}" for j in range(4)], 0.1


def table(n: int, seed: int):
    """An Arrow table with dictionaries of text."""
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    found = {}
    for name in TEXT:
        indices = pa.array(rng.integers(0, len(WORDS), n).astype(np.int8))
        found[name] = pa.DictionaryArray.from_arrays(indices, pa.array(WORDS))
    for name in GAPS:
        found[name] = pa.array(rng.normal(size=n), mask=rng.random(n) < MISSING)
    return pa.table(found)


def kinds(dictionaries):
    """The same rows by name of their kind."""
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    strings = pa.table(
        {
            name: column.cast(pa.string()) if name in TEXT else column
            for name, column in zip(dictionaries.column_names, dictionaries.columns, strict=True)
        }
    )
    categories, frame = dictionaries.to_pandas(), pl.from_arrow(strings)
    own = {t: pd.Series([(x + "_")[:-1] for x in strings[t].to_pylist()], dtype=object) for t in TEXT}
    return {
        "Arrow, dictionaries": dictionaries,
        "Arrow, text": strings,
        "pandas, categories": categories,
        "pandas, text in Arrow": categories.astype(dict.fromkeys(TEXT, pd.ArrowDtype(pa.string()))),
        "pandas, objects that are the same": categories.astype(dict.fromkeys(TEXT, object)),
        "pandas, an object for each cell": categories.assign(**own),
        "polars, text": frame,
        "polars, categories": frame.with_columns(pl.col(TEXT).cast(pl.Categorical)),
        "polars, enums": frame.with_columns(pl.col(TEXT).cast(pl.Enum(WORDS.tolist()))),
    }


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    how = {"hidden": (64, 64), "strength": 1e-3, "settle": False, "epochs": 2}
    learned = table(2000, 0)
    y = np.asarray(learned["g0"].fill_null(0.0))
    model = ft.fit(learned, y, **how)
    floats = np.random.default_rng(1).normal(size=(chosen.rows, 8))
    cases = {"floats": (ft.fit(floats[:2000], y, **how), floats)}
    cases |= {kind: (model, rows) for kind, rows in kinds(table(chosen.rows, 2)).items()}
    seconds: dict[str, list[float]] = {kind: [] for kind in cases}
    scores = {kind: one.curiosity(rows, threads=1) for kind, (one, rows) in cases.items()}
    for _ in range(chosen.repeats):
        for kind, (one, rows) in cases.items():
            began = time.process_time()
            one.curiosity(rows, threads=1)
            seconds[kind].append(time.process_time() - began)
    print("| rows | million rows a second | of floats |\n|---|---|---|")
    whole = np.median(seconds["floats"])
    for kind, taken in seconds.items():
        middle = np.median(taken)
        print(f"| {kind} | {chosen.rows / middle / 1e6:.2f} | {whole / middle:.0%} |")
    wanted = scores["Arrow, text"]
    assert all(np.array_equal(one, wanted) for kind, one in scores.items() if kind != "floats")


if __name__ == "__main__":
    main()

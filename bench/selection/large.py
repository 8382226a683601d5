"""`select` on 100,000, 1,000,000 and 10,000,000 rows beside bmdal_reg: CPU seconds, and the error after labelling.

    python -m bench selection-large [--python BMDAL/bin/python] [--output bench/results/selection_large.json]

Protocol, written before any error of this benchmark had been computed:

* Rows: 8 normal inputs, float32; labels sin(2 x0) + x1 x2 + x3^2 / 2 with noise of 5 % of their standard deviation
  ("plain"); and the same where every row has the chance 1e-3 to lie in a region of its own, centre 6 along x0, where
  3 cos(2 x1) + 2 x2 is added ("rare").  Every label is known, so any row can be picked.
* 128 rows at random have labels; one batch of 128 is picked; the model is fitted afresh on 256.  RMSE without noise
  over 20,000 other rows of the same distribution, of "rare" also over 4,000 rows of the region.
* Model: `fasttangent.fit` with hidden=(32, 32), activation "silu" (bmdal_reg differentiates it) and everything else by
  default, and 64 tangents of noise for the strategies that need them, made beforehand.
* Contenders: "random", "top", "error", "maxdet", "lcmd" with the default prefilter (100,000 rows at random), "error",
  "maxdet" and "lcmd" with prefilter=None, which compares every row, and LCMD-TP of bmdal_reg 3.0.2 on gradients
  sketched to 512 values, of the same network, which sees every row.  It is not run on 10,000,000: it held 4.5 GB for
  1,000,000 (bench/SELECTION.md).
* Seeds 0 to 4 of 100,000 rows, 0 to 2 of 1,000,000, 0 of 10,000,000: of rows, noise, first labels, weights and picks.
  One thread.  CPU seconds of the selection, its process having selected before (medians over seeds); RMSE over that of
  128 more labels at random, geometric mean over seeds with the least and the largest.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np

import fasttangent as ft
from bench.common import options
from bench.peers.bmdal import Bmdal
from bench.selection.thinning import rows_of

SEEDS = {100_000: 5, 1_000_000: 3, 10_000_000: 1}
SETS, LABELLED, BATCH, FEW = {"plain": 0.0, "rare": 1e-3}, 128, 128, 2000
CONTENDERS = {
    "random": {"strategy": "random"},
    "top": {"strategy": "top"},
    "error": {"strategy": "error"},
    "maxdet": {"strategy": "maxdet"},
    "lcmd": {"strategy": "lcmd"},
    "error, every row": {"strategy": "error", "prefilter": None},
    "maxdet, every row": {"strategy": "maxdet", "prefilter": None},
    "lcmd, every row": {"strategy": "lcmd", "prefilter": None},
}
PEER, PEER_ROWS = "bmdal_reg: lcmd-tp", 1_000_000


def fitted(X: np.ndarray, y: np.ndarray, seed: int) -> ft.Model:
    return ft.fit(X, y, hidden=(32, 32), activation="silu", seed=seed, threads=1)


def run(peer: Bmdal | None, name: str, n: int, seed: int, titles: list[str]) -> dict[str, dict]:
    """Errors after labelling, and what the selections took."""
    share, rng = SETS[name], np.random.default_rng([seed, n])
    X, y = rows_of(n, share, rng)
    noise = 0.05 * y.std()
    others = np.random.default_rng([seed, 1])
    tests = {"all": rows_of(20_000, share, others)}
    if share:
        tests["region"] = rows_of(4_000, 1.0, others)
    first, found = np.sort(rng.choice(n, LABELLED, replace=False)), {}

    def labels(rows: np.ndarray) -> np.ndarray:
        return y[rows] + noise * np.random.default_rng([seed, 2]).normal(size=n)[rows]

    plain = fitted(X[first], labels(first), seed)
    model = plain.with_posterior(X[first], labels(first), samples=64, threads=1)
    for title in titles:
        given = {"labeled": X[first], "threads": 1, "seed": seed, **CONTENDERS.get(title, {})}
        if title == PEER:
            left = np.setdiff1d(np.arange(n), first)
            assert peer is not None
            picks, took = peer.lcmd(model, X[left], X[first], BATCH, seed), peer.cpu_seconds
            rows, more = left[picks], {}
        else:
            ft.select(model, X[:FEW], 4, **given)
            took = time.process_time()
            chosen = ft.select(model, X, BATCH, **given)
            took = time.process_time() - took
            rows = chosen.indices
            more = {"passes": chosen.passes, "verified": chosen.verified, "shortfall": chosen.shortfall}
        both = np.concatenate([first, rows])
        after = fitted(X[both], labels(both), seed)
        errors = {
            test: float(np.sqrt(np.mean((after.predict(T) - t) ** 2))) for test, (T, t) in tests.items()
        }
        found[title] = {"cpu_seconds": took, "rmse": errors, **more}
        print(name, n, seed, title, found[title], flush=True)
    return found


def measure(arguments: argparse.Namespace) -> dict:
    results: dict = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    peer = Bmdal(arguments.python) if arguments.python else None
    if peer is not None:
        run(peer, "plain", FEW, 0, [PEER])  # loads its libraries
    for n in arguments.sizes:
        for seed in range(arguments.seeds or SEEDS[n]):
            for name in arguments.sets:
                held = results.setdefault(name, {}).setdefault(str(n), {}).setdefault(str(seed), {})
                titles = [title for title in arguments.calls or CONTENDERS if title not in held]
                if peer is not None and n <= PEER_ROWS and PEER not in held:
                    titles.append(PEER)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)
                    held.update(run(peer, name, n, seed, titles))
                arguments.output.write_text(json.dumps(results, indent=1) + "\n")
    if peer is not None:
        peer.end()
    return results


def shown(results: dict) -> str:
    """The table in Markdown."""
    lines = [
        "| set | rows | seeds | contender | CPU seconds | passes | verified | RMSE over random's | in the region |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, sizes in results.items():
        for n, by_seed in sizes.items():
            for title in [*CONTENDERS, PEER]:
                seeds = [runs for runs in by_seed.values() if title in runs and "random" in runs]
                if not seeds:
                    continue
                own = [runs[title] for runs in seeds]
                cells = [f"{np.median([r['cpu_seconds'] for r in own]):.1f}"]
                passes = sorted({r["passes"] for r in own if "passes" in r})
                cells.append(" to ".join(str(p) for p in dict.fromkeys([*passes[:1], *passes[-1:]])))
                verified = [r.get("verified") for r in own]
                cells.append(
                    f"{verified.count(True)} of {len(own)}" if any(v is not None for v in verified) else ""
                )
                for test in ("all", "region"):
                    if test not in own[0]["rmse"]:
                        cells.append("")
                        continue
                    ratio = np.array(
                        [runs[title]["rmse"][test] / runs["random"]["rmse"][test] for runs in seeds]
                    )
                    mean = f"{np.exp(np.log(ratio).mean()):.3f}"
                    cells.append(
                        mean if len(ratio) == 1 else f"{mean} ({ratio.min():.2f} to {ratio.max():.2f})"
                    )
                lines.append(f"| {name} | {int(n):,} | {len(seeds)} | {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument("--python", help="interpreter that has bmdal_reg; without it ours alone is measured")
    parser.add_argument("--sizes", type=int, nargs="+", default=[*SEEDS])
    parser.add_argument("--sets", nargs="+", default=[*SETS])
    parser.add_argument("--seeds", type=int, help="other than in the protocol")
    parser.add_argument("--calls", nargs="+", help="of the contenders alone")
    parser.add_argument("--output", type=Path, default=Path("bench/results/selection_large.json"))
    parser.add_argument("--shown", action="store_true", help="the table of what was measured")
    arguments = parser.parse_args()
    if arguments.shown:
        print(shown(json.loads(arguments.output.read_text())))
    else:
        print(shown(measure(arguments)))

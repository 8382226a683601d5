"""PARALLEL.md, from the figures that are kept."""

from __future__ import annotations

from bench.common.markdown import markdown
from bench.parallel.faults import LAYERS

INTRODUCTION = """# Our threads, and Numba's

Made by `python -m bench parallel`.  Row-parallel work of settling (sums of the loss, its gradient and its curvature
over all rows, products with the kept curvature, predictions) has two forms: tasks for our own threads, which call
kernels that release the GIL, and `prange` drivers around the same kernels and tasks (`kernels/drivers.py`).
`FASTTANGENT_LAUNCH` chooses: `pool`, the default, or `prange`, which is then used wherever `kernels/launch.py` finds it
safe.  Every result has the same bits, by either, for any number of threads.  `fasttangent doctor` says which is in use
and why.
"""

VERDICT = """
## In short

`prange` over our threads, seconds of whole fits, settled (below 1: `prange` is quicker): of the quickest tenth, when
little else ran, of half of them, on a machine that others used as well, and of processors, which waiting takes too.

<ratios>

- Our threads are the default: their caller does the work itself when no other thread gets a processor, they need no
  compilation, and they can be called from anywhere.
- omp, whose threads spin while they wait, is quicker where nobody else runs, for more processor time.  Where others do,
  a launch waits for a thread that is not running, for time slices of some milliseconds: fits of 500 rows were seen to
  take ten times as long.  With `OMP_WAIT_POLICY=passive` it is much like our threads; workqueue is slower to launch.
- tbb launches quicker than our threads and waits for nobody.  Where it is installed and the compilation of the drivers
  does not matter (once for a cache), `FASTTANGENT_LAUNCH=prange` pays in settling.
- Scores of many rows, embeddings, selection passes, dense matrices: a launch takes a thousandth of such a call, and our
  threads may share what is uneven, read memory maps and hear Ctrl-C between tasks; they keep all of it.  Minibatch
  steps on several threads wait for one another, and a `prange` does not promise that its tasks run at once.
"""

FAULTS = """
## What goes wrong

Each cell is a process of its own with `FASTTANGENT_LAUNCH=prange`.  Its results are compared to the bit with those of
one thread; in brackets, how many times each form did the work.  \"Without the switch\" is what would happen if `prange`
were launched without asking whether that is safe.
"""

COST = """
## What it costs

Two threads; contenders take turns; a tenth of the calls, half and nine tenths took no longer than the three figures;
then seconds of processors for a call, idle waiting of Numba's threads included.
"""

FIRST = """
## First calls

Processor seconds of the first call of every driver, after those of the kernels that it calls, in float64:
nothing cached, and from the cache.
"""


def everything(kept: dict) -> str:
    parts = [INTRODUCTION]
    if "cost" in kept:
        parts.append(VERDICT.replace("<ratios>", _ratios(kept["cost"]["layers"])))
    if "faults" in kept:
        parts += [FAULTS, _faults(kept["faults"])]
    if "cost" in kept:
        parts += [COST, *_costs(kept["cost"]), FIRST, _first(kept["cost"]["first calls"])]
    return "\n".join(parts) + "\n"


def _faults(rows: list[dict[str, str]]) -> str:
    table = [["situation", *LAYERS, "without the switch"]]
    for row in rows:
        bare = {layer: row[f"{layer}, bare"] for layer in LAYERS if f"{layer}, bare" in row}
        wrong = [f"{layer}: {what}" for layer, what in bare.items() if not what.startswith("same bits")]
        last = "; ".join(wrong) or ("nothing" if bare else "")
        table.append([row["situation"], *(row[layer] for layer in LAYERS), last])
    return markdown(table)


def _ratios(layers: dict[str, dict]) -> str:
    table = [["layer", "fit", "quickest tenth", "half", "processors"]]
    for layer, measured in layers.items():
        for name, found in measured.items():
            if name.startswith("fit"):
                ratios = [
                    f"{found['prange'][key] / found['pool'][key]:.2f}" for key in ("low", "median", "used")
                ]
                table.append([layer, name.removeprefix("fit with settling, "), *ratios])
    return markdown(table)


def _costs(cost: dict) -> list[str]:
    texts = [f"{cost['machine']}.\n"]
    for layer, measured in cost["layers"].items():
        table = [[f"layer {layer}; load {measured['load']:.1f}", "by", "10 %", "50 %", "90 %", "processors"]]
        for name, found in measured.items():
            if name != "load":
                table += [
                    [name, by, *(_time(one[key]) for key in ("low", "median", "high", "used"))]
                    for by, one in found.items()
                ]
        texts.append(markdown(table) + "\n")
    return texts


def _time(microseconds: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3g} {unit}"
    return f"{microseconds:.3g} us"


def _first(found: dict[str, dict[str, float]]) -> str:
    table = [["", "compiled", "cached"]]
    table += [[name, *(f"{found[how][name]:.3g}" for how in found)] for name in found["compiled"]]
    return markdown(table)

"""Row-parallel work by our own pool of threads and by Numba's `prange`: what goes wrong, and what it costs.

    python -m bench parallel                   both, into bench/results/parallel.json and bench/PARALLEL.md
    python -m bench parallel --faults          only the table of faults (two minutes and more)
    python -m bench parallel --cost            only what it costs
    python -m bench parallel --table           the report again from the results that are kept

With --tbb FOLDER, where libtbb is (by `pip install tbb` the folder lib of the environment), the layer tbb is tried too.
joblib and Dask are tried where they are installed.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.common import options
from bench.common.places import REPORTS, RESULTS
from bench.parallel import faults, layers, report

KEPT = RESULTS / "parallel.json"


def main() -> None:
    parser = options.parser(__doc__)
    for name in ("faults", "cost", "table"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--tbb", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    both = not (chosen.faults or chosen.cost or chosen.table)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if both or chosen.cost:
        kept["cost"] = layers.everything(chosen.tbb)
    if both or chosen.faults:
        kept["faults"] = faults.table(chosen.tbb)
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    (REPORTS / "PARALLEL.md").write_text(report.everything(kept))

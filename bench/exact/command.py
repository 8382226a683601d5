"""Exact curvature and influence beside the packages that have them: seconds, memory, and how far they differ.

    python -m bench exact --peers PEERS --pydvl PYDVL [--quick] [--whole] -o bench/results/exact.json \\
        --markdown bench/EXACT.md

PEERS and PYDVL are the folders of two environments, the second because pyDVL needs numpy < 2:

    python -m venv PEERS
    PEERS/bin/pip install "torch==2.13.0" "jax==0.10.2" "jaxopt==0.8.5" "curvlinops-for-pytorch==3.0.1" "captum==0.9.0"
    python -m venv PYDVL
    PYDVL/bin/pip install "torch==2.13.0" "pyDVL[influence]==0.10.0" "numpy<2"

fasttangent is that of the checkout, with the Python that runs it.  Everything is float64 and on the same threads.

Each contender is a process of its own, which compiles and works on a few rows before anything is measured.  In
the first round each works once: its memory is read, and its result compared with a reference; a method that is
exact must be within `ALLOWED`, or the benchmark ends.  The rounds after that are timed, the contenders taking
turns; who needs longer than `SLOW` seconds has its first turn counted and no other.  Unless `--whole` is given,
the peers make one column in `SHARE` of the large Hessian, as their products cost the same for every column, and
the block CG of pyDVL is left out.  Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.common import options
from bench.common.machine import processor, seconds_of_others
from bench.common.places import environment_elsewhere
from bench.common.places import threads as threads_of
from bench.common.turns import LEAST_TURN, summary
from bench.exact import tables
from bench.exact.problems import large_problem, settled_problem
from bench.exact.worker import Problem

ALLOWED = 1e-9  # relative difference, in the 2-norm, of an exact method from the reference
SLOW = 12.0  # seconds
PAUSE = 0.25  # seconds between turns: threads of OpenMP spin for 0.2 s after their work
SHARE = 16  # of the columns of the large Hessian, one in so many is timed for the peers
ROUNDS = (3, 7)  # at the least and at the most
OURS, JAX, TORCH, PYDVL = (
    "with_ours",
    "with_jax",
    "with_torch",
    "with_pydvl",
)


@dataclass(frozen=True)
class Contender:
    """A method of a script; `is_exact`: its difference from the reference must be within `ALLOWED`.

    With a share k it makes every k-th column of the matrix: its time counts k times, and the columns that are
    missing are added to its memory.
    """

    name: str
    script: str
    method: str
    is_exact: bool = True
    share: int = 1


@dataclass(frozen=True)
class Case:
    """Contenders for the same result; the reference is a method of JAX, timed or not."""

    title: str
    problem: str
    reference: str
    contenders: tuple[Contender, ...]


def hessians(problem: str, share: int = 1) -> Case:
    whole = "jax.hessian" + (" of all rows at once" if problem == "large" else "")
    return Case(
        "Dense Hessian",
        problem,
        "hessian" if problem == "settled" else f"columns:{share}",
        (
            Contender("fasttangent", OURS, "dense:hessian"),
            Contender(whole, JAX, "hessian"),
            Contender("jax, products with blocks of columns", JAX, f"columns:{share}", share=share),
            Contender("curvlinops, Hessian @ columns", TORCH, f"operator:dense:{share}", share=share),
        ),
    )


def gauss_newtons(problem: str) -> Case:
    chunked = Contender("jax, vmap(grad), chunks of 1,000 rows", JAX, "gauss_newton:grad:1000")
    return Case(
        "Dense Gauss-Newton matrix",
        problem,
        "gauss_newton:grad:1000",
        (
            Contender("fasttangent", OURS, "dense:gauss_newton"),
            Contender("jax, vmap(grad)", JAX, "gauss_newton:grad:10000"),
            *((chunked,) if problem == "large" else ()),
        ),
    )


PRODUCTS = Case(
    "Products of the Hessian with 16 vectors",
    "large",
    "products",
    (
        Contender("fasttangent", OURS, "products"),
        Contender("jax, jvp of grad", JAX, "products"),
        Contender("curvlinops, Hessian @ matrix", TORCH, "operator:products"),
    ),
)
TANGENTS = Case(
    "d theta / d strength",
    "settled",
    "reference:tangent",
    (
        Contender("fasttangent, Cholesky", OURS, "tangent:cholesky"),
        Contender("fasttangent, CG to 1e-10", OURS, "tangent:cg", is_exact=False),
        Contender("jaxopt root_jvp, LU", JAX, "tangent:lu"),
        Contender("jaxopt root_jvp, default solver", JAX, "tangent:default", is_exact=False),
        Contender("jaxopt root_jvp, CG to 1e-10", JAX, "tangent:cg", is_exact=False),
        Contender("curvlinops and SciPy, CG, 1,000 iterations", TORCH, "operator:tangent", is_exact=False),
    ),
)
BLOCK_CG = Contender("pyDVL, block CG, 200 iterations", PYDVL, "block_cg", is_exact=False)
INFLUENCES = Case(
    "Influence of the training rows on the loss of 100 test rows",
    "settled",
    "reference:influence",
    (
        Contender("fasttangent, Cholesky", OURS, "influence:cholesky"),
        Contender("pyDVL, direct", PYDVL, "direct"),
        BLOCK_CG,
        Contender("captum, naive", TORCH, "influence"),
    ),
)


def cases(whole: bool) -> tuple[Case, ...]:
    """All cases; `whole`: without the shortcuts that keep a run to a few minutes."""
    share = 1 if whole else SHARE
    influences = INFLUENCES.contenders if whole else tuple(c for c in INFLUENCES.contenders if c != BLOCK_CG)
    return (
        hessians("settled"),
        gauss_newtons("settled"),
        TANGENTS,
        replace(INFLUENCES, contenders=influences),
        PRODUCTS,
        gauss_newtons("large"),
        hessians("large", share),
    )


class Process:
    """A contender at work, from its imports on."""

    def __init__(self, python: str, contender: Contender, problem: Path, threads: int) -> None:
        name = f"{problem.stem}_{contender.script}_{contender.method}".replace(":", "_")
        self.contender = contender
        self.result_path, self.errors = (problem.parent / f"{name}{end}" for end in (".npy", ".txt"))
        pools = threads_of(threads, ("OMP", "MKL", "OPENBLAS"))
        arguments = [contender.method, str(problem), str(self.result_path), str(threads)]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [python, "-m", f"bench.exact.{contender.script}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment_elsewhere(**pools, JAX_PLATFORMS="cpu"),
            )

    def prepare(self) -> float | None:
        """Compile and warm up; None, or the MB it would need, if the machine lacks them."""
        self._say({})
        return self._answer().get("needs_mb")

    def _say(self, order: dict) -> None:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            said = self.errors.read_text().strip()[-2000:]
            raise RuntimeError(f"{self.contender.name} ended with code {self.process.wait()}:\n{said}")
        return json.loads(line)

    def turn(self, times: int = 1, keep: bool = False) -> dict:
        """Seconds of a call and its memory; with `keep`, the result is written."""
        time.sleep(PAUSE)
        self._say({"times": times, "keep": keep})
        return self._answer()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def measure(case: Case, problem: Path, pythons: dict[str, str], threads: int, budget: float) -> dict:
    """{contender: figures} of a case."""
    processes: dict[str, Process] = {}
    try:
        for c in case.contenders:
            if c.script in pythons:
                processes[c.name] = Process(pythons[c.script], c, problem, threads)
        refused = {name: process.prepare() for name, process in processes.items()}
        able = {name: process for name, process in processes.items() if refused[name] is None}
        first = {name: process.turn(keep=True) for name, process in able.items()}
        reference = reference_of(case, problem, able, pythons[JAX], threads)
        differences = {name: difference(case, process, reference) for name, process in able.items()}
        seconds = {
            name: [able[name].contender.share * value for value in values]
            for name, values in race(able, first, budget).items()
        }
    finally:
        for process in processes.values():
            process.end()
    found = {}
    for name, process in processes.items():
        found[name] = (
            {
                "seconds": summary(seconds[name]),
                "share": process.contender.share,
                "mb": first[name]["mb"] + missing(process.contender.share, problem),
                "process_mb": first[name]["process_mb"] + missing(process.contender.share, problem),
                "difference": differences[name],
                "exact": process.contender.is_exact,
                "ratio": summary(ratios(seconds[name], seconds[case.contenders[0].name])),
            }
            if name in able
            else {"needs_mb": refused[name]}
        )
    return found


def missing(share: int, problem: Path) -> float:
    """MB of the columns that a share leaves out."""
    p = len(Problem.load(str(problem)).theta)
    return (1 - 1 / share) * p * p * 8 / 2**20


def reference_of(
    case: Case, problem: Path, able: dict[str, Process], python: str, threads: int
) -> np.ndarray:
    """The reference: what its method gave when it was measured, or, if it was not, gives now."""
    for process in able.values():
        if (process.contender.script, process.contender.method) == (JAX, case.reference):
            return np.load(process.result_path)
    process = Process(python, Contender("the reference", JAX, case.reference), problem, threads)
    try:
        process.prepare()
        process.turn(keep=True)
    finally:
        process.end()
    return np.load(process.result_path)


def difference(case: Case, process: Process, reference: np.ndarray) -> float:
    """||found - reference|| / ||reference||, for an exact method not above `ALLOWED`."""
    found = np.load(process.result_path)
    if found.ndim == 2 and len(found) > len(reference):  # the reference has a share of the columns
        found = found[:: -(-len(found) // len(reference))]
    assert found.shape == reference.shape, f"{process.contender.name}: {found.shape}, not {reference.shape}"
    value = float(np.linalg.norm(found - reference) / np.linalg.norm(reference))
    contender = process.contender
    if contender.is_exact and not value <= ALLOWED:
        raise AssertionError(
            f"{case.title}, {case.problem}, {contender.name}: relative difference {value:.1e}, "
            f"allowed {ALLOWED:.0e}"
        )
    return value


def race(able: dict[str, Process], first: dict[str, dict], budget: float) -> dict[str, list[float]]:
    """Seconds of a call in each round; of those that are slow, those of the first turn."""
    seconds = {name: [answer["seconds"]] for name, answer in first.items()}
    names = [name for name in able if seconds[name][0] <= SLOW]
    if not names:
        return seconds
    warm = {name: able[name].turn()["seconds"] for name in names}
    times = {name: int(np.ceil(LEAST_TURN / warm[name])) for name in names}
    per_round = sum(times[name] * warm[name] + PAUSE for name in names)
    seconds |= {name: [] for name in names}
    for r in range(int(np.clip(budget / per_round, *ROUNDS))):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            seconds[name].append(able[name].turn(times[name])["seconds"])
    return seconds


def ratios(seconds: list[float], ours: list[float]) -> np.ndarray:
    """A contender's seconds over those of fasttangent, within a round where both have rounds."""
    if len(seconds) == len(ours):
        return np.array(seconds) / np.array(ours)
    return np.array(seconds) / np.median(ours)


def versions(pythons: dict[str, str]) -> dict[str, str]:
    """What the environments hold."""
    wanted = "numpy scipy numba jax jaxopt torch curvlinops-for-pytorch captum pyDVL"
    ask = (
        "import importlib.metadata as m, json, sys\n"
        "found = {d.metadata['Name']: d.version for d in m.distributions()}\n"
        "print(json.dumps({k: found[k] for k in sys.argv[1:] if k in found}))"
    )
    import fasttangent

    found = {"": f"fasttangent {fasttangent.__version__}"}
    for script, python in pythons.items():
        shown = subprocess.run(
            [python, "-c", ask, *wanted.split()], check=True, capture_output=True, text=True
        )
        found[script] = ", ".join(f"{name} {v}" for name, v in json.loads(shown.stdout).items())
    return found


def given() -> argparse.Namespace:
    """What the command line says."""
    parser = options.parser(__doc__)
    parser.add_argument(
        "--peers", type=Path, required=True, help="environment with JAX, PyTorch and the rest"
    )
    parser.add_argument("--pydvl", type=Path, help="environment with pyDVL; without it, pyDVL is left out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="small problems")
    parser.add_argument("--whole", action="store_true", help="all columns of the large Hessian, and block CG")
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="of the cases, from 0")
    parser.add_argument("-o", "--output", type=Path, help="JSON")
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    return parser.parse_args()


def measure_all(chosen: argparse.Namespace, pythons: dict[str, str]) -> Iterator[dict]:
    """The figures of one case after the other."""
    with tempfile.TemporaryDirectory() as folder:
        problems = {"settled": settled_problem(chosen.quick), "large": large_problem(chosen.quick)}
        for name, problem in problems.items():
            problem.save(Path(folder) / f"{name}.npz")
        for number, case in enumerate(cases(chosen.whole or chosen.quick)):
            if chosen.only is None or number in chosen.only:
                path, problem = Path(folder) / f"{case.problem}.npz", problems[case.problem]
                figures = measure(case, path, pythons, chosen.threads, budget=1.0 if chosen.quick else 10.0)
                size = {"sizes": problem.sizes, "p": len(problem.theta), "n": len(problem.y)}
                yield {"title": case.title, "problem": case.problem, **size, "figures": figures}


def main() -> None:
    chosen = given()
    peers = str(chosen.peers / "bin" / "python")
    pythons = {OURS: sys.executable, JAX: peers, TORCH: peers}
    if chosen.pydvl:
        pythons[PYDVL] = str(chosen.pydvl / "bin" / "python")
    for python in (peers, *pythons.values()):
        if not Path(python).exists():
            sys.exit(f"{python} is missing: make the environment as --help says")
    results = {
        "quick": chosen.quick,
        "processor": processor(),
        "threads": chosen.threads,
        "versions": versions(pythons),
        "cases": [],
    }
    start, others = time.perf_counter(), seconds_of_others()
    for case in measure_all(chosen, pythons):
        results["cases"].append(case)
        results["wall_seconds"] = wall = time.perf_counter() - start
        results["cores_busy_elsewhere"] = (seconds_of_others() - others) / wall
        print(
            f"{case['title']}, {case['problem']}: {wall:.0f} s since the start", file=sys.stderr, flush=True
        )
        if chosen.output:
            chosen.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = tables.markdown(results)
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(text + "\n", encoding="utf-8")

"""Scores per second against JAX and PyTorch, and the share of the processor's peak.

    python -m bench speed-scoring [--quick]

`Model.sensitivity` of 200,000 rows, checks and standardisation included, with one thread and with two; jit(jvp)
of JAX and torch.func.jvp at the chunk size that was fastest on 65,536 of the rows, and vmap(grad) on fewer rows,
each with two threads.
"""

from __future__ import annotations

from bench.common import networks, peak
from bench.common.turns import Contender, best_seconds, race, summary
from bench.peers.lazy import with_jax, with_torch
from bench.speed.section import print_section

ROWS, TUNING_ROWS, CHECKED_ROWS = 200_000, 65_536, 2_000
CHUNKS = (1024, 4096, 16384, 65536)
SIZES = ((16, 64, 64, 1), (32, 128, 128, 1), (64, 256, 256, 256, 1))
CASES = [
    *((sizes, "tanh", dtype) for sizes in SIZES for dtype in ("float32", "float64")),
    *(((32, 128, 128, 1), activation, "float32") for activation in ("silu", "gelu")),
]
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}
OURS = {1: "fasttangent, 1 thread", 2: "fasttangent, 2 threads"}
JAX, TORCH, GRADIENTS = "jax jit(jvp)", "torch.func.jvp", "torch vmap(grad)"


def check(case, score, what: str) -> float:
    """Relative difference of the first scores from the reference."""
    value = with_jax.scores_of(score(), CHECKED_ROWS)
    return networks.check_equal(value, case.reference(CHECKED_ROWS), TOLERANCE[case.dtype], what)


def fastest_jax(case, tuning_rows: int):
    """(chunk, how) that was fastest on the first rows."""
    choices = [(chunk, how) for chunk in CHUNKS if chunk <= tuning_rows for how in ("map", "loop")]
    return min(choices, key=lambda c: best_seconds(with_jax.scorer(case, *c, n=tuning_rows)))


def fastest_torch(case, tuning_rows: int) -> int:
    chunks = [chunk for chunk in CHUNKS if chunk <= tuning_rows]
    return min(chunks, key=lambda c: best_seconds(with_torch.scorer(case, c, n=tuning_rows)))


def measure(sizes, activation: str, dtype: str, rows: int = ROWS, budget: float = 6.0) -> dict:
    """Figures of one network."""
    case = networks.make_case(sizes, rows, activation, dtype)
    model = case.model()
    tuning_rows = min(TUNING_ROWS, rows)
    jax_choice, torch_chunk = fastest_jax(case, tuning_rows), fastest_torch(case, tuning_rows)
    few = min(rows, max(CHECKED_ROWS, int(1e8 / case.network.layout.n_params)))
    gradient_chunk = max(16, int(8e6 / case.network.layout.n_params))
    run = {
        OURS[1]: lambda: model.sensitivity(case.X, threads=1),
        OURS[2]: lambda: model.sensitivity(case.X, threads=2),
        JAX: with_jax.scorer(case, *jax_choice),
        TORCH: with_torch.scorer(case, torch_chunk),
        GRADIENTS: with_torch.gradient_scorer(case, gradient_chunk, few),
    }
    errors = {name: check(case, score, f"{name}, {sizes}") for name, score in run.items()}
    contenders = {name: Contender(score) for name, score in run.items()}
    contenders[GRADIENTS].share = few / rows
    figures = race({**contenders, **peak.peaks((dtype,))}, budget)
    flops = rows * networks.flops_per_row(sizes)
    found = {}
    for name in run:
        gflops = flops / figures[name] / 1e9
        threads = 1 if name == OURS[1] else 2
        found[name] = {
            "seconds": summary(figures[name]),
            "rows_per_second": summary(rows / figures[name]),
            "gflops": summary(gflops),
            "share_of_peak": summary(gflops / figures[peak.peak_name(dtype, threads)]),
            "fasttangent_is_faster": summary(figures[name] / figures[OURS[2]]),
            "difference_from_reference": errors[name],
        }
    found[JAX]["chunk"], found[JAX]["how"] = jax_choice
    found[TORCH]["chunk"] = torch_chunk
    return {
        "network": networks.name_of(sizes),
        "activation": activation,
        "dtype": dtype,
        "rows": rows,
        "peak_gflops": {t: summary(figures[peak.peak_name(dtype, t)]) for t in (1, 2)},
        "contenders": found,
    }


def measure_all(quick: bool = False) -> list[dict]:
    if quick:
        chosen = [c for c in CASES if c[2] == "float32" and len(c[0]) == 4 and c[1] != "gelu"]
        return [measure(*case, rows=50_000, budget=1.5) for case in chosen]
    return [measure(*case) for case in CASES]


def main() -> None:
    print_section(measure_all)

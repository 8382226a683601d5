"""Scores on engines: what to copy into a program for Spark or Ray, or a script for Slurm.

The model goes to each worker once, with the function; scores are the same to the bit wherever they are made on one kind
of processor.  Run ``fasttangent warmup`` once on every kind of worker, or its first batch waits for the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import fasttangent as ft
from bench.common import options


def spark_scores(frame: Any, model: ft.Model, keep: Sequence[str], schema: str) -> Any:
    """A Spark data frame of scores, by mapInArrow.

    ``schema`` is Spark's: "sample_id string, prediction float, sensitivity float, curiosity double".
    """

    def scored(batches: Iterator[Any]) -> Iterator[Any]:
        return model.score_batches(batches, keep=keep, threads=1)  # Spark has a task for every processor

    return frame.mapInArrow(scored, schema)


def ray_scores(dataset: Any, model: ft.Model, keep: Sequence[str]) -> Any:
    """A Ray data set of scores, by map_batches."""
    import pyarrow as pa

    def scored(table: Any) -> Any:
        return pa.Table.from_batches(model.score_batches(table, keep=keep, threads=1))

    return dataset.map_batches(scored, batch_format="pyarrow")


def slurm_script(model: str, pool: str, out: str, shards: int, keep: str) -> str:
    """An array of jobs, each of which scores a part of the files; submitted again, it does what is missing."""
    return f"""#!/bin/sh
#SBATCH --array=1-{shards}
#SBATCH --cpus-per-task=2
#SBATCH --mem=1G
#SBATCH --requeue
exec fasttangent score {model} '{pool}' -o {out} --keep {keep} \\
    --shard "$SLURM_ARRAY_TASK_ID/{shards}" --threads "$SLURM_CPUS_PER_TASK" --resume --quiet
"""


def main(show: Callable[[str], None] = print) -> None:
    """Print the script for Slurm; the functions are to be imported or copied.

    python -m bench recipes
    """
    options.parser(main.__doc__).parse_args()
    show(slurm_script("m.npz", "pool/*.parquet", "scores/", 64, "sample_id"))

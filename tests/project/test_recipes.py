"""Recipes for engines, run with stubs of the same signatures; the script for Slurm by the shell that it is for."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.command_line import NAMES
from pyarrow import parquet

import fasttangent as ft
from bench.scale import recipes

pytestmark = pytest.mark.skipif(not Path(recipes.__file__).exists(), reason="needs the checkout")
SCHEMA = "id string, prediction double, sensitivity double, curiosity double"


@pytest.fixture
def rows():
    return np.random.default_rng(1).normal(size=(1000, 3))


def table(rows, first=0):
    ids = [f"s{first + i}" for i in range(len(rows))]
    return pa.table({"id": ids, **dict(zip(NAMES, rows.T, strict=True))})


class SparkFrame:
    """Calls a function as pyspark does: once for a partition, in another process, with record batches."""

    def __init__(self, partitions):
        self.partitions = partitions

    def mapInArrow(self, function, schema):
        names = [one.split()[0] for one in schema.split(",")]
        found = []
        for part in self.partitions:
            for batch in function(iter(part.to_batches(max_chunksize=70))):
                assert isinstance(batch, pa.RecordBatch)
                assert batch.schema.names == names
                found.append(batch)
        return pa.Table.from_batches(found)


class RayDataset:
    """Calls a function as Ray does: with an Arrow table of a block, and wants one back."""

    def __init__(self, blocks):
        self.blocks = blocks

    def map_batches(self, function, batch_format):
        assert batch_format == "pyarrow"
        found = [function(block) for block in self.blocks]
        assert all(isinstance(one, pa.Table) for one in found)
        return pa.concat_tables(found)


def test_spark_and_ray(trained, rows):
    model = pickle.loads(pickle.dumps(ft.load(trained / "m.npz")))  # as engines send it
    parts = [table(rows[:300]), table(rows[300:300]), table(rows[300:], 300)]
    for found in (
        recipes.spark_scores(SparkFrame(parts), model, ["id"], SCHEMA),
        recipes.ray_scores(RayDataset([parts[0], parts[2]]), model, ["id"]),
    ):
        assert found["id"].to_pylist() == [f"s{i}" for i in range(1000)]
        assert found["curiosity"].to_numpy().tobytes() == model.curiosity(rows).tobytes()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_the_jobs_of_an_array(trained, tmp_path, rows):
    (tmp_path / "pool").mkdir()
    for i in range(5):
        parquet.write_table(
            table(rows[200 * i : 200 * (i + 1)], 200 * i), tmp_path / "pool" / f"p{i}.parquet"
        )
    script = recipes.slurm_script(str(trained / "m.npz"), "pool/*.parquet", "scores/", 3, "id")
    (tmp_path / "score.sh").write_text(script)
    folder = os.path.dirname(sys.executable)
    for job in (1, 2, 3, 2):  # one is requeued
        done = subprocess.run(
            ["sh", "score.sh"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            env={
                **os.environ,
                "PATH": folder + os.pathsep + os.environ["PATH"],
                "SLURM_ARRAY_TASK_ID": str(job),
                "SLURM_CPUS_PER_TASK": "1",
            },
        )
        assert done.returncode == 0, done.stderr
    found = parquet.read_table(tmp_path / "scores")
    assert sorted(found["id"].to_pylist()) == sorted(f"s{i}" for i in range(1000))

"""Memory maps of files that were cut short are errors; in processes of their own, which would die of a mistake."""

import mmap
import sys

import numpy as np
import pytest
from helpers import python

from fasttangent.common.maps import check_map

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="no file is cut short there while it is mapped"
)

CALLS = {
    "predict": "model.predict(pool)",
    "score": "model.score(pool, threads=2)",
    "embed": "model.embed(pool, 'hidden')",
    "influence": "model.influence(pool, np.zeros(len(pool)))",
    "select": "ft.select(model, pool, 5, strategy='sample')",
    "targets": "ft.select(model.with_posterior(X, samples=4), X, 5, targets=pool)",
    "fit": "ft.fit(pool, np.arange(len(pool)), epochs=1)",
    "ActiveLearner": "ft.ActiveLearner(pool, batch=5)",
}
CUT = """
import os, sys, warnings, numpy as np, fasttangent as ft
warnings.simplefilter("ignore")
X = np.random.default_rng(0).normal(size=(40, 3))
model = ft.fit(X, X[:, 0], hidden=(4,), epochs=2, settle=False, dtype="float64")
path, calls = sys.argv[1], sys.argv[2:]
for arranged in (lambda pool: pool, lambda pool: np.asarray(pool)[7:, ::-1]):
    for call in calls:
        np.save(path, np.random.default_rng(0).normal(size=(50_000, 3)))
        pool = arranged(np.load(path, mmap_mode="r"))
        os.truncate(path, 100_000)
        try:
            eval(call)
        except OSError as error:
            print(error)
"""


def test_every_call_looks_at_the_file_first(tmp_path):
    path = tmp_path / "pool.npy"
    lines = python("-c", CUT, str(path), *CALLS.values()).splitlines()
    assert len(lines) == 2 * len(CALLS)
    for line in lines:
        what = f"the rows are a memory map of 1200128 bytes and {path} has 100000 now"
        assert line == f"{what}: it was cut short meanwhile; map a whole file"


BETWEEN = """
import os, sys, numpy as np
from fasttangent.problem.rows import CHUNK, each_readable_chunk
from fasttangent.problem.scaling import identity_scaling
path = sys.argv[1]
np.save(path, np.ones((3 * CHUNK, 4)))
pool, seen = np.load(path, mmap_mode="r"), []

def task(start, rows):
    seen.append(start)
    os.truncate(path, 1000)
    return np.zeros(rows.n)

try:
    each_readable_chunk(identity_scaling(4, 1), np.zeros(4), pool, pool.dtype, 1, 1, task)
except OSError as error:
    print(len(seen), error)
"""


def test_the_file_is_looked_at_before_every_chunk(tmp_path):
    assert python("-c", BETWEEN, str(tmp_path / "p.npy")).startswith("1 the rows are a memory map")


def test_maps_of_whole_files_and_of_none(tmp_path):
    path = tmp_path / "m"
    whole = np.memmap(path, np.float64, "w+", offset=3 * mmap.ALLOCATIONGRANULARITY + 8, shape=(100, 2))
    shared = np.frombuffer(mmap.mmap(-1, 4096))
    for array in (
        whole,
        whole[5:],
        np.asarray(whole).T,
        shared,
        np.ones(3),
        np.frombuffer(memoryview(b"12345678")),
    ):
        check_map(array)
    with open(path, "ab") as file:
        file.write(bytes(10_000))
    check_map(whole)
    with open(path, "rb+") as file:
        file.truncate(3 * mmap.ALLOCATIONGRANULARITY + 8 + whole.nbytes - 1)
    for array in (whole, whole[:2], np.asarray(whole), np.asarray(whole).T[1:]):
        with pytest.raises(OSError, match="cut short"):
            check_map(array)
    with open(path, "rb+") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        array = np.frombuffer(memoryview(mapped)[:800])
        check_map(array)
        file.truncate(4096)
        with pytest.raises(OSError, match="the file has 4096 now"):
            check_map(array)
        del array

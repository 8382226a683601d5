"""The switch between `prange` and our own threads: no abort, no hang, the same bits, and nothing left behind.

The situations are those of the table of faults, `python -m bench parallel`, which also tries tbb, joblib and Dask.
"""

import os
import re
import sys
import warnings
from pathlib import Path

import numba
import pytest
from helpers import python
from numba import config, prange

from bench.common import places
from bench.parallel import faults, situations, work
from fasttangent.kernels import drivers, launch
from fasttangent.kernels.jit import kernel, row_parallel

pytestmark = pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")

LAYERS = ["omp", "workqueue"] if sys.platform == "linux" else ["workqueue"]  # which Numba always brings
QUICK = [
    ("alone", "prange"),
    ("forked", "prange 2, pool 1"),
    ("inside_users_prange", "prange 2, pool 4"),
    ("users_number_of_threads", "prange"),
]
BY = {
    ("forked_before_the_import", "omp"): "pool",
    ("users_code_before", "omp"): "pool",
    ("threads_at_once", "workqueue"): "pool",
    # The threads of the loop are still in Python's list after it, or are not, by Python's version.
    ("inside_users_prange", "workqueue"): ("prange 1, pool 5", "prange 2, pool 4"),
    ("beside_users_code", "workqueue"): "pool",
}


def ways(situation, layer, otherwise):
    by = BY.get((situation, layer), otherwise)
    return by if isinstance(by, tuple) else (by,)


def process(code, **more):
    """What it prints; it finds this file, too."""
    paths = os.pathsep.join([str(Path(__file__).parent), places.environment()["PYTHONPATH"]])
    return python("-c", code, PYTHONPATH=paths, **{"FASTTANGENT_LAUNCH": "", **more})


@pytest.fixture(scope="module")
def expected():
    return faults.reference()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("situation", "by"), QUICK)
def test_same_bits(situation, by, layer, expected):
    found = faults.outcome(situation, layer, expected=expected)
    assert found in {f"same bits ({one})" for one in ways(situation, layer, by)}


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    "situation", [name for name in situations.SITUATIONS if name not in situations.PACKAGES]
)
def test_same_bits_in_every_situation(situation, layer, expected):
    found = faults.outcome(situation, layer, expected=expected)
    assert found.startswith("same bits")
    assert any(by in found for by in ways(situation, layer, ""))


def test_the_bits_do_not_depend_on_threads_or_the_choice(expected, monkeypatch):
    assert {work.digest(threads) for threads in (1, 2, 5)} == {expected}
    monkeypatch.setattr(launch, "choice", "prange")
    assert {work.digest(threads) for threads in (1, 2, 5)} == {expected}


BY_DEFAULT = """
import numba
from bench.common import places
from bench.parallel import work
from fasttangent.kernels import drivers

work.digest()
assert not drivers.loss_of_parts.signatures
try:
    print(numba.threading_layer())
except ValueError:
    print("none")
"""


def test_by_default_nothing_is_launched_and_no_driver_is_compiled():
    assert process(BY_DEFAULT) == "none\n"


def test_another_choice_is_refused():
    with pytest.raises(AssertionError, match="FASTTANGENT_LAUNCH must be pool or prange, got 'omp'"):
        process("import fasttangent.kernels.launch", FASTTANGENT_LAUNCH="omp")


@kernel
def fail_at(i, which):
    if i == which:
        raise ValueError("lost")


@row_parallel
def fails_in_a_task(done, which):
    flags = drivers.none_done(done.size)
    for i in prange(done.size):
        fail_at(i, which)
        flags[i] = True
    return drivers.all_done(flags)


IN_A_TASK = """
import numba, numpy as np
from test_launch import fails_in_a_task
from fasttangent.kernels import launch

for which in range(4):
    try:
        launch.launched(fails_in_a_task, 2, np.zeros(4), which)
        print("lost")
    except MemoryError:
        print("heard")
launch.launched(fails_in_a_task, 2, np.zeros(4), -1)
assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
"""


def test_an_error_in_a_task_is_heard():
    """Also in one of a thread that is not the caller's."""
    assert process(IN_A_TASK, FASTTANGENT_LAUNCH="prange").split() == ["heard"] * 4


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, r"own pool of up to \d+ threads around nogil kernels \(FASTTANGENT_LAUNCH=prange"),
        ({"FASTTANGENT_LAUNCH": "prange", "NUMBA_NUM_THREADS": "1"}, "not prange: Numba has 1 threads"),
        ({"FASTTANGENT_LAUNCH": "prange", "NUMBA_NUM_THREADS": "64"}, "Numba's .* layer in settling"),
        (
            {"FASTTANGENT_LAUNCH": "prange", "NUMBA_NUM_THREADS": "64", "NUMBA_THREADING_LAYER": "nosuch"},
            "not prange: no threading layer .*nosuch",
        ),
    ],
)
def test_doctor_says_which_and_why(variables, says):
    code = "from fasttangent.kernels import launch; print(launch.described(2))"
    assert re.search(says, process(code, **variables))


def test_warmup_compiles_the_drivers_where_they_are_chosen(monkeypatch):
    from fasttangent.active import rehearsal

    called = []
    monkeypatch.setattr(launch, "launched", lambda driver, *_: called.append(driver))
    rehearsal._drivers("float64")
    assert not called
    monkeypatch.setattr(launch, "choice", "prange")
    with warnings.catch_warnings():
        rehearsal._drivers("float64")
    every = {one for name, one in vars(drivers).items() if name.endswith("parts")}
    assert set(called) == every


def test_a_layer_that_cannot_be_asked_is_none(monkeypatch):
    monkeypatch.setattr(numba, "threading_layer", lambda: (_ for _ in ()).throw(ValueError))
    assert launch._layer() is None

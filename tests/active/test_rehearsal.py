"""Small calls that compile what real ones need."""

import json

import numpy as np
import pytest
from helpers import python
from numba import config

from fasttangent.active import rehearsal
from fasttangent.kernels.cache_folder import cache_folder

kept = pytest.mark.skipif(bool(config.DISABLE_JIT) or cache_folder() is None, reason="nothing is kept")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "piece", sorted({p for both in rehearsal.PIECES.values() for one in both for p in one}, key=str)
)
def test_every_piece_runs(piece, dtype):
    """A helper would end without a word."""
    piece(dtype)


CALLS = """
import json, sys
import numpy as np
import fasttangent as ft
from fasttangent.active import rehearsal
X, y = rehearsal.rows()
model = ft.fit(X, y, hidden=(5,), threads={threads})
picks = ft.select(model, X + 0.1, 3, labeled=X, threads={threads})
from fasttangent.kernels import elsewhere
compiled = sorted(
    f"{{module}}.{{name}}" for module, name in {{s[:2] for s in elsewhere.signatures()}}
    if sum(getattr(sys.modules[module], name).stats.cache_misses.values())
)
print(json.dumps([model.params.tolist(), picks.indices.tolist(), compiled]))
"""
REHEARSE = """
from fasttangent.active import rehearsal
with rehearsal._quietly():
    for call in rehearsal.PIECES.values():
        for piece in call[0]:
            piece("float32")
"""


@kept
@pytest.mark.slow
def test_helpers_change_nothing_but_who_compiles(tmp_path):
    def first(threads, folder):
        return json.loads(
            python("-c", CALLS.format(threads=threads), FASTTANGENT_CACHE=str(tmp_path / folder))
        )

    alone, helped = first(1, "alone"), first(3, "helped")
    np.testing.assert_array_equal(alone[0], helped[0])
    assert alone[1] == helped[1]
    assert len(helped[2]) < len(alone[2])
    assert not list((tmp_path / "helped").rglob("*.tmp"))


@kept
@pytest.mark.slow
def test_after_its_rehearsal_a_call_compiles_nothing(tmp_path):
    python("-c", REHEARSE, FASTTANGENT_CACHE=str(tmp_path))
    assert json.loads(python("-c", CALLS.format(threads=1), FASTTANGENT_CACHE=str(tmp_path)))[2] == []

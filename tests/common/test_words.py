"""The words of the interface are those of the tables that give them a meaning."""

import subprocess
import sys

from fasttangent.common import words
from fasttangent.kernels import activations, losses, steps
from fasttangent.model.embeddings import EMBEDDINGS


def test_every_word_has_a_meaning():
    assert tuple(activations.CODES) == words.ACTIVATIONS
    assert tuple(losses.CODES) == words.LOSSES
    assert set(steps.CODES) == set(words.OPTIMIZERS)
    assert tuple(EMBEDDINGS) == words.EMBEDDINGS


def test_words_load_nothing():
    code = "import sys; before = set(sys.modules); import fasttangent.common.words; print(*set(sys.modules) - before)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "numba", "click"} & set(loaded)

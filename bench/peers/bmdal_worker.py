"""LCMD-TP of bmdal_reg in an environment of its own, which it needs as it wants numpy < 2.

    python -m venv BMDAL
    BMDAL/bin/pip install "numpy<2" torch "bmdal_reg==3.0.2"

Started by `bmdal.py` as ``BMDAL/bin/python bmdal_worker.py``.  Reads messages from stdin and answers on stdout;
a message is its length in 8 bytes and that many bytes of an .npz.  Nothing of fasttangent is imported.

Asked: ``sizes``, ``theta`` (each layer's weights (n_in, n_out), then its biases), ``train`` and ``pool`` (rows as the
network sees them), ``k``, ``seed``.  Answered: ``picks``, ``seconds``, ``cpu_seconds``, and what the network says
of the first ten rows of the pool, so that the other end sees that it is the same network; or ``error``.
"""

from __future__ import annotations

import io
import os
import sys
import time
import traceback
import warnings
from itertools import pairwise

import numpy as np
import torch
from bmdal_reg.bmdal.algorithms import select_batch
from bmdal_reg.bmdal.feature_data import TensorFeatureData

SKETCH = 512


def network(sizes, theta):
    """The silu network of torch modules that bmdal_reg knows how to differentiate."""
    layers, at = [], 0
    for n_in, n_out in pairwise(sizes):
        layer = torch.nn.Linear(n_in, n_out)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(theta[at : at + n_in * n_out].reshape(n_in, n_out).T))
            layer.bias.copy_(torch.from_numpy(theta[at + n_in * n_out : at + (n_in + 1) * n_out]))
        at += (n_in + 1) * n_out
        layers += [layer, torch.nn.SiLU()]
    return torch.nn.Sequential(*layers[:-1])


def answer(asked) -> dict:
    start = time.perf_counter(), time.process_time()
    torch.manual_seed(int(asked["seed"]))
    model = network([int(size) for size in asked["sizes"]], asked["theta"].astype(np.float32))
    train, pool = (torch.from_numpy(asked[name]) for name in ("train", "pool"))
    picks, _ = select_batch(
        batch_size=int(asked["k"]),
        models=[model],
        data={"train": TensorFeatureData(train), "pool": TensorFeatureData(pool)},
        y_train=None,
        selection_method="lcmd",
        sel_with_train=True,
        base_kernel="grad",
        kernel_transforms=[("rp", [SKETCH])],
    )
    seconds, cpu_seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    with torch.no_grad():
        says = model(pool[:10]).numpy()[:, 0]
    return {
        "picks": picks.numpy().astype(np.int64),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "says": says,
    }


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what packages print is no answer
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    while size := sys.stdin.buffer.read(8):
        asked = np.load(io.BytesIO(sys.stdin.buffer.read(int.from_bytes(size, "little"))))
        try:
            found = answer(asked)
        except Exception:
            found = {"error": traceback.format_exc()}
        message = io.BytesIO()
        np.savez(message, **found)
        answers.write(len(message.getvalue()).to_bytes(8, "little") + message.getvalue())
        answers.flush()


if __name__ == "__main__":
    main()

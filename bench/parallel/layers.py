"""Costs in processes of their own: with every threading layer, and of first calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.common import machine
from bench.common.places import environment

LAYERS = {
    "omp": {"NUMBA_THREADING_LAYER": "omp"},
    "omp, passive": {"NUMBA_THREADING_LAYER": "omp", "OMP_WAIT_POLICY": "passive"},
    "tbb": {"NUMBA_THREADING_LAYER": "tbb"},
    "workqueue": {"NUMBA_THREADING_LAYER": "workqueue"},
}


def everything(tbb: Path | None, say=print) -> dict:
    """Figures by layer, and of first calls."""
    found: dict = {"machine": machine.processor(), "layers": {}}
    for name, chosen in LAYERS.items():
        if name != "tbb" or tbb is not None:
            load = os.getloadavg()[0]
            found["layers"][name] = {"load": load, **_printed("cost", layer(chosen, tbb))}
            say(name, json.dumps(found["layers"][name]), flush=True)
    found["first calls"] = first_calls()
    return found


def layer(chosen: dict[str, str], tbb: Path | None) -> dict[str, str]:
    """The environment of a process that launches by a layer."""
    paths = filter(None, [str(tbb or ""), os.environ.get("LD_LIBRARY_PATH")])
    return environment(FASTTANGENT_LAUNCH="prange", LD_LIBRARY_PATH=os.pathsep.join(paths), **chosen)


def first_calls() -> dict[str, dict[str, float]]:
    """Processor seconds of the first calls of the drivers beyond those of their kernels: nothing cached, and again."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = environment(FASTTANGENT_CACHE=folder, FASTTANGENT_HELPER="1", FASTTANGENT_LAUNCH="prange")
        return {name: _printed("first", chosen) for name in ("compiled", "cached")}


def _printed(file: str, chosen: dict[str, str]) -> dict:
    command = [sys.executable, "-m", f"bench.parallel.{file}"]
    done = subprocess.run(command, env=chosen, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)

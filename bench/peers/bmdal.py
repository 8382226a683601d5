"""bmdal_reg's own LCMD, asked over pipes: `bmdal_worker.py` at the other end."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np

from bench.common.places import environment_elsewhere, threads

WORKER = Path(__file__).with_name("bmdal_worker.py")


class Bmdal:
    """A process in the environment that has bmdal_reg, started by the first question."""

    def __init__(self, python: Path | str) -> None:
        self.python = str(python)
        self.process: subprocess.Popen | None = None
        self.cpu_seconds = 0.0  # of the last selection

    def lcmd(self, model, candidates: np.ndarray, labeled: np.ndarray, k: int, seed: int) -> np.ndarray:
        """Row numbers of k candidates, by the gradients of this very network (silu, one output)."""
        float32 = np.dtype(np.float32)
        found = self._ask(
            sizes=np.array(model.network.sizes),
            theta=model.params,
            train=model.scaling.inputs(labeled, float32),
            pool=model.scaling.inputs(candidates, float32),
            k=np.array(k),
            seed=np.array(seed),
        )
        says = model.scaling.predictions(found["says"][:, None].astype(float))[:, 0]
        if not np.allclose(
            says, model.predict(candidates[:10]), rtol=1e-3, atol=1e-3 * model.scaling.y_scale[0]
        ):
            raise AssertionError("the network at the other end is another one: its predictions differ")
        self.cpu_seconds = float(found["cpu_seconds"])
        return found["picks"]

    def _ask(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        if self.process is None:
            self.process = subprocess.Popen(
                [self.python, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment_elsewhere(**threads(1)),
            )
        message = io.BytesIO()
        np.savez(message, **arrays)
        self.process.stdin.write(len(message.getvalue()).to_bytes(8, "little") + message.getvalue())
        self.process.stdin.flush()
        size = self.process.stdout.read(8)
        if not size:
            raise RuntimeError(f"{WORKER.name} ended with code {self.process.wait()}")
        with np.load(io.BytesIO(self.process.stdout.read(int.from_bytes(size, "little")))) as answer:
            found = {name: answer[name] for name in answer.files}
        if "error" in found:
            raise RuntimeError(f"bmdal_reg: {found['error']}")
        return found

    def end(self) -> None:
        """Stop the process that was started."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

"""Peers that are imported when something of them is first asked for, so that help and tables need none."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Peer:
    """A file of this folder and the package that it needs."""

    def __init__(self, file: str, package: str) -> None:
        self.file, self.package = file, package

    def __getattr__(self, name: str) -> Any:
        try:
            found = import_module(f"bench.peers.{self.file}")
        except ModuleNotFoundError as error:
            raise SystemExit(f"{error.name} is missing: python -m pip install {self.package}") from error
        return getattr(found, name)


with_jax = Peer("with_jax", "jax")
with_torch = Peer("with_torch", "torch")
with_sklearn = Peer("with_sklearn", "scikit-learn")

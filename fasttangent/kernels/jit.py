"""The one place that sets Numba's options and decides where compiled code is kept.

Every compiled function of the package is decorated with `kernel` and nothing else.

Two facts shape this file.  Numba's own cache looks only at the file that holds a function, so it runs
stale machine code after a change in a *callee* of another file (seen with Numba 0.68, also across an
upgrade); our cache folder is therefore named by a stamp over the sources of all kernels.  And caching
raises where no folder is writable (a read-only install without a home); ours falls back to compiling.

The folder is ``$FASTTANGENT_CACHE``, else ``$XDG_CACHE_HOME/fasttangent``, else ``~/.cache/fasttangent``,
else ``fasttangent-<user id>`` in the folder for temporary files; ``FASTTANGENT_CACHE=off`` compiles anew
in every process.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numba
from numba.core import caching

# No fastmath: it licenses the compiler to ignore NaN and to reorder sums, and training code needs neither.
# Where a fused multiply-add pays it is written as such (`scalar.fma`), so results do not depend on
# what the compiler finds.  nogil lets the threads of `threads` run kernels side by side.
OPTIONS = {"nogil": True, "error_model": "numpy"}


def kernel(function):
    """Compile `function` on first call and keep the result on disk."""
    dispatcher = numba.njit(**OPTIONS)(function)
    folder = cache_folder()
    if folder is not None and not numba.config.DISABLE_JIT:
        dispatcher._cache = _cache_in(folder)(function)
    return dispatcher


@functools.lru_cache(maxsize=1)
def source_stamp() -> str:
    """A hash over the sources of all kernels and the chosen vector width: another one whenever any changes."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    digest.update(os.environ.get("FASTTANGENT_VECTOR_BITS", "").encode())  # compiled in
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=1)
def cache_folder() -> Path | None:
    """Where compiled kernels are kept, or None when caching is off or no folder is writable."""
    if os.environ.get("FASTTANGENT_CACHE", "").lower() in ("off", "0", "no", "false"):
        return None
    for root in _candidate_roots():
        folder = root / f"kernels-{source_stamp()}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    return None


def _candidate_roots() -> Iterator[Path]:
    if chosen := os.environ.get("FASTTANGENT_CACHE"):
        yield Path(chosen)
        return
    with contextlib.suppress(RuntimeError):  # no home folder
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fasttangent"
    # Cached code is unpickled when it is read, so a folder that others may write to must be ours alone.
    private = Path(tempfile.gettempdir()) / f"fasttangent-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    try:
        private.mkdir(mode=0o700, exist_ok=True)
        if not hasattr(os, "getuid") or private.stat().st_uid == os.getuid():
            yield private
    except OSError:
        pass


def _cache_in(folder: Path):
    """Numba's function cache, with our folder and our stamp in place of the file's own."""

    class Locator(caching._CacheLocator):
        def __init__(self, line: int) -> None:
            self._line = line

        @classmethod
        def from_function(cls, function, file):
            return cls(function.__code__.co_firstlineno)

        def get_cache_path(self):
            return str(folder)

        def get_source_stamp(self):
            return source_stamp()

        def get_disambiguator(self):
            return str(self._line)

    class Implementation(caching.CompileResultCacheImpl):
        _locator_classes = [Locator]  # noqa: RUF012 - the name and type Numba reads

    class Cache(caching.FunctionCache):
        _impl_class = Implementation

        def load_overload(self, *args):
            try:
                return super().load_overload(*args)
            except Exception:  # a damaged file, as a crash or a full disk leaves it: compile and overwrite it
                self.flush_quietly()
                return None

        def save_overload(self, *args):
            try:
                super().save_overload(*args)
            except Exception:  # the compiled code is good; only keeping it failed
                self.flush_quietly()

        def flush_quietly(self):
            with contextlib.suppress(OSError):
                self.flush()

    return Cache

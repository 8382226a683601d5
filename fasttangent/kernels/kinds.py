"""Named kinds of processor: code for one runs on every processor that has its instructions, not on the one here alone.

They are the levels that the ABI of x86-64 defines, by the names that LLVM and GCC have for them.  A processor takes
code of the best kind that it has everything of and that uses its width of vectors; any other code is foreign to it,
is not even looked for, and is compiled anew.
"""

from __future__ import annotations

from fasttangent.kernels.processor import is_x86, target, vector_bits

_V2 = ("cx16", "sahf", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_X86 = {
    "x86-64-v2": (_V2, 128),
    "x86-64-v3": (_V3, 256),
    "x86-64-v4": (_V4, 512),
}  # instructions, width of vectors


def names() -> list[str]:
    """Kinds that code can be compiled for here, the least first."""
    return list(_X86) if is_x86() else []


def flags(name: str) -> str:
    """The instructions of a kind, as LLVM is told of them."""
    return ",".join(f"+{feature}" for feature in _X86[name][0])


def fitting() -> list[str]:
    """Kinds whose code may run here, the best first."""
    has = target()
    return [
        name
        for name in reversed(names())
        if _X86[name][1] == vector_bits() and all(has.get(feature) for feature in _X86[name][0])
    ]


def environment(name: str) -> dict[str, str]:
    """What makes a new process compile for a kind."""
    return {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": flags(name)}

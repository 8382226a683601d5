"""All compiled code: flat arrays in, flat arrays out, no validation."""

from fasttangent.common.interrupts import held

with held():  # Ctrl-C would leave half of Numba, or a lock of LLVM's that nobody gives back
    import numba.np.arrayobj  # noqa: F401

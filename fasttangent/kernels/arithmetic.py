"""Plain loops and products that several kernels share."""

from fasttangent.kernels.jit import kernel
from fasttangent.kernels.products import product
from fasttangent.kernels.scalar import fma
from fasttangent.kernels.views import row


@kernel
def add_product(C, A, B):
    """C += A B, for C (m, n), A (m, q) in any layout, B (q, n); rows of B and C contiguous."""
    product(C, A, B, A[:, :0], B[:0], C[:0], True)


@kernel
def add_multiple(c, a, b):
    """c += a b, for a scalar a and vectors b and c."""
    for j in range(c.size):
        c[j] = fma(a, b[j], c[j])


@kernel
def add(a, b):
    """a += b, for vectors."""
    for j in range(a.size):
        a[j] += b[j]


@kernel
def fill(A, value):
    """A = value, for a 2-d A; a slice assignment would do the same after a second of compilation."""
    for i in range(A.shape[0]):
        for j in range(A.shape[1]):
            A[i, j] = value


@kernel
def copy(A, B):
    """A = B."""
    for u in range(len(A)):
        a, b = row(A, u), row(B, u)
        for j in range(a.size):
            a[j] = b[j]

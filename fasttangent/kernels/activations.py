"""phi(z) with its first and second derivative, over a whole block at once.

`activate` fills ``h = phi(z)``, ``p = phi'(z)`` and ``q = phi''(z)``; the derivatives come almost free with the
value.  Constants are made in the dtype of `z`: a Python float would silently turn float32 arithmetic into
float64.  Loops are spelled out: an array expression costs seconds of compilation.
"""

import math

from fasttangent.kernels.jit import kernel

IDENTITY, TANH, SILU, RELU, SOFTPLUS, GELU = range(6)
CODES = {
    "tanh": TANH,
    "silu": SILU,
    "relu": RELU,
    "softplus": SOFTPLUS,
    "gelu": GELU,
    "identity": IDENTITY,
}


@kernel
def activate(h, p, q, z, code):
    """h, p, q <- phi(z), phi'(z), phi''(z), elementwise over 2-d arrays of one shape."""
    if code == TANH:
        _tanh(h, p, q, z)
    elif code == SILU:
        _silu(h, p, q, z)
    elif code == RELU:
        _relu(h, p, q, z)
    elif code == SOFTPLUS:
        _softplus(h, p, q, z)
    elif code == GELU:
        _gelu(h, p, q, z)
    else:
        _identity(h, p, q, z)


@kernel
def _identity(h, p, q, z):
    """phi' = 1,  phi'' = 0."""
    zero, one = z.dtype.type(0), z.dtype.type(1)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            h[i, j], p[i, j], q[i, j] = z[i, j], one, zero


@kernel
def _tanh(h, p, q, z):
    """phi' = 1 - phi^2,  phi'' = -2 phi phi'."""
    one, two = z.dtype.type(1), z.dtype.type(2)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            h[i, j] = math.tanh(z[i, j])
        for j in range(z.shape[1]):
            p[i, j] = one - h[i, j] * h[i, j]
            q[i, j] = -two * h[i, j] * p[i, j]


@kernel
def _silu(h, p, q, z):
    """With s = 1/(1 + exp(-z)): phi = z s,  phi' = s (1 + z (1 - s)),  phi'' = s (1 - s) (2 + z (1 - 2 s))."""
    zero, one, two = z.dtype.type(0), z.dtype.type(1), z.dtype.type(2)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            x = z[i, j]
            s, r = _sigmoid(x, one)
            h[i, j] = x * s if s > zero else s  # not -inf * 0
            p[i, j] = s * (one + x * r)
            q[i, j] = s * r * (two + x * (r - s))


@kernel
def _relu(h, p, q, z):
    """phi' = 1 where z > 0, else 0 (also at the kink);  phi'' = 0.  NaN stays NaN."""
    zero, one = z.dtype.type(0), z.dtype.type(1)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            x = z[i, j]
            h[i, j] = zero if x <= zero else x
            p[i, j] = one if x > zero else zero
            q[i, j] = zero


@kernel
def _softplus(h, p, q, z):
    """phi = log(1 + exp(z)),  phi' = s,  phi'' = s (1 - s), with s = 1/(1 + exp(-z))."""
    zero, one = z.dtype.type(0), z.dtype.type(1)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            x = z[i, j]
            s, r = _sigmoid(x, one)
            h[i, j] = (x if x > zero else zero) + math.log1p(math.exp(-abs(x)))
            p[i, j] = s
            q[i, j] = s * r


@kernel
def _gelu(h, p, q, z):
    """phi = z Phi(z),  phi' = Phi + z N,  phi'' = N (2 - z^2); Phi and N the normal distribution and density."""
    zero, half, two = z.dtype.type(0), z.dtype.type(0.5), z.dtype.type(2)
    root_half = z.dtype.type(math.sqrt(0.5))
    density_at_0 = z.dtype.type(1 / math.sqrt(2 * math.pi))
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            x = z[i, j]
            P = half * math.erfc(-x * root_half)
            N = density_at_0 * math.exp(-half * x * x)
            h[i, j] = x * P if zero < P else P  # not -inf * 0
            p[i, j] = P + x * N
            q[i, j] = N * (two - x * x)


@kernel
def _sigmoid(x, one):
    """s = 1/(1 + exp(-x)) and r = 1 - s, without cancellation or overflow."""
    t = math.exp(-abs(x))
    near_one, near_zero = one / (one + t), t / (one + t)
    if x > 0:
        return near_one, near_zero
    return near_zero, near_one

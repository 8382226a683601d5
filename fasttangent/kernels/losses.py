"""The loss of one residual r = f - y with its first and second derivative in f.

    squared    r^2 / 2
    huber      r^2 / 2 up to |r| = delta, then delta (|r| - delta / 2)
    log-cosh   delta^2 log cosh(r / delta)

Near r = 0 all three agree, so sigma^2 = E[loss'^2] means the same for small residuals.
"""

import math

from fasttangent.kernels.jit import kernel

SQUARED, HUBER, LOG_COSH = range(3)
CODES = {"squared": SQUARED, "huber": HUBER, "log-cosh": LOG_COSH}
LOG_2 = math.log(2.0)


@kernel
def loss_terms(r, code, delta):
    """loss(r), loss'(r), loss''(r), in float64."""
    if code == HUBER:
        if not abs(r) > delta:  # also NaN, which is to stay NaN
            return 0.5 * r * r, r, 1.0
        return delta * (abs(r) - 0.5 * delta), math.copysign(delta, r), 0.0
    if code == LOG_COSH:
        x = r / delta
        t = math.tanh(x)
        # log cosh x without overflow; the series where the difference would cancel
        value = 0.5 * x * x if abs(x) < 1e-4 else abs(x) + math.log1p(math.exp(-2 * abs(x))) - LOG_2
        return delta * delta * value, delta * t, 1 - t * t
    return 0.5 * r * r, r, 1.0


@kernel
def loss_values(d, r, code, delta):
    """d = loss(r), for vectors d and r."""
    for i in range(r.size):
        d[i], _, _ = loss_terms(r[i], code, delta)


@kernel
def loss_slopes(d, r, code, delta):
    """d = loss'(r), for vectors d and r."""
    for i in range(r.size):
        _, d[i], _ = loss_terms(r[i], code, delta)


@kernel
def loss_curvatures(d, r, code, delta):
    """d = loss''(r), for vectors d and r."""
    for i in range(r.size):
        _, _, d[i] = loss_terms(r[i], code, delta)

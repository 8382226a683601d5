"""The direction of limited-memory BFGS, in two parts: between them stands what is known of H beforehand."""

from fasttangent.kernels.arithmetic import add_multiple
from fasttangent.kernels.jit import kernel


@kernel
def dot(a, b):
    """a . b in eight partial sums, so that an addition need not wait for the one before."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = a.size - a.size % 8
    for j in range(0, whole, 8):
        s0 += a[j] * b[j]
        s1 += a[j + 1] * b[j + 1]
        s2 += a[j + 2] * b[j + 2]
        s3 += a[j + 3] * b[j + 3]
        s4 += a[j + 4] * b[j + 4]
        s5 += a[j + 5] * b[j + 5]
        s6 += a[j + 6] * b[j + 6]
        s7 += a[j + 7] * b[j + 7]
    for j in range(whole, a.size):
        s0 += a[j] * b[j]
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))


@kernel
def first_loop(d, g, S, Y, alpha, newest, count):
    """d = -g and the first loop of algorithm 7.4 of Nocedal & Wright: what is left for H^-1 before the first step.

    d, g (p,); S, Y (m, p): the last `count` steps and changes of the gradient in a ring, the newest in row `newest`;
    alpha (m,) is kept for `second_loop`.
    """
    for j in range(d.size):
        d[j] = -g[j]
    for back in range(count):
        i = (newest - back) % len(S)
        alpha[i] = dot(S[i], d) / dot(S[i], Y[i])
        add_multiple(d, -alpha[i], Y[i])


@kernel
def second_loop(d, S, Y, alpha, newest, count):
    """The other one, after which d is -H^-1 g with the BFGS approximation of H."""
    for back in range(count - 1, -1, -1):
        i = (newest - back) % len(S)
        beta = dot(Y[i], d) / dot(S[i], Y[i])
        add_multiple(d, alpha[i] - beta, S[i])

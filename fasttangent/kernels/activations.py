"""phi(z) with its first and second derivative, over a whole block at once.

`activate` fills ``h = phi(z)``, ``p = phi'(z)`` and ``q = phi''(z)``; the derivatives come almost free with the
value.  Each activation is one formula over `vectors.Vector`, written once: float32 and float64, any width of vector,
with or without derivatives.  Its twin in NumPy stands beside it.

silu, softplus and gelu are relu with its corner rounded off by an even function that vanishes far out:

    phi(z) = max(z, 0) + f(|z|),    phi'(z) = f'(|z|) + 1 where z > 0, else -f'(|z|),    phi''(z) = f''(|z|).

f holds exp(-|z|) or exp(-z^2 / 2) as a factor, so both tails keep their digits down to the smallest denormal.

Largest errors found, of phi in ulp and of phi' and phi'' in machine epsilons of their largest absolute value:

              float32               float64
    tanh      3.9   3.2   2.8       3.1   2.8   2.3
    silu      3.2   0.7   1.4       2.9   0.7   1.2
    softplus  2.7   0.6   1.1       3.3   0.6   1.1
    gelu      4.9   1.3   1.4       4.2   1.2   1.4

float32: every third number from 2^-12 to where phi is constant or linear, on one side (gelu: both); float64: 80,000
random numbers against mpmath.  All with AVX-512; without FMA softplus reached 4.5 ulp in float64.
"""

import math

import numpy as np

from fasttangent.kernels.elementwise import elementwise
from fasttangent.kernels.jit import kernel
from fasttangent.kernels.vectors import provide, shift

# ---------------------------------------------------------------------------------------------------------------
# exp(y) for y <= 0

LOG2_E = 1 / math.log(2)

# ln 2 in two parts; the first has so few digits that k times it is exact
LN2_SINGLE = (0.693359375, -2.12194440e-4)
LN2_DOUBLE = (6.93147180369123816490e-01, 1.90821492927058770002e-10)

# (exp(r) - 1 - r) / r^2 on |r| <= ln 2 / 2, by Remez, highest power first: relative to exp(r) within 3.1e-9, and
# to exp(r) - 1 within 1.8e-17
EXP_SINGLE = (0.001381461, 0.0083687175, 0.04166839, 0.16666521, 0.49999994)
EXP_DOUBLE = (
    2.5053770148985287e-08,
    2.762603793338099e-07,
    2.7557407556203304e-06,
    2.480150527366177e-05,
    0.0001984126971899396,
    0.0013888888931565008,
    0.008333333333389557,
    0.04166666666657676,
    0.16666666666666588,
    0.5000000000000006,
)


def _exp(y, offset, low=0.0):
    """(s, w) with exp(y + low) = s (1 + w) / 2^offset and s a power of two.

    y + low = k ln 2 + r with |r| <= ln 2 / 2, s = 2^(k + offset), and w = exp(r) - 1 = r + r^2 P(r).
    """
    t = y.fma(LOG2_E, shift(y.single))
    k = t - shift(y.single)
    high, rest = LN2_SINGLE if y.single else LN2_DOUBLE
    r = (-k).fma(high, y) + (-k).fma(rest, low)
    square = r * r
    series = r.in_pairs(EXP_SINGLE if y.single else EXP_DOUBLE, square)
    return t.power_of_two(offset), series.fma(square, r)


# ---------------------------------------------------------------------------------------------------------------
# tanh

# x (1 + x^2 P(x^2)) / (1 + x^2 Q(x^2)) = 2 tanh(x / 2) on |x| <= 9.02 and 19.1, by Remez.  The weight is what remains
# of an error in tanh(x), (1 - t^2) / (1 + t^2): relative error of that within 8.4e-9 and 1.5e-18
TANH_SINGLE = ((0.00011390812, 0.029757876), (1.2217e-06, 0.001204879, 0.11309117))
TANH_DOUBLE = (
    (
        2.0694662151039726e-17,
        4.07918577152448e-13,
        1.1302493048592106e-09,
        9.838254380849563e-07,
        0.0003197286712787408,
        0.03648789537528934,
    ),
    (
        2.0923127857871287e-15,
        1.2708780025216786e-11,
        1.893882356490336e-08,
        1.0019031981073572e-05,
        0.0019714977303306493,
        0.11982122870862266,
    ),
)


def _tanh(z):
    """phi = 2 t / (1 + t^2),  phi' = 1 - phi^2,  phi'' = -2 phi phi',  with t = tanh(z / 2) = m / (2 (1 + v)).

    phi = m (1 + v) / ((1 + v)^2 + (m / 2)^2) forgives errors of t where phi is close to 1.  1 - phi^2 does not, and
    phi'' takes phi' = (1 - 2 t^2 / (1 + t^2))^2 instead.
    """
    x = z.abs()
    far = x.compare(">", 9.02 if z.single else 19.1)  # tanh rounds to 1
    p, q = TANH_SINGLE if z.single else TANH_DOUBLE
    u = x * x
    m = (x * u).fma(u.polynomial(p), x)
    v = u * u.polynomial(q)
    half = 0.5 * m
    total = v.fma(v + 2, half.fma(half, 1))
    h = z.constant(2).where(far, m.fma(v, m).quotient(total)).at_most(1).with_sign_of(z)
    root = 1 - z.constant(1).where(far, (half * m).quotient(total))
    return h, (-h).fma(h, 1), -2 * h * (root * root)


def _tanh_definition(z):
    h = np.tanh(z)
    p = 1 - h * h
    return h, p, -2 * h * p


# ---------------------------------------------------------------------------------------------------------------
# Corners, sharp and rounded


def _identity(z):
    """phi' = 1,  phi'' = 0."""
    number = z.compare("==", z)
    return z, z.constant(1).where(number, z), z.constant(0).where(number, z)


def _identity_definition(z):
    return z, np.where(np.isnan(z), z, 1), np.where(np.isnan(z), z, 0)


def _relu(z):
    """phi' = 1 where z > 0, else 0 (also at the kink);  phi'' = 0."""
    positive = z.compare(">", 0)
    zero = z.constant(0)
    flat = zero.where(z.compare("<=", 0), z)  # NaN stays NaN
    return z.where(positive, flat), z.constant(1).where(positive, flat), zero.where(positive, flat)


def _relu_definition(z):
    return np.maximum(z, 0), np.where(np.isnan(z), z, z > 0), np.where(np.isnan(z), z, 0)


def _rounded_relu(z, f, slope, curvature):
    """phi(z) = max(z, 0) + f(|z|) and its derivatives, from f, f', f'' at |z|."""
    return z.at_least(0) + f, (slope + 1).where(z.compare(">", 0), -slope), curvature


def _rounded_relu_definition(z, f, slope, curvature):
    return np.maximum(z, 0) + f, np.where(z > 0, 1 + slope, -slope), curvature


def _exp_of_minus(y, low=0.0):
    """(s, w, unit) with exp(y + low) = s (1 + w) unit, for y <= 0.

    s is 2^64 or 2^256 times too large, and unit the power of two that corrects it in the last product: only results
    are denormal.
    """
    offset = 64 if y.single else 256
    return *_exp(y, offset, low), 2.0**-offset


def _silu(z):
    """f = -a s(-a),  f' = a s(-a) s(a) - s(-a),  f'' = s(-a) s(a) (2 - a (s(a) - s(-a))),  s(a) = 1/(1 + exp(-a))."""
    a = z.abs().at_most(110 if z.single else 760)  # exp(-a) is 0 there
    s, w, unit = _exp_of_minus(-a)
    e = s.fma(w, s)
    share = e.quotient(e.fma(unit, 1))
    f = -(a * share) * unit
    low = share * unit
    high = 1 - low
    return _rounded_relu(z, f, (-f).fma(high, -low), high * f.fma(high - low, 2 * low))


def _silu_definition(z):
    a = np.minimum(np.abs(z), 760)
    root = np.exp(-a / 2)  # twice half of it: a product with a denormal loses digits
    f = -(a * root / (1 + root * root)) * root
    low = root * root / (1 + root * root)
    high = 1 - low
    return _rounded_relu_definition(z, f, -f * high - low, high * (2 * low + f * (high - low)))


# log(1 + e) / e on 0 <= e <= 1, by Remez: relative error within 5.1e-9 and 9.5e-18
LOG_SINGLE = (
    -0.0033184367,
    0.020204425,
    -0.05766415,
    0.106805265,
    -0.1535538,
    0.19695395,
    -0.24958587,
    0.33330512,
    -0.4999993,
    1.0,
)
LOG_DOUBLE = (
    2.5329700931098832e-05,
    -0.0002917587238642185,
    0.0015957290419368248,
    -0.005543073073621694,
    0.013838516016773756,
    -0.026743849862995217,
    0.042299977958845054,
    -0.05750188151623283,
    0.07035532047794428,
    -0.08081205776478036,
    0.09013151220912848,
    -0.09981014146397074,
    0.11107505809826033,
    -0.12499479579440195,
    0.14285658892830033,
    -0.166666624980864,
    0.1999999979129547,
    -0.24999999993675406,
    0.33333333333235016,
    -0.4999999999999946,
    1.0,
)


def _softplus(z):
    """f = log(1 + exp(-a)),  f' = -s(-a),  f'' = s(-a) s(a)."""
    a = z.abs().at_most(110 if z.single else 760)
    s, w, unit = _exp_of_minus(-a)
    e = s.fma(w, s)
    f = e * (e * unit).polynomial(LOG_SINGLE if z.single else LOG_DOUBLE) * unit
    low = e.quotient(e.fma(unit, 1)) * unit
    return _rounded_relu(z, f, -low, low * (1 - low))


def _softplus_definition(z):
    e = np.exp(-np.minimum(np.abs(z), 760))
    low = e / (1 + e)
    return _rounded_relu_definition(z, np.log1p(e), -low, low * (1 - low))


# cdf(-a) exp(a^2 / 2) = P(a) / Q(a) of the normal distribution on 0 <= a <= 15 and 39, by Remez: relative error
# within 6.7e-9 and 9.5e-19
MILLS_SINGLE = (
    (0.0041219727, 0.040687084, 0.18341789, 0.43857738, 0.5),
    (0.010332138, 0.10199366, 0.4699459, 1.2033201, 1.6750395, 1.0),
)
MILLS_DOUBLE = (
    (
        2.23471861561249e-07,
        6.957811612121887e-06,
        0.00010634312756874953,
        0.0010378639058876045,
        0.007112477138036713,
        0.0356258210879017,
        0.13192446661364216,
        0.35709981732110524,
        0.6792953780877155,
        0.8277265091966318,
        0.5,
    ),
    (
        5.601608867737215e-07,
        1.74406473165308e-05,
        0.0002671228512600943,
        0.002618979659239618,
        0.018093778656357803,
        0.09186734845774976,
        0.34798640337087355,
        0.9793886595262228,
        2.000391884920968,
        2.816070933053493,
        2.453337579196129,
        1.0,
    ),
)
DENSITY_AT_0 = 1 / math.sqrt(2 * math.pi)


def _gelu(z):
    """f = -a cdf(-a),  f' = a pdf - cdf(-a),  f'' = pdf (2 - a^2), of the standard normal distribution."""
    a = z.abs().at_most(15 if z.single else 39)  # pdf(a) is 0 there
    square, low = a.square()
    s, w, unit = _exp_of_minus(-0.5 * square, -0.5 * low)
    numerator, denominator = MILLS_SINGLE if z.single else MILLS_DOUBLE
    mills = a.halved(numerator).quotient(a.halved(denominator))
    tail = mills.fma(w, mills) * s
    pdf = s.fma(w, s) * (DENSITY_AT_0 * unit)
    return _rounded_relu(z, -(a * tail) * unit, a.fma(pdf, -tail * unit), pdf * (2 - square))


def _gelu_definition(z):
    from scipy.special import erfcx

    a = np.minimum(np.abs(z), 39)
    top = a.astype(np.float32).astype(float)  # its square is exact
    root = np.exp(-top * top / 4)
    rest = np.exp(-(a - top) * (a + top) / 2)
    tail = erfcx(a * math.sqrt(0.5)) / 2 * rest * root
    pdf = DENSITY_AT_0 * rest * root * root
    return _rounded_relu_definition(z, -(a * tail) * root, a * pdf - tail * root, pdf * (2 - a * a))


# ---------------------------------------------------------------------------------------------------------------


def _fill_definition(h, p, q, z, code):
    """From the formulas in NumPy and float64."""
    definition, outputs = FORMULAS[code][2], (h, p, q) if len(q) else (h, p) if len(p) else (h,)
    with np.errstate(invalid="ignore"):  # what NaN and infinity raise differs between processors
        for output, value in zip(outputs, definition(z.astype(float)), strict=False):
            output[:] = value


FORMULAS = (  # by their codes
    ("tanh", _tanh, _tanh_definition),
    ("silu", _silu, _silu_definition),
    ("relu", _relu, _relu_definition),
    ("softplus", _softplus, _softplus_definition),
    ("gelu", _gelu, _gelu_definition),
    ("identity", _identity, _identity_definition),
)
CODES = {name: code for code, (name, _, _) in enumerate(FORMULAS)}
RELU = CODES["relu"]

_fill = elementwise(tuple(formula[:2] for formula in FORMULAS), _fill_definition)
provide("activations")


@kernel
def activate(h, p, q, z, code):
    """h, p, q <- phi(z), phi'(z), phi''(z), elementwise over 2-d arrays of one shape and dtype.

    p and q may have no rows, for a value without derivatives; h may be z.  Rows are contiguous, with room up to the
    next whole vector, which is written too.
    """
    _fill(h, p, q, z, code)

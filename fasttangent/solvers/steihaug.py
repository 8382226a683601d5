"""Conjugate gradients on a quadratic model within a radius, the path kept for smaller radii."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[Any]  # of either precision


class Step(NamedTuple):
    """A step d (p,) from the origin."""

    d: Float
    decrease: float  # of the model, which is positive
    at_edge: bool


class _Segment(NamedTuple):
    """d + a q for a up to `length`, in a metric M."""

    q: Float
    length: float  # inf along negative curvature
    slope: float  # of the model at its beginning, along q
    curvature: float  # q.Aq
    dMd: float
    dMq: float
    qMq: float


class Path:
    """The way that conjugate gradients take from 0 to the minimum of g.d + d.Ad / 2, in a metric M.

    The norm of M grows along it, so the minimum within a radius is where the path leaves it; a direction of negative
    curvature is followed to the edge.  Another radius goes along the same path.

    Parameters
    ----------
    product, solve : callable
        v (p,) -> A v and M^-1 v.
    g : ndarray, shape (p,)
        Of the dtype that the two take.
    tolerance : float
        On the residual in the norm of M^-1, relative to g.
    most : int
        Products at the most.

    References
    ----------
    Steihaug 1983, The conjugate gradient method and trust regions in large scale optimization, SIAM J. Numer. Anal. 20.
    """

    def __init__(
        self,
        product: Callable[[Float], Float],
        solve: Callable[[Float], Float],
        g: Float,
        tolerance: float,
        most: int,
    ) -> None:
        self._product, self._solve, self._most = product, solve, most
        self._r, z = g, solve(g)
        self._q, self._rz = -z, _dot(g, z)
        if not self._rz > 0:  # a metric that is lost in rounding, as at strength 0: a path of no length
            self._rz = 0.0
        self.first_length = float(np.sqrt(self._rz))  #: the norm of M^-1 g in M
        self._goal = tolerance**2 * self._rz
        self._dMd, self._dMq, self._qMq = 0.0, 0.0, self._rz
        self._segments: list[_Segment] = []
        self._ended = not self._rz > 0

    def within(self, radius: float) -> Step:
        """The minimum on the path no farther from 0 than `radius` in the norm of M."""
        d, decrease, k = np.zeros_like(self._r), 0.0, 0
        while True:
            if k == len(self._segments):
                if self._ended:
                    return Step(d, decrease, False)
                self._go_on()
            s = self._segments[k]
            room = radius * radius - s.dMd
            a = (np.sqrt(max(s.dMq * s.dMq + s.qMq * room, 0.0)) - s.dMq) / s.qMq
            at_edge = a <= s.length
            a = min(a, s.length)
            d += d.dtype.type(a) * s.q
            decrease -= a * (s.slope + 0.5 * a * s.curvature)
            if at_edge:
                return Step(d, decrease, True)
            k += 1

    def _go_on(self) -> None:
        q, rz = self._q, self._rz
        Aq = self._product(q)
        curvature = _dot(q, Aq)
        length = rz / curvature if curvature > 0 else np.inf
        # the residual before is orthogonal to all earlier directions, so the slope along q is -rz
        self._segments.append(_Segment(q, length, -rz, curvature, self._dMd, self._dMq, self._qMq))
        if not curvature > 0 or len(self._segments) >= self._most:
            self._ended = True
            return
        self._r = self._r + q.dtype.type(length) * Aq
        z = self._solve(self._r)
        self._rz = _dot(self._r, z)
        if not self._rz > self._goal:
            self._ended = True
            return
        b = self._rz / rz
        self._dMd += length * (2 * self._dMq + length * self._qMq)
        self._dMq = b * (self._dMq + length * self._qMq)
        self._qMq = self._rz + b * b * self._qMq
        self._q = q.dtype.type(b) * q - z


def _dot(a: Float, b: Float) -> float:
    return float(np.add.reduce(a * b))

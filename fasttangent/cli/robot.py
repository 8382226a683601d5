"""A robot arm with eight joints: an expensive experiment that anybody can run.

Joint k turns the rest of the arm about the z axis (k = 0, 2, 4, 6) or the y axis (k = 1, 3, 5, 7) of the link
before it, and link k leads along its own x axis.  With R_k the rotation by the angle of joint k, l_k the length
of link k and e_x = (1, 0, 0), the end of the arm is at

    p = R_0 (l_0 e_x + R_1 (l_1 e_x + ... R_7 (l_7 e_x))),

and the experiment measures the distance |p - target|.  It is a smooth function of eight angles with products of
up to eight sines and cosines, as in the "kin" family of DELVE (kin8nm is a sample of such an arm, with noise).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fasttangent.common import checks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

N_JOINTS = 8
LENGTHS = (1 / N_JOINTS,) * N_JOINTS
"""Length of each link, in arm lengths: the straight arm has length 1."""
TARGET = (0.3, 0.4, 0.5)
"""The fixed point (x, y, z), in arm lengths from the first joint."""
SPREAD = 0.6
"""Standard deviation of each joint's angle about the straight arm, in radians."""


def end_points(angles: Any) -> Float:
    """Where the end of the arm is.

    Parameters
    ----------
    angles : array_like of shape (n, 8)
        Of the joints, in radians, from the first to the last.

    Returns
    -------
    ndarray of float64, shape (n, 3)
        x, y and z in arm lengths from the first joint.

    Raises
    ------
    ValueError
        If the rows do not have 8 angles.

    Examples
    --------
    >>> import numpy as np
    >>> end_points(np.zeros((1, 8)))  # the straight arm
    array([[1., 0., 0.]])
    """
    rows = checks.matrix("angles", angles)
    if rows.shape[1] != N_JOINTS:
        raise ValueError(
            f"angles must have {N_JOINTS} columns, one per joint, got {rows.shape[1]}; pass (n, 8)"
        )
    x, y, z = np.zeros((3, len(rows)))
    for k in reversed(range(N_JOINTS)):
        cos, sin = np.cos(rows[:, k], dtype=np.float64), np.sin(rows[:, k], dtype=np.float64)
        x = x + LENGTHS[k]
        if k % 2 == 0:  # about z
            x, y = cos * x - sin * y, sin * x + cos * y
        else:  # about y
            x, z = cos * x + sin * z, cos * z - sin * x
    return np.stack([x, y, z], axis=1)


def distance(angles: Any) -> Float:
    """The experiment: how far the end of the arm is from the target, |p - target|.

    Parameters
    ----------
    angles : array_like of shape (n, 8)
        Of the joints, in radians, from the first to the last.

    Returns
    -------
    ndarray of float64, shape (n,)
        In arm lengths.

    Raises
    ------
    ValueError
        If the rows do not have 8 angles.

    Examples
    --------
    >>> import numpy as np
    >>> distance(np.zeros((1, 8))).round(3)
    array([0.949])
    """
    return np.linalg.norm(end_points(angles) - TARGET, axis=1)


def poses(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Candidates: n poses (n, 8), float32; each angle is normal about 0 with standard deviation `SPREAD`.

    So most poses are much alike and a few are far out, as in a log of what an arm did.
    """
    return (SPREAD * rng.standard_normal((n, N_JOINTS))).astype(np.float32)

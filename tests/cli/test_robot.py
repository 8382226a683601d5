"""The arm against poses whose end point is known, and against rotation matrices multiplied out."""

import numpy as np
import pytest

from fasttangent.cli import robot


def test_straight_arm_reaches_its_length():
    assert robot.end_points(np.zeros((1, 8))) == pytest.approx(np.array([[1.0, 0.0, 0.0]]))
    assert robot.distance(np.zeros((1, 8))) == pytest.approx(
        np.linalg.norm(np.array([1, 0, 0]) - robot.TARGET)
    )


@pytest.mark.parametrize(
    ("joint", "end"),
    [(0, (0, 1, 0)), (1, (1 / 8, 0, -7 / 8)), (7, (7 / 8, 0, -1 / 8)), (6, (6 / 8, 2 / 8, 0))],
)
def test_one_joint_at_a_right_angle(joint, end):
    angles = np.zeros((1, 8))
    angles[0, joint] = np.pi / 2
    np.testing.assert_allclose(robot.end_points(angles)[0], end, atol=1e-15)


def test_equals_the_product_of_rotation_matrices():
    angles = robot.poses(5, np.random.default_rng(0))
    for row, end in zip(angles.astype(float), robot.end_points(angles), strict=True):
        R, p = np.eye(3), np.zeros(3)
        for k, (c, s) in enumerate(zip(np.cos(row), np.sin(row), strict=True)):
            about_z, about_y = [[c, -s, 0], [s, c, 0], [0, 0, 1]], [[c, 0, s], [0, 1, 0], [-s, 0, c]]
            R = R @ np.array(about_y if k % 2 else about_z)
            p = p + robot.LENGTHS[k] * R[:, 0]
        np.testing.assert_allclose(end, p, atol=1e-14)


def test_a_chunk_gives_the_same_as_the_whole():
    angles = robot.poses(101, np.random.default_rng(1))
    parts = [robot.distance(part) for part in np.array_split(angles, 4)]
    np.testing.assert_array_equal(np.concatenate(parts), robot.distance(angles))


def test_poses_spread_about_the_straight_arm():
    angles = robot.poses(10_000, np.random.default_rng(2))
    assert angles.dtype == np.float32
    np.testing.assert_allclose(angles.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(angles.std(axis=0), robot.SPREAD, rtol=0.03)


def test_wrong_number_of_joints():
    with pytest.raises(ValueError, match="angles must have 8 columns, one per joint, got 7"):
        robot.distance(np.zeros((2, 7)))

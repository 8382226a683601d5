"""Checks that have to stay quick, and to say something useful, whatever they are given."""

import numpy as np
import pandas as pd
import pytest
from helpers import counting

import fasttangent as ft
from fasttangent.common import checks


def test_a_frame_in_another_order_is_matched_without_comparing_every_pair():
    wanted = counting.names(3000)
    frame = pd.DataFrame(np.arange(6000.0).reshape(2, 3000), columns=list(map(str, reversed(wanted))))
    assert checks.features("X", frame, 3000, wanted)[0].tolist() == list(range(3000))[::-1]
    assert counting.Name.compared < 10 * 3000


def test_a_name_given_twice_among_many():
    X = np.random.default_rng(0).normal(size=(4, 3000))
    names = [*map(str, range(2999)), "2998"]
    with pytest.raises(ValueError, match="feature_names must differ, got '2998' more than once"):
        ft.fit(X, X[:, 0], feature_names=names)


@pytest.mark.parametrize("n", [10, 100_000])
@pytest.mark.parametrize(
    "typed", ["speed", "Speed_of_wind", "sped of wind", "speed_of_wnd", "speed_of_the_wind"]
)
def test_the_nearest_name(n, typed):
    names = [f"column_{i:05d}" for i in range(n)]
    names[n // 2] = "speed_of_wind"
    assert checks.nearest(typed, names) == (None if typed == "speed" else "speed_of_wind")
    assert checks.nearest(typed, []) is None

"""The hunt for false certificates: a few cases of it, and that it finds what it hunts."""

import re
from dataclasses import replace

import pytest

from bench.reliability.certificates import check, hunt, make
from fasttangent.model import settling


def test_no_certificate_of_the_first_cases_is_false():
    said = []
    found = hunt(8, seed=0, report=said.append)
    assert found["failures"] == []
    assert found["counts"]["cases"] == 8
    assert found["counts"]["trusted"] >= 4
    assert found["counts"]["false"] == 0
    assert found["widest"] <= 2


@pytest.mark.slow
def test_no_certificate_of_many_cases_is_false():
    found = hunt(300, seed=1)
    assert found["failures"] == []
    assert found["counts"]["refits"] >= 5


def test_a_false_certificate_is_found_and_repeated(monkeypatch):
    honest = settling.curvature_bracket

    def boasting(*args, **options):
        bracket = honest(*args, **options)
        return replace(bracket, lower=3 * bracket.rayleigh, rayleigh=3 * bracket.rayleigh)

    monkeypatch.setattr(settling, "curvature_bracket", boasting)
    found = hunt(3, seed=0)
    assert found["counts"]["false"] >= 1
    line = next(f for f in found["failures"] if "lower bound" in f)
    number = int(re.search(r"check\(0, (\d+)\)", line)[1])
    assert any("lower bound" in what for what in check(0, number)["failures"])


def test_a_case_is_made_from_its_number_alone():
    one, again = make(3, 5), make(3, 5)
    assert one.settings == again.settings
    assert (one.X == again.X).all()
    assert (one.Y == again.Y).all()

"""The demo in small: deterministic, honest in words, and with a picture."""

import json
import sys

import numpy as np
import pytest

from fasttangent.cli import demo, plots

SMALL = {"seeds": 2, "rounds": 1, "pool": 2000, "labels": 40, "batch": 10}


@pytest.fixture(autouse=True)
def _small_model(monkeypatch):
    monkeypatch.setattr(demo, "SETTINGS", {"hidden": (8,), "strength": 1e-2})
    monkeypatch.setattr(demo, "TEST", 500)


@pytest.fixture
def small(tmp_path):
    return demo.run(**SMALL, picture=str(tmp_path / "d.png"))


def made_up(at_random, curious):
    """A result with these errors, (seeds, rounds + 1) each."""
    rmse = {"random": at_random, "sample": curious}
    change = demo._change(rmse)
    return {
        "seeds": list(range(len(at_random))), "pool": 1_000_000, "batch": 50, "test": 10_000,
        "unit": "arm lengths", "labelled": [200, 250], "rmse": rmse, "change": change,
        "verdict": demo._verdict(change), "models": 9, "trusted": 8, "reasons": ["not stationary"],
        "picture": None, "seconds": 61.2,
    }  # fmt: skip


def test_a_run_is_plain_values_and_counts_its_models(small):
    assert json.loads(json.dumps(small)) == small
    assert small["labelled"] == [40, 50]
    assert small["models"] == 2 * (1 + 2)
    assert small["trusted"] + bool(small["reasons"]) <= small["models"]
    errors = np.array([small["rmse"]["random"], small["rmse"]["sample"]])
    assert errors.shape == (2, 2, 2)
    np.testing.assert_array_equal(errors[0, :, 0], errors[1, :, 0])  # both start with the same model
    assert ((errors > 0) & (errors < 1)).all()


def test_threads_do_not_change_the_result(small):
    again = demo.run(**SMALL, picture=None, threads=1)
    assert again["rmse"] == small["rmse"]


def test_labelled_poses_are_not_labelled_twice(monkeypatch):
    sizes = {**SMALL, "seeds": 1, "rounds": 4, "pool": 40}
    seen = []
    fit = demo._Trainer.fit
    monkeypatch.setattr(
        demo._Trainer, "fit", lambda self, X, seed, heed: (seen.append(X), fit(self, X, seed, heed))[1]
    )
    demo.run(**sizes, picture=None)
    assert max(map(len, seen)) == 80
    assert all(len(np.unique(X, axis=0)) == len(X) for X in seen)


def test_reports_every_model():
    seen = []
    demo.run(
        **SMALL, picture=None, report=lambda stage, done, total, **figures: seen.append((stage, done, total))
    )
    assert seen == [("demo", done, 6) for done in range(7)]


def test_the_picture_is_a_real_png(small):
    with open(small["picture"], "rb") as file:
        content = file.read()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(content) > 10_000


def test_the_table_of_a_run(small):
    text = demo.table(small)
    assert "mean ± standard deviation of 2 seeds" in text
    assert small["verdict"] in text
    assert f"{small['trusted']} of 6 models had a trusted tangent" in text
    assert small["picture"] in text


def test_the_table_line_by_line():
    lines = demo.table(made_up([[0.2, 0.1], [0.1, 0.1]], [[0.2, 0.09], [0.1, 0.08]])).splitlines()
    assert lines[3].split() == [
        "200",
        "0.1500",
        "±",
        "0.0707",
        "0.1500",
        "±",
        "0.0707",
        "the",
        "same",
        "labels",
    ]
    assert lines[4].split() == [
        "250",
        "0.1000",
        "±",
        "0.0000",
        "0.0850",
        "±",
        "0.0071",
        "-15.0",
        "±",
        "7.1",
        "%",
    ]
    assert lines[6].startswith("Curiosity was better")
    assert "8 of 9 models had a trusted tangent" in lines[7]
    assert lines[8] == "Not trusted: not stationary"


@pytest.mark.parametrize(
    ("curious", "verdict"),
    [
        ([0.09, 0.08], "Curiosity was better: curiosity against random is -15.0 ± 7.1 %"),
        ([0.11, 0.12], "Random was better: curiosity against random is +15.0 ± 7.1 %"),
        ([0.09, 0.108], "No clear winner: curiosity against random is -1.0 ± 12.7 %"),
        ([0.09], "On this one seed the error with curiosity was 10.0 % lower than at random"),
    ],
)
def test_the_verdict_says_what_came_out(curious, verdict):
    result = made_up([[0.2, 0.1]] * len(curious), [[0.2, error] for error in curious])
    assert result["verdict"].startswith(verdict)
    assert verdict in demo.table(result)


def test_untrusted_models_are_counted_not_warned_of(monkeypatch):
    # Two epochs of a network of this size cannot settle at strength 0: the Hessian is singular.
    monkeypatch.setattr(demo, "SETTINGS", {"hidden": (8,), "strength": 0.0, "epochs": 2})
    result = demo.run(seeds=1, rounds=1, pool=100, labels=5, batch=2, picture=None)
    assert result["trusted"] < result["models"]
    assert result["reasons"]


def test_ctrl_c_ends_the_demo(monkeypatch):
    def interrupted(done):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        demo.run(**SMALL, picture=None, report=lambda stage, done, total: interrupted(done))


def test_without_matplotlib_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'fasttangent\[plots\]'"):
        plots.learning_curves(made_up([[0.2, 0.1]], [[0.2, 0.1]]), tmp_path / "d.png")
    monkeypatch.setattr(
        demo, "_runs", lambda *args: pytest.fail("work began before the missing package was told of")
    )
    with pytest.raises(ImportError, match="fasttangent"):
        demo.run(**SMALL, picture=str(tmp_path / "d.png"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": 5}, r"pool must have at least rounds \* batch = 10 candidates, got 5"),
        ({"labels": 1}, "labels must be a whole number >= 2, got 1"),
        ({"seeds": 0}, "seeds must be a whole number >= 1, got 0"),
        ({"threads": 0}, "threads must be a whole number >= 1, got 0"),
    ],
)
def test_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        demo.run(**{**SMALL, "picture": None, **settings})

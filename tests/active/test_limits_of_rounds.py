"""What every batch of a campaign may hold: the limits of `select`, round after round, also before there is a model."""

import numpy as np
import pytest

import fasttangent as ft

RNG = np.random.default_rng(0)
POOL = RNG.normal(size=(60, 2))
LABELS = POOL[:, 0] ** 2 + POOL[:, 1]
SITES = np.array(list("abcdef"))[np.arange(60) % 6]
COSTS = 1.0 + np.arange(60) % 4
FIT = {"hidden": (4,), "epochs": 20, "strength": 1e-2}


def asked(**options):
    select = {"strategy": "lcmd", "batch": 6, **options}
    learner = ft.ActiveLearner(POOL, oracle=LABELS, fit=FIT, **select)
    learner.run(rounds=4)
    return learner, [np.array(record["rows"]) for record in learner._rounds.state.rounds]


@pytest.mark.parametrize("strategy", ["random", "lcmd", "error"])
def test_every_batch_keeps_within_them(strategy):
    out = np.arange(0, 60, 5)
    limits = {"exclude": out, "groups": SITES, "per_group": 2, "cost": COSTS, "max_cost": 12.0}
    _, batches = asked(strategy=strategy, select=limits)
    assert len(batches) == 4
    for rows in batches:
        assert len(rows) > 0
        assert not np.isin(rows, out).any()
        assert np.unique(SITES[rows], return_counts=True)[1].max() <= 2
        assert COSTS[rows].sum() <= 12


def test_limits_that_cannot_bind_change_nothing():
    _, free = asked()
    _, loose = asked(select={"groups": SITES, "per_group": 6, "cost": np.full(60, 3.0), "max_cost": 1e3})
    assert [rows.tolist() for rows in loose] == [rows.tolist() for rows in free]


def test_rows_that_may_not_be_asked_need_no_cost():
    out = np.arange(0, 60, 5)
    cost = np.where(np.isin(np.arange(60), out), np.nan, COSTS)
    _, batches = asked(select={"exclude": out, "cost": cost, "max_cost": 12.0})
    _, expected = asked(select={"exclude": out, "cost": COSTS, "max_cost": 12.0})
    assert [rows.tolist() for rows in batches] == [rows.tolist() for rows in expected]


def test_a_batch_is_smaller_where_groups_let_no_more_be_picked():
    _, batches = asked(select={"groups": SITES < "c", "per_group": 1})
    assert [len(rows) for rows in batches] == [2, 2, 2, 2]


def test_rows_that_may_not_be_asked_are_no_candidates():
    learner, batches = asked(batch=5, select={"exclude": np.arange(10, 60)})
    assert sorted(np.concatenate(batches)) == list(range(10))
    assert learner.stopped == "all rows of the pool have been asked"


def test_a_campaign_remembers_them(tmp_path):
    limits = {"groups": SITES, "per_group": 2}
    ft.ActiveLearner(POOL, oracle=LABELS, fit=FIT, batch=6, folder=tmp_path / "c", select=limits).run(
        rounds=1
    )
    again = ft.ActiveLearner(POOL, oracle=LABELS, fit=FIT, batch=6, folder=tmp_path / "c", select=limits)
    again.run(rounds=2).close()
    with pytest.raises(ValueError, match="groups"):
        ft.ActiveLearner(
            POOL,
            oracle=LABELS,
            fit=FIT,
            batch=6,
            folder=tmp_path / "c",
            select={**limits, "groups": SITES[::-1]},
        )


def test_what_is_refused_before_any_label_is_paid_for():
    with pytest.raises(ValueError, match=r"cost must have shape \(60,\)"):
        ft.ActiveLearner(POOL, oracle=LABELS, select={"cost": np.ones(3)})
    with pytest.raises(ValueError, match="per_group must be given with groups"):
        ft.ActiveLearner(POOL, oracle=LABELS, select={"groups": SITES})
    with pytest.raises(ValueError, match="exclude must hold row numbers from 0 to 59"):
        ft.ActiveLearner(POOL, oracle=LABELS, select={"exclude": [60]})
    with pytest.raises(ValueError, match="'cost' only with a strategy of `select`"):
        ft.ActiveLearner(POOL, oracle=LABELS, strategy=lambda *a, **k: None, select={"cost": COSTS})

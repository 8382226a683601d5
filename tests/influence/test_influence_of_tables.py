"""Everything that takes rows takes those of a table with columns of any kind, and gives what their inputs give."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fasttangent as ft
from fasttangent.sklearn import TangentRegressor

N = 60
RNG = np.random.default_rng(0)


def table(n, rng):
    return pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "age": np.where(rng.random(n) < 0.2, np.nan, rng.normal(40, 10, n)),
            "color": rng.choice(["red", "green", "blue"], n),
        }
    )


FRAME, POOL = table(N, RNG), table(150, RNG)
Y = (FRAME["size"] + (FRAME["color"] == "red") + FRAME["age"].fillna(40) / 20).to_numpy()
NEW = table(20, RNG)
MENDED = FRAME.iloc[:1].assign(size=FRAME["size"][0] + 0.1)
HOW = {"hidden": (4,), "strength": 1e-2, "dtype": "float64"}
KINDS = {
    "pandas": lambda f: f,
    "polars": pl.from_pandas,
    "arrow": lambda f: pa.Table.from_pandas(f, preserve_index=False),
}


@pytest.fixture(scope="module")
def model():
    return ft.fit(FRAME, Y, tangents=("strength", "posterior"), samples=16, **HOW)


CALLS = {
    "influence": lambda m, t: m.influence(t(POOL), np.zeros(150)),
    "posterior": lambda m, t: m.posterior(t(POOL), 4),
    "embed": lambda m, t: m.embed(t(POOL), "gradient", 8),
    "standard inputs": lambda m, t: m.standard_inputs("X", t(POOL)),
    "with_posterior": lambda m, t: m.with_posterior(t(FRAME), Y, samples=4).tangents["posterior"],
    "select": lambda m, t: ft.select(m, t(POOL), 5, labeled=t(FRAME)).indices,
    "targets": lambda m, t: ft.select(m, t(POOL), 5, strategy="variance", labeled=t(FRAME), targets=t(NEW)).indices,
    "exact": lambda m, t: ft.exact(m, t(FRAME), Y).influence_on_predictions(t(FRAME), Y, t(NEW)),
    "refit": lambda m, t: ft.refit(m, t(FRAME), Y, [ft.Change.add(t(NEW), np.zeros(20))]).complexity,
    "unlearn": lambda m, t: ft.unlearn(m, t(FRAME), Y, remove=[3, 4]).model.params,
    "correct": lambda m, t: ft.unlearn(m, t(FRAME), Y, correct=[0], new_X=t(MENDED)).model.params,
    "jackknife": lambda m, t: ft.jackknife(ft.exact(m, t(FRAME), Y), t(NEW)).prediction,
    "settle": lambda m, t: ft.settle(m, t(FRAME), Y, strength=2e-2).params,
    "head": lambda m, t: ft.learning_loss(m, t(FRAME), Y, epochs=3, fold_settings={"epochs": 5}).predict(t(POOL)),
    "batch": lambda m, t: m.score(t(POOL)).curiosity,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", CALLS)
def test_a_table_is_its_inputs(model, what, kind):
    found = CALLS[what](model, KINDS[kind])
    np.testing.assert_array_equal(found, CALLS[what](model, lambda frame: model.matrix("X", frame)))


def test_fits_of_tables():
    single = ft.fit(FRAME, Y, **HOW)
    fits = [{"X": make(FRAME), "y": Y, **HOW} for make in KINDS.values()]
    for one in ft.fit_many(fits):
        np.testing.assert_array_equal(one.params, single.params)
        assert one.columns == single.columns
    warm = ft.fit(FRAME, Y, start=single, epochs=1, **HOW)
    assert warm.certificate.trusted
    model, head = ft.fit_with_learning_loss(FRAME, Y, hidden=(4,), epochs=2)
    assert model.columns == single.columns
    assert head.predict(POOL).shape == (150,)


@pytest.mark.parametrize("kind", KINDS)
def test_a_campaign_over_a_table(kind, tmp_path):
    """A function gets rows of the table itself; the model of every round has the columns of the pool."""
    make = KINDS[kind]
    seen = []

    def oracle(rows):
        seen.append(type(rows))
        frame = rows if isinstance(rows, pd.DataFrame) else rows.to_pandas()
        return frame["size"].to_numpy() + (frame["color"] == "red").to_numpy()

    def begun():
        return ft.ActiveLearner(
            make(POOL), make(FRAME), Y, oracle=oracle, batch=5, budget=10, folder=tmp_path / "c", fit=HOW
        )

    learner = begun().run()
    assert set(seen) == {type(make(POOL))}
    assert learner.model.columns == ft.learn_columns(POOL)
    again = begun()
    assert list(again.campaign.state.labels) == list(learner.campaign.state.labels)
    np.testing.assert_array_equal(again.model.predict(POOL), learner.model.predict(POOL))


def test_an_array_oracle_and_a_test_set():
    labels = POOL["size"].to_numpy()
    learner = ft.ActiveLearner(
        POOL,
        oracle=labels,
        batch=20,
        budget=40,
        test=(NEW, NEW["size"]),
        fit={**HOW, "categorical": ["color"]},
    ).run()
    assert learner.stopped.startswith("the budget")
    assert "test_rmse" in learner.history[-1]


def test_the_estimator_takes_tables():
    one = TangentRegressor(**HOW).fit(FRAME, Y)
    np.testing.assert_array_equal(one.predict(POOL), ft.fit(FRAME, Y, **HOW).predict(POOL))
    assert list(one.feature_names_in_) == list(FRAME.columns)
    assert one.n_features_in_ == 3
    np.testing.assert_array_equal(one.predict(POOL[POOL.columns[::-1]]), one.predict(POOL))
    assert len(one.select(POOL, 4, labeled=FRAME)) == 4
    from sklearn.model_selection import cross_val_score

    assert len(cross_val_score(TangentRegressor(**HOW), FRAME, Y, cv=2)) == 2


def test_fidelity_of_a_table():
    report = ft.fidelity(
        table(70, RNG), RNG.normal(size=70), hidden=(2,), rows=40, candidates=20, refits=10, epochs=5
    )
    assert report.model.columns.inputs[-1] == "color=red"


def test_networks_elsewhere_take_the_inputs(model):
    torch = pytest.importorskip("torch")
    found = model.to_torch()(torch.from_numpy(model.matrix("X", POOL))).detach().numpy()[:, 0]
    np.testing.assert_allclose(found, model.predict(POOL), rtol=1e-9)
    there = model.to_sklearn()
    assert list(there.feature_names_in_) == list(model.input_names)
    frame = pd.DataFrame(model.matrix("X", POOL), columns=model.input_names)
    np.testing.assert_allclose(there.predict(frame), model.predict(POOL), rtol=1e-9)


def test_a_transform_of_inputs_goes_everywhere():
    rng = np.random.default_rng(1)
    frame = FRAME.assign(dose=rng.lognormal(0, 2, N))
    pool = POOL.assign(dose=rng.lognormal(0, 2, 150))
    model = ft.fit(frame, Y, transform="yeo-johnson", **HOW)
    assert model.columns[3].power
    one = TangentRegressor(input_transform="yeo-johnson", **HOW).fit(frame, Y)
    np.testing.assert_array_equal(one.predict(pool), model.predict(pool))
    learner = ft.ActiveLearner(
        pool, oracle=pool["size"], batch=20, budget=20, fit={**HOW, "transform": "yeo-johnson"}
    )
    assert learner.run().model.columns == ft.learn_columns(pool, transform="yeo-johnson")

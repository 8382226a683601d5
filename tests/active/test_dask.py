"""On Dask: the results of one machine to the bit, whatever partitions and workers, also where a worker is killed."""

import os
import pickle
import signal

import dask
import dask.array
import dask.dataframe
import numpy as np
import pandas
import pytest
from dask.delayed import delayed
from helpers.pools import compare_in_parts

import fasttangent as ft
from fasttangent.active import picking
from fasttangent.active.strategies.table import STRATEGIES
from fasttangent.dask import _packed

CHUNKS = [(3000,), (700, 700, 700, 700, 200), (5, 1990, 1, 1004)]  # of 3,000 rows


@pytest.fixture(scope="module")
def trained():
    """(model, rows with a label)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    return ft.fit(X, np.sin(X[:, 0]) + X[:, 1], hidden=(8,), epochs=20, strength=0.02), X


@pytest.fixture(scope="module")
def rows():
    found = np.random.default_rng(1).normal(size=(3000, 3))
    found[1200:1210] = found[:10]
    return found


@pytest.fixture
def in_parts(monkeypatch):
    compare_in_parts(monkeypatch, sample=50, part=256)


@pytest.fixture(autouse=True)
def _here():
    with dask.config.set(scheduler="synchronous"):
        yield


def collection(rows, chunks):
    return dask.array.from_array(rows, chunks=(chunks, 2))


# ---- scores ----


@pytest.mark.parametrize("chunks", CHUNKS)
def test_scores_of_an_array(chunks, trained, rows):
    model, _ = trained
    rows = rows.copy()
    rows[7, 1] = np.nan
    with pytest.warns(UserWarning, match="1 row holds"):
        expected = model.score(rows)
    for found, one in zip(ft.dask.score(collection(rows, chunks), model), expected, strict=True):
        assert found.dtype == one.dtype
        np.testing.assert_array_equal(found.compute(), one)


@pytest.mark.parametrize("outputs", [1, 2])
def test_scores_of_a_frame(outputs, rows):
    table = pandas.DataFrame(rows, columns=["a", "b", "c"], index=np.arange(3000) * 2)
    y = np.column_stack([np.sin(rows[:60, 0]), rows[:60, 1]])[:, :outputs]
    model = ft.fit(table[:60], y, hidden=(4,), epochs=5)
    found = ft.dask.score(dask.dataframe.from_pandas(table[["c", "a", "b"]], npartitions=4), model)
    assert found.npartitions == 4
    computed, expected = found.compute(), model.score(table)
    assert (computed.index == table.index).all()
    assert list(computed.dtypes) == list(found.dtypes)
    assert list(computed) == [
        "prediction_0",
        "prediction_1",
        "sensitivity_0",
        "sensitivity_1",
        "curiosity",
    ] or (outputs == 1)
    np.testing.assert_array_equal(
        computed.to_numpy(np.float64), np.column_stack([*expected]).astype(np.float64)
    )


# ---- picks ----


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_picks_are_those_of_one_machine(strategy, trained, rows):
    model, X = trained
    given = {"strategy": strategy, "labeled": X, "seed": 3}
    expected = ft.select(model, rows, 10, prefilter=None, **given)
    for chunks in CHUNKS:
        found = ft.dask.select(collection(rows, chunks), model, 10, **given)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.scores, expected.scores)
    thinned = ft.select(model, rows, 10, prefilter=500, **given)
    found = ft.dask.select(collection(rows, CHUNKS[2]), model, 10, prefilter=500, **given)
    np.testing.assert_array_equal(found.indices, thinned.indices)


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if STRATEGIES[s].parted is not None])
def test_picks_in_parts_are_those_of_one_machine(strategy, in_parts, trained, rows):
    model, X = trained
    given = {"strategy": strategy, "labeled": X}
    expected = ft.select(model, rows, 8, prefilter=None, **given)
    for chunks in CHUNKS:
        found = ft.dask.select(collection(rows, chunks), model, 8, **given)
        np.testing.assert_array_equal(found.indices, expected.indices)
        assert (found.passes, found.verified, found.shortfall) == (
            expected.passes,
            expected.verified,
            expected.shortfall,
        )
    twice = ft.dask.select(collection(rows, CHUNKS[1]), model, 8, verify=False, **given)
    np.testing.assert_array_equal(
        twice.indices, ft.select(model, rows, 8, prefilter=None, passes=2, **given).indices
    )


def test_limits_and_weights(in_parts, trained, rows):
    model, X = trained
    rng = np.random.default_rng(0)
    given = {
        "groups": rng.integers(0, 20, 3000),
        "per_group": 1,
        "cost": rng.uniform(1, 2, 3000),
        "max_cost": 12,
    }
    given |= {"exclude": np.arange(100), "labeled": X}
    for strategy in ("error", "kcenter", "top", "sample"):
        weight = rng.exponential(size=3000)
        more = given | {"strategy": strategy, "weight": weight}
        expected = ft.select(model, rows, 10, prefilter=None, **more)
        found = ft.dask.select(collection(rows, CHUNKS[1]), model, 10, **more)
        np.testing.assert_array_equal(found.indices, expected.indices)
        assert found.cost == expected.cost


def test_frames_are_read_by_names(trained, rows):
    _, X = trained
    names = ["a", "b", "c"]
    model = ft.fit(pandas.DataFrame(X, columns=names), X[:, 0], hidden=(4,), epochs=5)
    table = pandas.DataFrame(rows, columns=names)
    expected = ft.select(model, table, 5, strategy="top")
    found = ft.dask.select(
        dask.dataframe.from_pandas(table[["b", "c", "a"]], npartitions=3), model, 5, strategy="top"
    )
    np.testing.assert_array_equal(found.indices, expected.indices)


def test_partitions_without_rows_and_columns_of_words(trained, rows):
    _, X = trained
    table = pandas.DataFrame(rows[:900], columns=["a", "b", "c"])
    table.iloc[:300, 0] = -9
    table["d"] = np.random.default_rng(0).choice(["red", "blue"], 900)
    labelled = pandas.DataFrame(X, columns=["a", "b", "c"]).assign(d=["red", "blue"] * 30)
    model = ft.fit(labelled, X[:, 0], hidden=(4,), epochs=5)
    frame = dask.dataframe.from_pandas(table, npartitions=3)
    left, kept = frame[frame.a > -5], table[table.a > -5]
    for strategy in ("kcenter", "random"):
        found = ft.dask.select(left, model, 5, strategy=strategy)
        expected = ft.select(model, kept, 5, strategy=strategy, prefilter=None)
        np.testing.assert_array_equal(found.indices, expected.indices)
    scores = ft.dask.score(left, model).compute()
    np.testing.assert_array_equal(scores.prediction, model.predict(kept))
    assert (scores.index == kept.index).all()


def test_passes_are_sent_without_the_model(trained):
    _, X = trained
    large = ft.fit(X, X[:, 0], hidden=(64, 64), epochs=1, settle=False)
    data, models = _packed((lambda: large, large, X))
    assert models == [large]
    assert len(data) < 5000 < len(pickle.dumps(large.params))


def test_refusals(trained, rows):
    model, _ = trained
    with pytest.raises(TypeError, match="rows must be a Dask DataFrame or Array, got ndarray"):
        ft.dask.select(rows, model, 5)
    with pytest.raises(ValueError, match="did you mean 'maxdet'"):
        ft.dask.select(collection(rows, 700), model, 5, strategy="maxdets")
    with pytest.raises(ValueError, match="k must be at most the 3000 rows of the pool, got 3001"):
        ft.dask.select(collection(rows, 700), model, 3001, strategy="random")


# ---- fits ----


def test_arrays_that_fits_share_are_sent_once(trained, monkeypatch):
    _, X = trained
    sent, y, original = [], X[:, 0].copy(), ft.dask._shared
    monkeypatch.setattr(ft.dask, "_shared", lambda value: sent.append(value) or original(value))
    fits = [{"X": X, "y": y, "hidden": (2,), "epochs": 1, "settle": False, "seed": seed} for seed in range(3)]
    assert len(ft.dask.fit_many(fits)) == 3
    assert [one is other for one, other in zip(sent, (X, y), strict=True)] == [True, True]


def test_fits_are_those_of_one_machine(trained):
    _, X = trained
    fits = [{"X": X, "y": X[:, 0], "hidden": (4,), "epochs": 5, "seed": seed} for seed in range(3)]
    for found, expected in zip(ft.dask.fit_many(fits), ft.fit_many(fits), strict=True):
        np.testing.assert_array_equal(found.params, expected.params)
    with pytest.raises(ValueError, match="strength must be") as caught:
        ft.dask.fit_many([fits[0], fits[1] | {"strength": -1.0}, fits[2]])
    assert [model is None for model in caught.value.models] == [False, True, False]


# ---- processes ----


def part(i, folder, kills):
    """Rows of a partition; the worker that is the last of so many to ask for one is killed."""
    asked = len(os.listdir(folder))
    with open(os.path.join(folder, f"{os.getpid()}-{asked}-{i}"), "w"):
        pass
    if asked in kills and not os.path.exists(folder + f"-killed-{asked}"):
        with open(folder + f"-killed-{asked}", "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return np.random.default_rng(i).normal(size=(6000, 3))


def pool_of(folder, n, kills=()):
    os.makedirs(folder, exist_ok=True)
    blocks = [
        dask.array.from_delayed(delayed(part)(i, str(folder), kills), (6000, 3), np.float64) for i in range(n)
    ]
    return dask.array.concatenate(blocks)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_processes_and_one_that_is_killed(trained, tmp_path, monkeypatch):
    from distributed import Client, LocalCluster

    monkeypatch.setattr(picking, "WHOLE", 0)
    model, X = trained
    rows = np.concatenate([np.random.default_rng(i).normal(size=(6000, 3)) for i in range(6)])
    expected = {
        s: ft.select(model, rows, 10, strategy=s, labeled=X, prefilter=None)
        for s in ("error", "kcenter", "sample")
    }
    scores = model.score(rows)
    fits = [{"X": X, "y": X[:, 0], "hidden": (4,), "epochs": 5, "seed": seed} for seed in range(3)]
    with (
        dask.config.set(scheduler=None),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
    ):
        for strategy, one in expected.items():
            found = ft.dask.select(pool_of(tmp_path / "p", 6), model, 10, strategy=strategy, labeled=X)
            np.testing.assert_array_equal(found.indices, one.indices)
            assert found.verified
        for a, b in zip(ft.dask.score(pool_of(tmp_path / "s", 6), model), scores, strict=True):
            np.testing.assert_array_equal(a.compute(), b)
        for a, b in zip(ft.dask.fit_many(fits), ft.fit_many(fits), strict=True):
            np.testing.assert_array_equal(a.params, b.params)
        folder = tmp_path / "k"
        found = ft.dask.select(pool_of(folder, 6, kills=(9, 20)), model, 10, strategy="error", labeled=X)
        np.testing.assert_array_equal(found.indices, expected["error"].indices)
        assert len({name.split("-")[0] for name in os.listdir(folder)}) > 2  # processes that took part
        assert (tmp_path / "k-killed-9").exists()
        assert (tmp_path / "k-killed-20").exists()

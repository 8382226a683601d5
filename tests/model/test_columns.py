"""Columns of any kind: what is learned of them, in whatever library, kept with the model, read by parts."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import fasttangent as ft
from fasttangent.common import learned_columns
from fasttangent.common.encoded import encoded
from fasttangent.model import saving

N = 120
HOW = {"hidden": (4,), "strength": 1e-2, "tangents": ("strength", "posterior"), "samples": 8}


def table(n=N, seed=0):
    rng = np.random.default_rng(seed)
    when = np.datetime64("2026-01-01T00:00", "us") + rng.integers(0, 10**13, n)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "age": np.where(rng.random(n) < 0.2, np.nan, rng.normal(40, 10, n)),
            "color": np.where(rng.random(n) < 0.1, None, rng.choice(["red", "green", "blue"], n)),
            "ok": rng.random(n) < 0.3,
            "when": when,
            "took": (when - when[0]) / 7,
            "answer": rng.choice(["yes", "No", "TRUE"], n),
            "zip": rng.choice([9, 10, 100], n),
        }
    )
    return frame.astype({"color": object})


def target(frame):
    return (frame["size"] + (frame["color"] == "red") + frame["age"].fillna(40) / 20 + frame["ok"]).to_numpy()


FRAME, POOL = table(), table(200, 1)
Y = target(FRAME)

TEXT = "str" if int(pd.__version__.split(".")[0]) > 2 else "string"  # of pandas 2 the first makes None a word

FRAMES = {
    "text": lambda f: f.astype(dict.fromkeys(["color", "answer"], TEXT)),
    "categories": lambda f: f.astype({"color": "category", "answer": "category", "zip": "category"}),
    "nullable": lambda f: f.convert_dtypes(),
    "pandas arrow": lambda f: f.convert_dtypes(dtype_backend="pyarrow"),
    "zoned": lambda f: f.assign(when=f["when"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")),
    "any order": lambda f: f[f.columns[::-1]],
    "polars": pl.from_pandas,
    "polars categories": lambda f: pl.from_pandas(f).with_columns(
        pl.col("color").cast(pl.Categorical), pl.col("answer").cast(pl.Enum(["TRUE", "No", "yes"]))
    ),
    "arrow": lambda f: pa.Table.from_pandas(f, preserve_index=False),
    "batch": lambda f: pa.RecordBatch.from_pandas(f, preserve_index=False),
    "arrow dictionaries": lambda f: pa.Table.from_pandas(FRAMES["categories"](f), preserve_index=False),
    "arrow pieces": lambda f: pa.concat_tables(
        [pa.Table.from_pandas(FRAMES["categories"](f.iloc[part]), preserve_index=False)
         for part in (slice(0, 7), slice(7, None))]
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return ft.fit(FRAME, Y, categorical=["zip"], **HOW)


def test_what_is_made_of_each_column(model):
    assert [one.kind for one in model.columns] == [
        "number", "number", "category", "bool", "moment", "duration", "bool", "category"
    ]  # fmt: skip
    assert model.input_names == (
        "size", "age", "age missing", "color=blue", "color=green", "color=red", "color missing", "ok", "when",
        "took", "answer", "zip=9", "zip=10", "zip=100",
    )  # fmt: skip
    assert model.n_features == 14
    assert model.feature_names == tuple(FRAME.columns)
    lines = repr(model.columns).splitlines()
    assert lines[2].split()[:3] == ["age", "number", "2"]
    assert "missing; mean" in lines[2]


def by_hand(frame, of):
    days = {name: frame[name].to_numpy().astype("M8[us]" if name == "when" else "m8[us]").astype(np.int64) / 864e8
            for name in ("when", "took")}  # fmt: skip
    made = [frame["size"], frame["age"].fillna(of["age"].mean), frame["age"].isna()]
    made += [frame["color"] == color for color in ("blue", "green", "red")] + [frame["color"].isna()]
    made += [frame["ok"], days["when"] - of["when"].mean, days["took"], frame["answer"] != "No"]
    made += [frame["zip"] == number for number in (9, 10, 100)]
    return np.column_stack([np.asarray(one, np.float64) for one in made])


def test_a_fit_is_that_of_what_is_encoded_by_hand(model):
    of = {one.name: one for one in model.columns}
    assert of["age"].mean == pytest.approx(FRAME["age"].mean(), rel=1e-14)
    X, pool = by_hand(FRAME, of), by_hand(POOL, of)
    np.testing.assert_array_equal(model.matrix("X", POOL), pool)
    plain = ft.fit(X, Y, **HOW)
    np.testing.assert_array_equal(plain.params, model.params)
    np.testing.assert_array_equal(plain.tangents["strength"], model.tangents["strength"])
    for of_table, of_array in ((POOL, pool), (pool, pool)):
        np.testing.assert_array_equal(model.curiosity(of_table), plain.curiosity(of_array))
        for a, b in zip(
            model.predict(of_table, return_std=True), plain.predict(of_array, return_std=True), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    again = ft.fit(X, Y, columns=model.columns, **{**HOW, "strength": "auto"})
    np.testing.assert_array_equal(
        again.params, ft.fit(FRAME, Y, categorical=["zip"], **{**HOW, "strength": "auto"}).params
    )


@pytest.mark.parametrize("kind", FRAMES)
def test_every_library_gives_the_same_bits(model, kind):
    np.testing.assert_array_equal(model.matrix("X", FRAMES[kind](POOL)), model.matrix("X", POOL))
    np.testing.assert_array_equal(model.sensitivity(FRAMES[kind](POOL)), model.sensitivity(POOL))
    if kind != "any order":
        there = ft.fit(FRAMES[kind](FRAME), Y, categorical=["zip"], **HOW)
        assert there.columns == model.columns
        np.testing.assert_array_equal(there.params, model.params)


def test_what_is_learned_does_not_depend_on_the_order_of_rows():
    order = np.random.default_rng(2).permutation(N)
    first, other = ft.learn_columns(FRAME), ft.learn_columns(FRAME.iloc[order])
    assert first.inputs == other.inputs
    for a, b in zip(first, other, strict=True):
        assert a.levels == b.levels
        assert a.mean == pytest.approx(b.mean, rel=1e-12)
        np.testing.assert_allclose(a.shares, b.shares, rtol=1e-12)


def test_a_weight_counts_rows():
    w = np.random.default_rng(3).integers(0, 3, N).astype(float)
    w[FRAME["color"] == "green"] = 0
    weighted, repeated = (
        ft.learn_columns(FRAME, sample_weight=w), ft.learn_columns(FRAME.loc[FRAME.index.repeat(w.astype(int))])
    )  # fmt: skip
    assert weighted.inputs == repeated.inputs
    assert "color=green" not in weighted.inputs
    for a, b in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose([a.mean, a.missing, *a.shares], [b.mean, b.missing, *b.shares], rtol=1e-12)


@pytest.mark.parametrize("kind", ["text", "categories", "polars", "arrow", "arrow pieces"])
def test_parts_are_encoded_as_the_whole(model, kind):
    rows = encoded("X", FRAMES[kind](POOL), model.columns)
    whole = model.matrix("X", POOL)
    for size in (1, 7, 199, 200):
        parts = [rows[start : start + size] for start in range(0, 200, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(rows[np.array([5, 3, 150])], whole[[5, 3, 150]])
    np.testing.assert_array_equal(rows[11], whole[11])


def strange():
    frame = POOL.copy()
    frame.loc[[3, 5], "color"] = "violet"
    frame.loc[[7], "zip"] = 8
    frame.loc[[2, 9, 10], "size"] = np.nan
    frame["ok"] = frame["ok"].astype("boolean")
    frame.loc[[4], "ok"] = None
    return frame


@pytest.mark.parametrize("kind", ["nullable", "polars", "arrow"])
def test_what_training_had_not_is_told_in_one_warning(model, kind):
    """With a meaning: no level, and the mean."""
    words = (
        "X has cells like none in training: 2 of a new level in column 'color', 1 missing in column 'ok', 3 missing in "
        "column 'size', 1 of a new level in column 'zip'"
    )
    for call in (model.predict, model.curiosity, model.embed, lambda X: model.score(X).curiosity):
        with pytest.warns(UserWarning, match=words) as told:
            found = call(FRAMES[kind](strange()))
        assert len(told) == 1
    X = model.matrix("X", POOL)
    X[np.ix_([3, 5], [3, 4, 5, 6])] = 0
    X[7, 11:] = 0
    X[[2, 9, 10], 0] = model.columns[0].mean
    X[4, 7] = model.columns[3].mean
    np.testing.assert_array_equal(found, model.curiosity(X))


def test_many_levels_have_codes_and_a_new_one_has_none():
    rng = np.random.default_rng(0)
    level = rng.integers(0, 100, 400)
    frame = pd.DataFrame({"x": rng.normal(size=400), "site": [f"s{i}" for i in level]})
    columns = ft.learn_columns(frame)
    site = columns[1]
    assert len(site.levels) == len(set(level)) > learned_columns.MOST_LEVELS
    assert site.inputs[-1] == "site code 31"
    assert list(site.levels) == sorted(site.levels)
    assert sum(site.shares) == pytest.approx(1)
    model = ft.fit(frame, frame["x"], columns=columns, hidden=(2,), strength=1e-2)
    X = model.matrix("X", frame)[:, 1:]
    assert set(X.ravel()) == {-1, 1}
    np.testing.assert_array_equal(len(np.unique(X, axis=0)), len(site.levels))
    for make in (pl.from_pandas, pa.Table.from_pandas, lambda f: f.astype({"site": "category"})):
        np.testing.assert_array_equal(model.matrix("X", make(frame))[:, 1:], X)
    with pytest.warns(UserWarning, match="1 of a new level in column 'site'"):
        new = model.matrix("X", pd.DataFrame({"x": [0.0, 0.0], "site": ["never", "s7"]}))
    assert (new[0, 1:] == 0).all()
    from hashlib import blake2b

    bits = np.unpackbits(np.frombuffer(blake2b(b"s7", digest_size=4).digest(), np.uint8), bitorder="little")
    np.testing.assert_array_equal(new[1, 1:], 2.0 * bits - 1)


def test_at_most_so_many_levels_are_known(monkeypatch):
    monkeypatch.setattr(learned_columns, "MOST_KNOWN", 70)
    names = [f"s{i}" for i in range(80) for _ in range(1 + i % 3)]
    site = ft.learn_columns(pd.DataFrame({"x": np.arange(len(names)), "site": names}))[1]
    assert len(site.levels) == 70
    assert "s2" in site.levels
    assert "s0" in site.levels
    assert "s78" not in site.levels


def test_names_of_rows_and_columns_without_values_are_left_out_with_a_warning():
    frame = FRAME.assign(id=[f"row {i}" for i in range(N)], none=None, gone=np.nan)
    with pytest.warns(
        UserWarning,
        match="3 of 11 columns that are left out: 'id' .text that is another in every row.*, 'none' .no value",
    ) as told:
        model = ft.fit(frame, Y, **HOW)
    assert len(told) == 1
    assert model.feature_names == tuple(FRAME.columns)
    assert [one.kind for one in model.columns][-3:] == ["left out"] * 3
    np.testing.assert_array_equal(model.params, ft.fit(FRAME, Y, **HOW).params)
    np.testing.assert_array_equal(model.predict(frame), model.predict(FRAME))  # and says nothing of them


def test_gaps_are_masked_values():
    pair = ["size", "age"]
    X = FRAME[pair].to_numpy()
    masked = np.ma.masked_invalid(np.where(np.isnan(X), 1e300, X))
    masked[np.isnan(X)] = np.ma.masked
    model, of_frame = ft.fit(masked, Y, **HOW), ft.fit(FRAME[pair], Y, **HOW)
    np.testing.assert_array_equal(model.params, of_frame.params)
    assert model.columns.inputs == ("x0", "x1", "x1 missing")
    np.testing.assert_array_equal(model.predict(masked), of_frame.predict(FRAME[pair]))
    np.testing.assert_array_equal(model.predict(X), of_frame.predict(X))
    np.testing.assert_array_equal(model.predict(model.matrix("X", masked)), model.predict(X))


def test_gaps_of_an_array_stay_an_error():
    X = FRAME[["size", "age"]].to_numpy()
    with pytest.raises(ValueError, match="X must be finite, got nan in row"):
        ft.fit(X, Y, **HOW)


def test_a_frame_of_numbers_is_what_it_was():
    """Its bits, its float32, and a file that older versions read."""
    frame = FRAME[["size", "ok"]].astype({"size": np.float32})
    model = ft.fit(frame, Y, **HOW)
    np.testing.assert_array_equal(model.params, ft.fit(frame.to_numpy(np.float64), Y, **HOW).params)
    assert model.matrix("X", FRAME[["size"]].assign(ok=1.0).astype(np.float32)).dtype == np.float32
    gap = frame.copy()
    gap.loc[3, "size"] = np.nan
    with pytest.warns(UserWarning, match="1 missing in column 'size'"):
        found = model.predict(gap)
    filled = frame.astype(np.float64)
    filled.loc[3, "size"] = model.columns[0].mean
    np.testing.assert_array_equal(found, model.predict(filled.to_numpy()))


def test_a_file_keeps_what_was_learned(model, tmp_path):
    path = tmp_path / "m.npz"
    model.save(path)
    again = ft.load(path)
    assert again.columns == model.columns
    assert again.objective == model.objective
    assert again.strengths == model.strengths
    np.testing.assert_array_equal(again.curiosity(pl.from_pandas(POOL)), model.curiosity(POOL))
    header = header_of(path)
    assert header["format"] == saving.ENCODED == 5
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)
    plain = tmp_path / "plain.npz"
    ft.fit(FRAME[["size", "ok"]], Y, **HOW).save(plain)
    assert header_of(plain)["format"] == 3
    assert "of_inputs" not in header_of(plain)["objective"]
    assert ft.load(plain).columns.names == ("size", "ok")


def header_of(path):
    with np.load(path, allow_pickle=False) as archive:
        return json.loads(archive[saving.HEADER].tobytes())


WRONG = {
    "a kind": (lambda c: c["each"][0].update(kind="pickle"), "'kind' of columns"),
    "a level twice": (lambda c: c["each"][2]["levels"].append("red"), "'levels' of columns"),
    "no levels": (lambda c: c["each"][2].update(levels=[]), "must have levels"),
    "levels of a number": (lambda c: c["each"][0].update(levels=["a"]), "must have no levels"),
    "a field": (lambda c: c["each"][0].update(run="x"), "must have no field but"),
    "a mean": (lambda c: c["each"][1].update(mean=float("nan")), "'mean' of columns"),
    "a share": (lambda c: c["each"][1].update(missing=2.0), "'missing' of columns"),
    "no gaps": (lambda c: c["each"][1].update(missing=0.0), "'columns' must make 14 inputs, got 13"),
    "other names": (lambda c: c["each"][0].update(name="other"), "'feature_names' must be those of the columns"),
    "a name twice": (lambda c: c["each"][0].update(name="age"), "the names of columns"),
    "one column": (lambda c: c.update(each=c["each"][:1]), "must be 5 where columns are encoded"),
    "none": (lambda c: c.update(each=[]), "'each' of columns"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_changed_file_is_refused(model, tmp_path, what):
    change, words = WRONG[what]
    path = tmp_path / "m.npz"
    model.save(path)
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    header = json.loads(arrays[saving.HEADER].tobytes())
    change(header["columns"])
    arrays[saving.HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(ft.ModelFileError, match=words):
        ft.load(path)


def test_a_column_has_one_strength():
    model = ft.fit(FRAME, Y, hidden=(4,), categorical=["zip"], tangents=("strength", "groups"))
    assert list(model.strengths) == [*FRAME.columns, "biases 1", "weights 2", "biases 2"]
    s = model.sensitivity(POOL, group="color")
    assert s.shape == (200,)
    of = model.tangents["groups"]
    ratios = np.array(model.objective.ratios)
    np.testing.assert_allclose(ratios @ of, model.tangents["strength"], rtol=1e-6, atol=1e-9)
    W = model.network.layout.weights(model.objective.mask(model.network), 0)
    assert (W[3:7] == W[3]).all()
    with pytest.raises(
        ValueError, match="strength must have a number for each group and no more, 'size', 'age'"
    ):
        ft.fit(FRAME, Y, **{**HOW, "strength": {"size": 1.0}})


def test_one_strength_does_not_depend_on_how_columns_are_grouped():
    model = ft.fit(FRAME, Y, categorical=["zip"], **HOW)
    ungrouped = replace(model.objective, of_inputs=())
    np.testing.assert_array_equal(model.objective.mask(model.network), ungrouped.mask(model.network))


REFUSED = {
    "a missing column": (lambda: POOL.drop(columns="color"), "X lacks 1 of the 8 columns .* 'color'"),
    "text for a number": (lambda: POOL.assign(size="u"), "column 'size', must hold numbers, got String"),
    "a moment for a number": (lambda: POOL.assign(size=POOL["when"]), "column 'size', must hold a number as in"),
    "a number for a moment": (lambda: POOL.assign(when=1.0), "column 'when', must hold a moment as in training"),
    "an array of the columns": (lambda: POOL.to_numpy(), "X must hold numbers"),
    "an array of too few": (lambda: np.zeros((3, 8)), "has 8 columns but the model was fitted on 14 inputs, made of 8"),
    "lazy": (lambda: pl.from_pandas(POOL).lazy(), r"got LazyFrame; collect\(\) it first"),
    "infinite": (lambda: POOL.assign(size=np.inf), "X must be finite, got inf in row 0"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.filterwarnings("ignore:Determining the column names of a LazyFrame")
def test_what_is_no_such_table_is_refused(model, what):
    make, words = REFUSED[what]
    with pytest.raises((ValueError, TypeError), match=words):
        model.predict(make())


UNFIT = {
    "nothing left": (lambda: (FRAME[[]].assign(a=None), {}), "X must have a column to learn from, got none"),
    "a category that is none": (lambda: (FRAME, {"categorical": ["zap"]}), "must be one of .*did you mean 'zip'"),
    "categories as text": (lambda: (FRAME, {"categorical": "zip"}), "categorical must be a sequence of names"),
    "categories of an array": (lambda: (np.zeros((N, 2)), {"categorical": ["x0"]}), "categorical needs the columns"),
    "names too few": (lambda: (FRAME, {"feature_names": ["a"]}), "feature_names must have 8 names"),
}  # fmt: skip


@pytest.mark.parametrize("what", UNFIT)
@pytest.mark.filterwarnings("ignore:X has 1 of 1 columns")
def test_fit_refuses(what):
    X, more = UNFIT[what][0]()
    with pytest.raises((ValueError, TypeError), match=UNFIT[what][1]):
        ft.fit(X, Y, **HOW, **more)


def test_objects_of_one_kind_are_read():
    import datetime
    import decimal

    frame = pd.DataFrame(
        {
            "size": FRAME["size"],
            "price": [decimal.Decimal(i) for i in range(N)],
            "day": [datetime.date(2026, 1, 1) + datetime.timedelta(i) for i in range(N - 1)] + [None],
            "flag": [True, None, False] * (N // 3),
        }
    ).astype({"flag": object})
    columns = ft.learn_columns(frame)
    assert [one.kind for one in columns] == ["number", "number", "moment", "bool"]
    model = ft.fit(frame, FRAME["size"], columns=columns, **HOW)
    X = model.matrix("X", frame)
    np.testing.assert_array_equal(np.diff(X[:-1, 2]), 1)
    np.testing.assert_array_equal(X[:3, -2:], [[1, 0], [columns[3].mean, 1], [0, 0]])


def test_several_members_read_a_table_once():
    several = ft.fit(FRAME, Y, members=2, categorical=["zip"], **HOW)
    assert several.columns == several.models[1].columns
    with pytest.warns(UserWarning, match="cells like none in training") as told:
        found = several.predict(strange())
    assert len(told) == 1
    with pytest.warns(UserWarning, match="cells like none"):
        X = several.matrix("X", strange())
    np.testing.assert_array_equal(found, several.predict(X))
    assert several.embed(POOL).shape == (200, 8)


def test_batches_of_a_stream_are_read_alike_and_warned_of_once(model):
    whole = pa.Table.from_pandas(strange(), preserve_index=False).append_column(
        "id", pa.array(np.arange(200))
    )
    with pytest.warns(UserWarning, match="batches has cells like none in training: 2 of a new level") as told:
        parts = list(model.score_batches(whole.to_batches(max_chunksize=7), keep=["id"]))
    assert len(told) == 1
    with pytest.warns(UserWarning, match="cells like none"):
        X = model.matrix("X", strange())
    np.testing.assert_array_equal(pa.Table.from_batches(parts)["curiosity"], model.curiosity(X))


def test_only_a_column_that_is_constant_is_told_of_not_a_level_that_no_row_has(recwarn):
    columns = ft.learn_columns(FRAME)
    red = FRAME[FRAME["color"] != "blue"]
    model = ft.fit(red, target(red), columns=columns, **HOW)
    assert not recwarn.list
    assert np.isinf(model.scaling.x_scale[3])
    with pytest.warns(UserWarning, match=r"X is constant in column 'color' \(1 of 8\)"):
        ft.fit(FRAME[FRAME["color"] == "red"], target(FRAME[FRAME["color"] == "red"]), columns=columns, **HOW)


@pytest.mark.parametrize("kind", ["text", "categories", "polars", "arrow", "arrow pieces"])
def test_scores_do_not_depend_on_chunks_or_threads(model, kind):
    rows = np.random.default_rng(5).integers(0, 200, 40_000)
    pool, X = FRAMES[kind](POOL.iloc[rows].reset_index(drop=True)), model.matrix("X", POOL)
    for threads in (1, 3):
        np.testing.assert_array_equal(model.curiosity(pool, threads=threads), model.curiosity(X)[rows])
        np.testing.assert_array_equal(model.score(pool, threads=threads).prediction, model.predict(X)[rows])


@pytest.mark.parametrize("kind", ["text", "categories", "polars", "arrow", "arrow pieces"])
def test_any_rows_are_encoded_alike(model, kind):
    rows = encoded("X", FRAMES[kind](POOL), model.columns)
    every = rows[:]
    for some in (np.arange(200) % 3 == 0, np.array([-1, 7, 7]), [4, 0], slice(None, None, -7), slice(9, 3)):
        np.testing.assert_array_equal(rows[some], every[some])


def test_objects_of_two_kinds_are_found_anywhere():
    for frame in (FRAME, pd.concat([FRAME] * 3, ignore_index=True)):
        mixed = frame.assign(color=[*["red"] * (len(frame) - 2), 3, 4.5])
        with pytest.raises(TypeError, match=r"column 'color', must hold .* got objects of str and int"):
            ft.learn_columns(mixed)


def test_rows_without_weight_are_not_told_of(recwarn):
    w = (FRAME["color"] != "red").to_numpy(float)
    model = ft.fit(FRAME, Y, sample_weight=w, **HOW)
    assert "color=red" not in model.input_names
    assert not recwarn.list


def test_a_warm_start_keeps_the_columns():
    first = ft.fit(FRAME, Y, **HOW)
    more = pd.concat([FRAME, POOL.iloc[:40].assign(color="violet")], ignore_index=True)
    with pytest.warns(UserWarning, match="40 of a new level in column 'color'"):
        second = ft.fit(more, target(more), start=first, **HOW)
    assert second.columns == first.columns
    other = FRAME.replace({"color": {"red": "rot"}})
    with pytest.raises(ValueError, match="start must be a model of the same columns"):
        ft.fit(other, Y, start=first, columns=ft.learn_columns(other), **HOW)


def test_columns_that_are_none_are_refused(model):
    with pytest.raises(
        TypeError, match="columns must be what learn_columns returns or a model has, got list"
    ):
        ft.fit(FRAME, Y, columns=["size"], **HOW)
    with pytest.raises(ValueError, match="categorical must be left out where columns are given"):
        ft.fit(FRAME, Y, columns=model.columns, categorical=["zip"], **HOW)


def test_without_narwhals_inputs_that_are_encoded_are_scored(model, tmp_path, monkeypatch):
    import sys

    X, wanted = model.matrix("X", POOL), model.curiosity(POOL)
    model.save(tmp_path / "m.npz")
    monkeypatch.setitem(sys.modules, "narwhals.stable.v1", None)
    again = ft.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(again.curiosity(X), wanted)
    with pytest.raises(TypeError, match=r"needs narwhals .*pip install 'fasttangent\[frames\]'"):
        again.curiosity(POOL)


def test_a_column_is_hardly_used_if_none_of_its_inputs_is():
    frame = FRAME.assign(noise=np.random.default_rng(3).choice(["a", "b"], N))[["size", "color", "noise"]]
    model = ft.fit(frame, Y, hidden=(4,))
    assert model.summary()["hardly_used"] == ["noise"]


def heavy(n, seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"dose": rng.lognormal(0, 2, n), "x": rng.normal(size=n), "color": rng.choice(["a", "b"], n)}
    )
    frame.loc[rng.random(n) < 0.1, "dose"] = np.nan
    return frame


def test_heavy_tails_are_transformed_where_they_are():
    frame = heavy(300, 0)
    model = ft.fit(frame, frame["x"], transform="yeo-johnson", **HOW)
    dose, x, _ = model.columns
    assert dose.power
    assert not x.power
    assert "power" in dose.said
    X = model.matrix("X", frame)
    there = frame["dose"].notna().to_numpy()
    seen = X[there, 0]
    assert abs(np.mean(((seen - seen.mean()) / seen.std()) ** 3)) < 0.5 < 3 < frame["dose"].skew()
    order = np.argsort(frame["dose"][there])
    assert (np.diff(seen[order]) > 0).all()
    np.testing.assert_allclose(X[~there, 0], seen.mean(), rtol=1e-12)
    plain = ft.fit(X, frame["x"], **HOW)
    np.testing.assert_array_equal(plain.params, model.params)
    for make in (pl.from_pandas, pa.Table.from_pandas):
        np.testing.assert_array_equal(model.curiosity(make(heavy(100, 1))), model.curiosity(heavy(100, 1)))


def test_a_transform_is_kept_in_a_file_and_checked(tmp_path):
    frame = heavy(300, 0)
    model = ft.fit(frame[["dose", "x"]], frame["x"], transform="yeo-johnson", **HOW)
    model.save(tmp_path / "m.npz")
    again = ft.load(tmp_path / "m.npz")
    assert again.columns == model.columns
    frame = frame[["x", "dose"]]
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))


@pytest.mark.parametrize("power", [-2.0, 0.0, 0.5, 1.0, 2.0, 4.0])
def test_the_derivative_of_a_transform(power):
    from fasttangent.common import powers

    how, x = powers.Power(power, 1.5, 2.0), np.linspace(-9, 9, 41) + 0.01
    h = 1e-6
    central = (powers.transformed(x + h, how) - powers.transformed(x - h, how)) / (2 * h)
    np.testing.assert_allclose(powers.slopes(x, how), central, rtol=1e-6, atol=1e-9)
    assert np.isnan(powers.transformed(np.array([np.nan]), how)).all()
    if power == 1:
        np.testing.assert_allclose(powers.transformed(x, how), (x - 1.5) / 2, rtol=1e-12)


def test_a_transform_does_not_depend_on_units():
    frame = heavy(300, 0)
    for unit in (1e-150, 1e150):
        a, b = (
            ft.learn_columns(f, transform="yeo-johnson")[0]
            for f in (frame, frame.assign(dose=frame["dose"] * unit))
        )
        assert a.power[0] == pytest.approx(b.power[0], abs=1e-3)


def test_a_transform_wants_a_frame():
    with pytest.raises(ValueError, match="transform needs the columns of a data frame"):
        ft.fit(np.zeros((4, 2)), np.arange(4.0), transform="yeo-johnson")
    with pytest.raises(ValueError, match="transform must be one of 'yeo-johnson', got 'log'"):
        ft.fit(FRAME, Y, transform="log")

"""Streams of Arrow record batches: scores of the same rows to the bit, whatever the batches, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest

import fasttangent as ft

NAMES = ("speed", "height", "mass")


@pytest.fixture(scope="module")
def named(data):
    return ft.fit(*data, hidden=(5,), epochs=20, strength=0.02, feature_names=NAMES)


@pytest.fixture(scope="module")
def members(data):
    return ft.fit(*data, hidden=(5,), epochs=20, strength=0.02, feature_names=NAMES, members=3)


@pytest.fixture
def rows():
    return np.random.default_rng(8).normal(size=(1001, 3)) * [1.0, 20.0, 0.03] + [0.0, 5.0, -1.0]


def table(rows, names=NAMES, **more):
    return pa.table({**{name: rows[:, i] for i, name in enumerate(names)}, **more})


def joined(batches):
    return pa.Table.from_batches(list(batches)).to_pydict()


def same(found, name, values):
    assert np.asarray(found[name], values.dtype).tobytes() == np.ascontiguousarray(values).tobytes(), name


@pytest.mark.parametrize("size", [1, 7, 1000, 5000])
@pytest.mark.parametrize("which", ["named", "members"])
def test_scores_do_not_depend_on_batches(request, which, size, rows):
    model, ids = request.getfixturevalue(which), [f"r{i}" for i in range(len(rows))]
    whole = table(rows, id=ids, other=np.zeros(len(rows)))
    batches = whole.select(["other", "mass", "id", "height", "speed"]).to_batches(max_chunksize=size)
    found = joined(model.score_batches(iter(batches), keep=["id"]))
    assert list(found) == ["id", "prediction", "sensitivity", "curiosity"]
    assert found["id"] == ids
    same(found, "prediction", model.predict(rows))
    same(found, "sensitivity", model.sensitivity(rows))
    same(found, "curiosity", model.curiosity(rows))


def test_columns_in_their_order_where_there_are_no_names(model, rows):
    whole = table(rows, ("a", "b", "c"), id=np.arange(len(rows)))
    found = joined(model.score_batches(whole, keep=["id"]))
    same(found, "curiosity", model.curiosity(rows))
    with pytest.raises(ValueError, match="batches has 4 columns but the model was fitted on 3"):
        joined(model.score_batches(whole))


def test_several_outputs_have_a_column_each(model2, rows):
    found = joined(model2.score_batches(table(rows)))
    assert list(found) == ["prediction_0", "prediction_1", "sensitivity_0", "sensitivity_1", "curiosity"]
    same(found, "sensitivity_1", model2.sensitivity(rows)[:, 1])


def test_tables_readers_batches_and_none(named, rows):
    whole = table(rows)
    expected = named.curiosity(rows)
    for given in (whole, whole.combine_chunks().to_batches()[0], whole.to_reader(max_chunksize=99), [whole]):
        same(joined(named.score_batches(given)), "curiosity", expected)
    assert list(named.score_batches(iter(()))) == []
    (empty,) = named.score_batches([pa.record_batch({name: pa.array([], pa.float64()) for name in NAMES})])
    assert empty.num_rows == 0


@pytest.mark.parametrize(
    "kind", [pa.float32(), pa.float64(), pa.int64(), pa.int8(), pa.bool_(), pa.decimal128(30, 2)]
)
def test_numbers_of_every_kind(named, kind):
    values = pa.array([0, 1, None, 1]).cast(
        pa.decimal128(30, 2) if "decimal" in str(kind) else kind, safe=False
    )
    batch = pa.record_batch({"speed": values, "height": pa.array([1.0, 2, 3, 4]), "mass": [1, 2, 3, 4]})
    with pytest.warns(UserWarning, match=r"1 of 4 rows hold a value that is missing.*\(first: row 2\)"):
        found = joined(named.score_batches([batch]))
    rows = np.array([[0, 1, 1], [1, 2, 2], [np.nan, 3, 3], [1, 4, 4]], float)
    good = [0, 1, 3]
    assert np.isnan(found["curiosity"][2])
    assert np.array_equal(np.array(found["curiosity"])[good], named.curiosity(rows[good]))


def test_warnings_count_all_batches_once(named, rows):
    rows[[400, 900], 1] = np.nan, np.inf
    with pytest.warns(UserWarning, match="scores there are nan") as told:
        joined(named.score_batches(table(rows).to_batches(max_chunksize=100)))
    assert [str(one.message) for one in told] == [
        "2 of 1,001 rows hold a value that is missing, not finite or too far away (first: row 400); "
        "scores there are nan"
    ]


@pytest.mark.parametrize(
    ("given", "keep", "error", "message"),
    [
        (5, (), TypeError, "batches must be an iterator of pyarrow.RecordBatch, got int"),
        ([5], (), TypeError, "batches must be of pyarrow.RecordBatch, got int"),
        ([], "id", TypeError, r"keep must be names of columns such as \['id'\], got 'id'"),
        ({"speed": [1.0], "height": [1.0], "mass": ["x"]}, (), TypeError, "column 'mass', must hold numbers"),
        ({"speed": [1.0], "height": [1.0], "mas": [1.0]}, ("mas",), ValueError, "lacks|has 2 columns"),
        ({"speed": [1.0], "height": [1.0], "mas": [1.0]}, (), ValueError, r"'mass' \(nearest: 'mas'\)"),
        ({"speed": [1.0], "height": [1.0], "mass": [1.0]}, ("mas",), ValueError, "no 'mas' .nearest: 'mass'"),
        (
            {"speed": [1.0], "height": [1.0], "mass": [1.0], "curiosity": ["a"]},
            ("curiosity",),
            ValueError,
            "keep must name no column of scores, got 'curiosity'",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(named, given, keep, error, message):
    batches = [pa.record_batch(given)] if isinstance(given, dict) else given
    with pytest.raises(error, match=message):
        list(named.score_batches(batches, keep=keep))


def test_arguments_are_checked_before_there_is_a_batch(model):
    with pytest.raises(TypeError, match="keep must be names"):
        model.score_batches([], keep="id")
    with pytest.raises(ValueError, match="threads"):
        model.score_batches([], threads=0)


def test_the_signature_of_spark_and_of_ray(named, rows):
    """Stubs that call a function as mapInArrow and map_batches do."""

    def map_in_arrow(function, partitions):
        return [batch for part in partitions for batch in function(iter(part))]

    def map_batches(function, tables):
        return [function(one) for one in tables]

    whole = table(rows)
    parts = [whole.slice(0, 400).to_batches(max_chunksize=64), whole.slice(400).to_batches(max_chunksize=64)]
    same(joined(map_in_arrow(named.score_batches, parts)), "curiosity", named.curiosity(rows))
    blocks = [whole.slice(0, 400), whole.slice(400)]
    scored = map_batches(lambda one: pa.Table.from_batches(named.score_batches(one)), blocks)
    same(pa.concat_tables(scored).to_pydict(), "curiosity", named.curiosity(rows))

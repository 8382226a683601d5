"""`fit` on a pool: the model of the same rows as an array, wherever they lie."""

import shutil

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.model import pool_rows, prepared_many
from fasttangent.problem import stored_rows

N = 1200
QUICK = {"hidden": (4,), "strength": 1e-2, "epochs": 3, "threads": 2}
RNG = np.random.default_rng(0)
ROWS = RNG.uniform(-1, 1, (N, 4)).astype(np.float32)
ROWS[:, 3] = np.sin(3 * ROWS[:, 0]) + ROWS[:, 1]
NAMES = ["a", "b", "c", "target"]


@pytest.fixture(params=["held", "in a file"])
def wanted(request, monkeypatch):
    """The model of the rows in memory, of few rows or of many."""
    if request.param == "in a file":
        monkeypatch.setattr(prepared_many, "MANY", 1000)
        monkeypatch.setattr(prepared_many, "MOST_KEPT", 0)
        monkeypatch.setattr(pool_rows, "HELD", 0)
        monkeypatch.setattr(stored_rows, "BLOCK_VALUES", 3 * 256)
        monkeypatch.setattr(stored_rows, "PIECE_VALUES", 3 * 64)
    model = ft.fit(ROWS[:, :3], ROWS[:, 3], **QUICK)
    assert model.certificate.trusted
    return model


def same(model, wanted):
    assert np.array_equal(model.params, wanted.params)
    assert np.array_equal(model.tangents["strength"], wanted.tangents["strength"])
    assert model.certificate == wanted.certificate


def written(folder, cuts, ending):
    """Files of the rows between the cuts."""
    import pyarrow as pa
    from pyarrow import parquet

    for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, N], strict=True)):
        if ending == "npy":
            np.save(folder / f"part-{i}.npy", ROWS[a:b])
        elif ending == "csv":
            header = ",".join(NAMES)
            np.savetxt(folder / f"part-{i}.csv", ROWS[a:b], "%.17g", ",", header=header, comments="")
        else:
            table = pa.table(dict(zip(NAMES, ROWS[a:b].T, strict=True)))
            parquet.write_table(table, folder / f"part-{i}.parquet", row_group_size=100)
    return ft.Pool(folder)


@pytest.mark.parametrize("ending", ["npy", "csv", "parquet"])
@pytest.mark.parametrize("cuts", [[], [1, 500]])
def test_files_of_every_kind_and_number(wanted, tmp_path, ending, cuts):
    pool = written(tmp_path, cuts, ending)
    model = ft.fit(pool, 3 if ending == "npy" else "target", **QUICK)
    same(model, wanted)
    assert model.feature_names == (None if ending == "npy" else tuple(NAMES[:3]))
    assert model.predict(ROWS[:5, :3]).shape == (5,)


def test_labels_of_their_own_and_sources_that_are_no_files(wanted, tmp_path):
    np.save(tmp_path / "y.npy", ROWS[:, 3])
    labels = np.load(tmp_path / "y.npy", mmap_mode="r")
    same(ft.fit(ft.Pool(ROWS[:, :3]), labels, **QUICK), wanted)
    same(ft.fit(ft.Pool(lambda: iter(np.array_split(ROWS, 7))), 3, **QUICK), wanted)
    same(ft.fit(ft.Pool(ROWS, columns=[0, 1, 2]), labels, **QUICK), wanted)


def test_ids_are_no_features(wanted, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"id": np.arange(N), **dict(zip(NAMES, ROWS.T, strict=True)), "other": np.zeros(N)})
    parquet.write_table(table, tmp_path / "all.parquet")
    pool = ft.Pool(tmp_path / "all.parquet", id="id", drop=["other"])
    same(ft.fit(pool, "target", **QUICK), wanted)


def test_the_model_scores_the_pool_that_it_was_fitted_on(wanted, tmp_path):
    pool = written(tmp_path, [500], "parquet")
    model = ft.fit(pool, "target", **QUICK)
    picks = ft.select(model, pool, 5, strategy="top", labeled=ROWS[:2, :3])
    best = ft.select(model, ROWS[:, :3], 5, strategy="top", labeled=ROWS[:2, :3])
    assert np.array_equal(picks.indices, best.indices)


def test_what_takes_training_rows_takes_the_pool(wanted, tmp_path):
    pool = written(tmp_path, [500], "parquet")
    model = ft.fit(pool, "target", **QUICK)
    again = ft.settle(model, pool, "target")
    assert again.certificate.trusted
    assert np.array_equal(again.params, ft.settle(model, ROWS[:, :3], ROWS[:, 3]).params)
    exact = ft.exact(model, pool, "target").influence(ROWS[:5, :3], ROWS[:5, 3])
    assert np.array_equal(
        exact, ft.exact(model, ROWS[:, :3], ROWS[:, 3]).influence(ROWS[:5, :3], ROWS[:5, 3])
    )
    other = ft.Pool(tmp_path, columns=["c", "b", "a"])
    with pytest.raises(
        ValueError, match=r"got a Pool of 'c', 'b', 'a'; make it with columns=\['a', 'b', 'c'\]"
    ):
        ft.settle(model, other, "target")


def test_a_pool_that_changes_is_an_error(wanted):
    now = [N]
    pool = ft.Pool(lambda: iter([ROWS[: now[0]]]))
    assert len(pool) == N
    now[0] -= 2
    with pytest.raises(OSError, match="1,198 rows and had 1,200; a pool must stay the same"):
        ft.fit(pool, 3, **QUICK)


def test_what_is_wrong_is_named(wanted, tmp_path):
    rows = ROWS.copy()
    rows[777, 1] = np.nan
    with pytest.raises(ValueError, match="X must be finite, got nan in row 777, column 1"):
        ft.fit(ft.Pool(rows), 3, **QUICK)
    rows[777, 1], rows[778, 3] = 0, np.inf
    with pytest.raises(ValueError, match="y must be finite, got inf in row 778"):
        ft.fit(ft.Pool(rows), 3, **QUICK)
    pool = written(tmp_path, [500], "csv")
    with pytest.raises(ValueError, match="has no column 'targets'; the nearest is 'target'"):
        ft.fit(pool, "targets", **QUICK)
    with pytest.raises(ValueError, match=r"y must have shape \(1200,\)"):
        ft.fit(pool, ROWS[1:, 3], **QUICK)
    with pytest.raises(ValueError, match="categorical must be left out where X is a Pool"):
        ft.fit(pool, "target", categorical=["a"], **QUICK)
    (tmp_path / "part-1.csv").write_text("a,b,c,target\n1,2,much,4\n")
    with pytest.raises(ValueError, match="column 'c' holds 'much' in row 0"):
        ft.fit(ft.Pool(tmp_path), "target", **QUICK)


def test_a_full_disk_is_named_before_anything_is_written(monkeypatch):
    monkeypatch.setattr(pool_rows, "HELD", 0)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(
        OSError, match=r"take 3.84e-05 GB in a temporary file, and .* has 1e-06 GB free.*TMPDIR"
    ):
        ft.fit(ft.Pool(ROWS), 3, **QUICK)


def test_no_file_is_left(wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(pool_rows.tempfile, "tempdir", str(tmp_path))
    same(ft.fit(ft.Pool(ROWS), 3, **QUICK), wanted)
    assert not list(tmp_path.iterdir())

"""Models on disk: what is kept, and that anything else is refused by name."""

import dataclasses
import errno
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.model import saving
from fasttangent.model.model import Model
from fasttangent.model.settings import FitSettings


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "m.npz"
    model.save(path)
    return path


def equal(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b or repr(a) == repr(b)  # nan


def same_models(a, b):
    for field in dataclasses.fields(Model):
        if field.name in ("network", "scaling", "threads"):
            continue
        assert equal(getattr(a, field.name), getattr(b, field.name)), field.name
    assert (a.network.sizes, a.network.activation) == (b.network.sizes, b.network.activation)
    assert equal(vars(a.scaling), vars(b.scaling))


# ---- files of earlier versions ----


def test_a_model_of_version_0_1_0():
    """Written before models kept their settings: `standardize=False`, `activation="silu"`, all else as by default."""
    old = ft.load(Path(__file__).parent / "files" / "model-0.1.npz")
    assert old.certificate.trusted
    assert old.feature_names == ("a", "b")
    row = np.array([[0.3, -0.2]])
    np.testing.assert_allclose(old.predict(row), [[0.9550725, 0.2807741]], rtol=1e-6)
    np.testing.assert_allclose(old.sensitivity(row), [[-13.407743, 1.8888942]], rtol=1e-5)
    np.testing.assert_allclose(old.curiosity(row, "posterior"), [15.71586241], rtol=1e-5)
    assert old.settings == FitSettings(
        hidden=(4, 3), strength=1e-2, activation="silu", standardize=False, tangents=("strength",)
    )


# ---- round trips ----


def test_everything_is_kept(model, saved, data):
    again = ft.load(saved)
    same_models(model, again)
    np.testing.assert_array_equal(again.score(data[0]).curiosity, model.score(data[0]).curiosity)
    assert again.summary() == model.summary()


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "float32", "feature_names": ["a", "b ü", "c,d"], "settle": False},
        {"tangents": None, "settle": False, "validation": 0.2},
        {"activation": "relu", "loss": "huber", "delta": 0.3, "complexity": "l2-weights", "settle": False},
        {"hidden": (), "standardize": False, "optimizer": "sgd", "learning_rate": 1e-5, "settle": 1e-9},
    ],
)
def test_models_of_every_kind(options, data, tmp_path):
    X, y = data
    model = ft.fit(X, np.column_stack([y, y**2]), **{"hidden": (3,), "epochs": 2, **options})
    model.save(tmp_path / "m.npz")
    again = ft.load(tmp_path / "m.npz")
    same_models(model, again)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    again.save(tmp_path / "again.npz")
    same_models(again, ft.load(tmp_path / "again.npz"))


def test_infinities_and_an_interrupt_are_kept(data, tmp_path):
    def progress(stage, done, total, **figures):
        raise KeyboardInterrupt

    X = np.insert(data[0], 1, 3.0, axis=1)
    with pytest.warns(UserWarning, match="constant"):
        model = ft.fit(X, data[1], hidden=(3,), strength=0, epochs=2, progress=progress)
    assert model.interrupted
    assert np.isinf(model.scaling.x_scale[1])
    model = dataclasses.replace(
        model, certificate=dataclasses.replace(model.certificate, condition=np.inf, tangent_error=np.inf)
    )
    model.save(tmp_path / "m.npz")
    again = ft.load(tmp_path / "m.npz")
    assert again.interrupted
    assert again.certificate.condition == np.inf
    assert np.isinf(again.scaling.x_scale[1])


def test_saving_to_a_name_with_or_without_a_suffix(model, tmp_path):
    for name in ("model", "model.npz", "model.bin", "späße mit leerzeichen.npz"):
        model.save(tmp_path / name)
        same_models(model, ft.load(str(tmp_path / name)))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["model", "model.npz", "model.bin", "späße mit leerzeichen.npz"]
    )


def test_files_hold_no_pickles_and_a_header_in_json(saved):
    with np.load(saved, allow_pickle=False) as archive:
        header = json.loads(archive[saving.HEADER].tobytes())
        assert set(archive.files) >= {"params", "slope_squared", "tangent/strength", "x_mean", saving.HEADER}
    assert header["format"] == saving.SINGLE
    assert header["version"] == ft.__version__


def test_permissions_follow_the_umask(model, tmp_path):
    before = os.umask(0o022)
    try:
        model.save(tmp_path / "m.npz")
    finally:
        os.umask(before)
    assert (tmp_path / "m.npz").stat().st_mode & 0o777 == 0o644


# ---- refused ----


def refused(path, fragment):
    with pytest.raises(ft.ModelFileError) as caught:
        ft.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert fragment in message
    assert "\n" not in message
    assert isinstance(caught.value, ValueError)


def test_a_file_cut_off_anywhere(saved):
    whole = saved.read_bytes()
    lengths = {0, 1, 3, 4, 10, 22, 100, len(whole) - 1, *range(0, len(whole), len(whole) // 40)}
    for length in sorted(lengths):
        saved.write_bytes(whole[:length])
        refused(saved, "")
    saved.write_bytes(whole)
    ft.load(saved)


def test_a_file_damaged_anywhere(model, saved):
    """Any byte changed: refused, or where no content depends on the byte the model is the same."""
    whole, rng = saved.read_bytes(), np.random.default_rng(0)
    refusals = 0
    directory = whole.index(b"PK\x01\x02")  # at its end; every byte of it, as a loss of entries hid here
    for at in [*rng.integers(0, len(whole), 300), *range(directory, len(whole))]:
        broken = bytearray(whole)
        broken[at] ^= int(rng.integers(1, 256))
        saved.write_bytes(broken)
        try:
            again = ft.load(saved)
        except ft.ModelFileError:
            refusals += 1
        else:
            same_models(model, again)
    assert refusals > 100


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"a,b\n1,2\n", b"PK\x03\x04", b"\x80\x04K\x01.", bytes(1000)]
)
def test_other_files(tmp_path, content):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    refused(path, "model")


def test_other_archives_and_arrays(tmp_path):
    np.savez(tmp_path / "foreign.npz", params=np.ones(3))
    refused(tmp_path / "foreign.npz", "is not a fasttangent model")
    np.save(tmp_path / "array.npy", np.ones(3))
    refused(tmp_path / "array.npy", "is not a fasttangent model")
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
        archive.writestr(saving.HEADER, "not an array")
    refused(tmp_path / "text.zip", "model")


def rewritten(saved, **changes):
    """The saved model with entries of the file replaced, or removed where None."""
    with np.load(saved) as archive:
        arrays = dict(archive)
    for name, value in changes.items():
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value
    np.savez(saved, **arrays)
    return saved


def header_with(saved, **changes):
    with np.load(saved) as archive:
        header = json.loads(archive[saving.HEADER].tobytes())
    header |= changes
    return np.frombuffer(json.dumps({k: v for k, v in header.items() if v is not None}).encode(), np.uint8)


def test_a_newer_format(saved):
    newer = header_with(saved, format=saving.FORMAT + 1, version="99.0")
    refused(
        rewritten(saved, **{saving.HEADER: newer}),
        f"written by fasttangent 99.0 (format {saving.FORMAT + 1})",
    )
    with pytest.raises(ft.ModelFileError, match="upgrade fasttangent"):
        ft.load(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": None},
        {"format": "one"},
        {"sizes": [3, 5]},
        {"sizes": []},
        {"sizes": "abc"},
        {"activation": "tanhh"},
        {"objective": {"loss": "cubed"}},
        {"certificate": {}},
        {"dtype": None},
        {"dtype": "complex64"},
        {"feature_names": ["a"]},
    ],
)
def test_a_header_that_makes_no_sense(saved, changes):
    refused(rewritten(saved, **{saving.HEADER: header_with(saved, **changes)}), "")


@pytest.mark.parametrize(
    "changes",
    [
        {"params": None},
        {"x_scale": None},
        {"params": np.zeros(3)},
        {"params": np.zeros(26, "float32")},
        {"tangent/strength": np.zeros((2, 26))},
        {"x_mean": np.zeros(7)},
        {"y_scale": np.zeros((2, 2))},
        {"slope_squared": np.zeros(5)},
        {"x_mean": np.array(["a", "b", "c"])},
        {saving.HEADER: np.zeros(3)},
        {saving.HEADER: np.frombuffer(b"[1, 2]", np.uint8)},
        {saving.HEADER: np.frombuffer(b"\xff\xfe{", np.uint8)},
    ],
)
def test_arrays_that_make_no_sense(saved, changes):
    refused(rewritten(saved, **changes), "")


def unpickled():
    raise AssertionError("a pickle was run")


class Payload:
    """Unpickling this calls `unpickled`."""

    def __reduce__(self):
        return unpickled, ()


def test_pickles_are_refused_and_not_run(saved):
    with np.load(saved) as archive:
        arrays = dict(archive)
    arrays["params"] = np.array([Payload()], object)
    np.savez(saved, **arrays)
    with (
        pytest.raises(AssertionError, match="a pickle was run"),
        np.load(saved, allow_pickle=True) as archive,
    ):
        archive["params"]
    refused(saved, "")


# ---- the file system ----


def test_a_missing_file_or_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        ft.load(tmp_path / "nothing.npz")
    with pytest.raises(IsADirectoryError):
        ft.load(tmp_path)


def test_unwritable_places(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        model.save(tmp_path / "missing" / "m.npz")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        model.save(tmp_path / "file" / "m.npz")
    with pytest.raises(IsADirectoryError):
        model.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_only_regular_files_are_replaced_and_links_are_followed(model, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to a pipe").symlink_to("pipe")
    for name in ("pipe", "to a pipe"):
        with pytest.raises(OSError, match="is a pipe and no regular file; give another name"):
            model.save(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to("model.npz")
    model.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    same_models(model, ft.load(tmp_path / "model.npz"))
    assert sorted(os.listdir(tmp_path)) == ["link", "model.npz", "pipe", "to a pipe"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["savez", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(model, saved, monkeypatch, error, where):
    """Half of the file is written, then the disk is full (or the user has had enough)."""
    before = saved.read_bytes()

    def savez(file, *_, **__):
        file.write(b"half of it")
        raise error

    def fail(*_, **__):
        raise error

    if where == "savez":
        monkeypatch.setattr(np, "savez", savez)
    else:
        monkeypatch.setattr(os, where, fail)
    changed = dataclasses.replace(model, params=model.params + 1)
    with pytest.raises(type(error)):
        changed.save(saved)
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == ["m.npz"]
    same_models(model, ft.load(saved))


def test_saving_replaces_an_old_model(model, model2, saved):
    model2.save(saved)
    same_models(model2, ft.load(saved))

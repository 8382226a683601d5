"""Files that say what no model says: each refused by name, before anything large is unpacked."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.model import archive, loading, saving
from fasttangent.model.certificate import Certificate
from fasttangent.problem.objective import Objective


@pytest.fixture(scope="module")
def complete():
    """The entries of the file of a model that has everything: two outputs, names, noise, history."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    Y = np.column_stack([np.sin(X[:, 0]), X[:, 1] ** 2])
    model = ft.fit(X, Y, hidden=(4,), strength=1e-2, epochs=5, tangents=("strength", "posterior"), samples=3,
                   feature_names=("a", "b", "c"))  # fmt: skip
    assert model.certificate.trusted
    return entries_of(model)


def entries_of(model):
    file = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "replacing", lambda path: _Same(path))
        patch.setattr(saving, "open", lambda *_: _Same(file), raising=False)
        model.save("unused")
    file.seek(0)
    with np.load(file) as arrays:
        return dict(arrays)


class _Same:
    def __init__(self, value):
        self.value = value

    def __enter__(self):
        return self.value

    def __exit__(self, *_):
        pass


def written(tmp_path, entries, header=None):
    """A file of these entries, with this header if one is given."""
    if header is not None:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        entries = entries | {saving.HEADER: np.frombuffer(text, np.uint8)}
    np.savez(tmp_path / "m.npz", **entries)
    return tmp_path / "m.npz"


def header_of(entries):
    return json.loads(entries[saving.HEADER].tobytes())


def changed(record, path, value):
    """A record with the value at a path replaced; `...`: removed."""
    name, *rest = path
    new = dict(record)
    if rest:
        new[name] = changed(record[name], rest, value)
    elif value is ...:
        del new[name]
    else:
        new[name] = value
    return new


def refusal(path):
    with pytest.raises(ft.ModelFileError) as caught:
        ft.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 600
    return message


# ---- the header ----


@pytest.mark.parametrize("number", [-1, 0, "1", 1.0, True, None, [1], ...])
def test_a_format_that_is_none(complete, tmp_path, number):
    header = changed(header_of(complete), ["format"], number)
    message = refusal(written(tmp_path, complete, header))
    assert "'format'" in message
    assert number is ... or repr(number) in message


WRONG = [
    ("version", 1),
    ("sizes", [3]),
    ("sizes", [3, 0, 2]),
    ("sizes", [3, -4, 2]),
    ("sizes", [3, 4.0, 2]),
    ("sizes", [3, True, 2]),
    ("sizes", "342"),
    ("sizes", {"0": 3}),
    ("activation", "tanhh"),
    ("activation", ["tanh"]),
    ("dtype", "float16"),
    ("feature_names", ["a", "b"]),
    ("feature_names", ["a", "b", "a"]),
    ("feature_names", ["a", "b", 3]),
    ("feature_names", "abc"),
    ("flat_targets", 0),
    ("flat_targets", True),
    ("interrupted", "no"),
    ("noise", -0.5),
    ("noise", float("nan")),
    ("noise", float("inf")),
    ("noise", "0.5"),
    ("noise", 10**400),
    ("noise", None),
    ("arrays", ["params"]),
    ("arrays", "params"),
    ("objective", []),
    ("objective.loss", "cubed"),
    ("objective.delta", 0),
    ("objective.strength", -1e-3),
    ("objective.strength", float("nan")),
    ("objective.strength", "1e-3"),
    ("objective.complexity", None),
    ("objective.more", 1),
    ("certificate", None),
    ("certificate.trusted", "yes"),
    ("certificate.trusted", 1),
    ("certificate.trusted", False),
    ("certificate.reasons", ["not stationary"]),
    ("certificate.reasons", "settled"),
    ("certificate.reasons", [1]),
    ("certificate.gradient_norm", -1e-12),
    ("certificate.gradient_norm", "0"),
    ("certificate.gradient_norm", float("nan")),
    ("certificate.tangent_residual", float("inf")),
    ("certificate.condition", 0),
    ("certificate.smallest_curvature", float("inf")),
    ("certificate.tangent_error", None),
    ("certificate.more", 1.0),
    ("certificate.curvature_bound", "0"),
    ("certificate.flat_directions", -1),
    ("training", None),
    ("training.rows", 0),
    ("training.rows", 40.0),
    ("training.seed", -1),
    ("training.settling_seconds", -1),
    ("training.learning_rate", float("inf")),
    ("training.learning_rate", [0.1]),
    ("settings", "default"),
    ("settings.hidden", [5]),
    ("settings.activation", "relu"),
    ("settings.more", 1),
    ("settings.epochs", 1.5),
    ("settings.seed", "0"),
    ("settings.strength", float("inf")),
    ("settings.dtype", "complex64"),
    ("settings.standardize", "yes"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG, ids=[f"{f}={v!r:.30}" for f, v in WRONG])
def test_a_field_that_breaks_its_rule(complete, tmp_path, field, value):
    message = refusal(written(tmp_path, complete, changed(header_of(complete), field.split("."), value)))
    assert field.split(".")[-1] in message


def test_a_trusted_model_says_of_what_rows(complete, tmp_path):
    assert "training" in refusal(written(tmp_path, complete, changed(header_of(complete), ["training"], {})))


@pytest.mark.parametrize(
    "field", [*(f for f in loading.FIELDS if f not in loading.LATER), "objective.delta", "certificate.trusted",
              "certificate.reasons", "training.rows"]
)  # fmt: skip
def test_a_field_that_is_missing(complete, tmp_path, field):
    message = refusal(written(tmp_path, complete, changed(header_of(complete), field.split("."), ...)))
    assert field.split(".")[-1] in message


def test_fields_of_a_later_version_are_passed_over(complete, tmp_path):
    header = header_of(complete) | {"colour": "blue", "more": {"a": [1, 2]}}
    again = ft.load(written(tmp_path, complete, header))
    np.testing.assert_array_equal(again.params, complete["params"])


@pytest.mark.parametrize(
    "text", [b"[1, 2]", b'{"format": 1, "format": 1}', b"\xff\xfe{", b"{", b"", b"[" * 100_000, b"9" * 10_000]
)
def test_a_header_that_is_no_record(complete, tmp_path, text):
    refusal(written(tmp_path, complete, text))


def leaves(record, path=()):
    for name, value in record.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))


def test_whatever_a_field_holds_the_file_is_refused_or_gives_a_whole_model(complete, tmp_path):
    header, X, loaded = header_of(complete), np.zeros((2, 3)), 0
    numbers = [-1, 0, 2, 1.5, 1e308, -1e308, float("nan"), float("inf"), 10**30]
    values = [None, True, "x", "", *numbers, [], [1], {}, {"a": 1}]
    for path in leaves(header):
        for value in values:
            file = written(tmp_path, complete, changed(header, path, value))
            try:
                model = ft.load(file)
            except ft.ModelFileError:
                continue
            loaded += 1
            repr(model), model.summary()
            assert np.isfinite(model.predict(X)).all()
            if loaded % 20 == 0:
                model.save(tmp_path / "again.npz")
                ft.load(tmp_path / "again.npz")
    assert loaded > 50


def test_the_tables_know_every_field():
    def names(record):
        return {f.name for f in dataclasses.fields(record)}

    assert names(Certificate) == set(loading.CERTIFICATE)
    assert names(Objective) == set(loading.OBJECTIVE)
    assert set(loading.ARRAYS) >= set(saving.SCALING)


# ---- arrays ----


def with_value(a, value, at=0):
    a = a.copy()
    a.flat[at] = value
    return a


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((n, v) for n in ("params", "x_mean", "y_mean", "tangent/strength", "tangent/posterior", "tangent/bias")
          for v in (np.nan, np.inf, -np.inf)),
        *((n, -1e200) for n in ("params", "tangent/strength", "tangent/posterior", "tangent/bias")),
        *(("x_scale", v) for v in (0, -1, np.nan, -np.inf)),
        *(("y_scale", v) for v in (0, -1, np.nan, np.inf)),
        *(("slope_squared", v) for v in (-1e-9, np.nan, np.inf)),
    ],
)  # fmt: skip
def test_a_value_that_breaks_the_rule_of_its_array(complete, tmp_path, name, value):
    message = refusal(written(tmp_path, complete | {name: with_value(complete[name], value, 1)}))
    assert f"{name!r} must be" in message
    assert f"{float(value)}" in message


def test_an_input_that_was_constant_stays_so(complete, tmp_path):
    again = ft.load(written(tmp_path, complete | {"x_scale": with_value(complete["x_scale"], np.inf)}))
    np.testing.assert_array_equal(again.predict([[0.0, 1, 2]]), again.predict([[9.0, 1, 2]]))


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("params", np.zeros(25)),
        ("params", np.zeros((26, 1))),
        ("params", np.zeros(26, "float32")),
        ("params", np.zeros(26, ">f8")),
        ("params", np.zeros(26, "complex128")),
        ("params", np.zeros(26, "int64")),
        ("params", np.zeros(())),
        ("params", np.array(["a"] * 26)),
        ("params", np.zeros(26, [("a", "f8")])),
        ("tangent/strength", np.zeros((1, 26))),
        ("tangent/posterior", np.zeros((3, 25))),
        ("tangent/posterior", np.zeros(26)),
        ("x_mean", np.zeros(2)),
        ("y_scale", np.ones(3)),
        ("history/loss", np.zeros((2, 2))),
        ("history/loss", np.zeros(2, "float32")),
        ("history/loss", np.array(["a"])),
    ],
)
def test_an_array_of_another_shape_or_dtype(complete, tmp_path, name, array):
    message = refusal(written(tmp_path, complete | {name: array}))
    assert f"{name!r} must have shape" in message


@pytest.mark.parametrize("name", [*loading.ARRAYS, "tangent/bias", "tangent/posterior", "tangent/strength"])
def test_an_array_that_is_missing(complete, tmp_path, name):
    rest = {n: a for n, a in complete.items() if n != name}
    assert name in refusal(written(tmp_path, rest))
    header = header_of(complete)
    header["arrays"] = [n for n in header["arrays"] if n != name]  # the header agrees that it is not there
    if name != "tangent/posterior":
        assert name in refusal(written(tmp_path, rest, header))


@pytest.mark.parametrize("name", ["extra", "tangent/more", "params2", "history/more"])
def test_an_array_that_no_model_has(complete, tmp_path, name):
    assert name in refusal(written(tmp_path, complete | {name: np.zeros(3)}))


def test_an_empty_history_and_fortran_order(complete, tmp_path):
    header = header_of(complete)
    header["arrays"].append("history/later")
    entries = complete | {
        "history/later": np.zeros(0),
        "tangent/posterior": np.asfortranarray(complete["tangent/posterior"]),
    }
    again = ft.load(written(tmp_path, entries, header))
    np.testing.assert_array_equal(again.tangents["posterior"], complete["tangent/posterior"])
    assert again.history["later"].shape == (0,)


# ---- the archive ----


def raw(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(tmp_path, entries, method=zipfile.ZIP_STORED, more=()):
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w", method) as file:
        for name, array in [*entries.items(), *more]:
            file.writestr(f"{name}.npy", array if isinstance(array, bytes) else raw(array))
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["params", saving.HEADER, "history/loss"])
def test_an_entry_that_is_there_twice(complete, tmp_path, name):
    message = refusal(zipped(tmp_path, complete, more=[(name, complete[name])]))
    assert "twice" in message
    assert name in message


def test_packing_by_other_programs(complete, tmp_path):
    again = ft.load(zipped(tmp_path, complete, zipfile.ZIP_DEFLATED))
    np.testing.assert_array_equal(again.params, complete["params"])
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "packed" in refusal(zipped(tmp_path, complete, method))


def test_two_megabytes_that_unpack_to_two_gigabytes(complete, tmp_path, monkeypatch):
    """Sizes are those that the directory of the archive says: nothing is unpacked to find out."""
    header = changed(header_of(complete), ["sizes"], [3, 16_000, 16_000, 2])
    large = zipped(tmp_path, complete | {"params": raw(np.zeros(2**22))}, zipfile.ZIP_DEFLATED)
    assert large.stat().st_size < 2**18
    for entries in (complete, {saving.HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8)}):
        path = zipped(tmp_path, complete | entries | {"params": raw(np.zeros(2**22))}, zipfile.ZIP_DEFLATED)
        with monkeypatch.context() as patch:
            patch.setattr(zipfile.ZipFile, "open", None)
            assert "unpack to at most" in refusal(path)


def test_an_entry_larger_than_the_network(complete, tmp_path, monkeypatch):
    path = written(tmp_path, complete | {"params": np.zeros(10_000)})
    monkeypatch.setattr(archive, "_header", unread(archive._header, "params"))
    assert "'params' must have shape (26,), got an entry of 80,128 bytes" in refusal(path)


def unread(header, name):
    def read(of, file):
        assert of != name
        return header(of, file)

    return read


def test_a_header_that_unpacks_to_more_than_the_file(complete, tmp_path):
    long = changed(header_of(complete), ["more"], "x" * 2**21)
    entries = complete | {saving.HEADER: np.frombuffer(json.dumps(long).encode(), np.uint8)}
    assert "no larger than the file" in refusal(zipped(tmp_path, entries, zipfile.ZIP_DEFLATED))
    ft.load(zipped(tmp_path, entries))


@pytest.mark.parametrize("claimed", [26 * 8 + 128, 26 * 8 + 127, 26 * 8 + 129, 200, 0])
def test_an_entry_that_lies_about_its_size(complete, tmp_path, claimed):
    path = zipped(tmp_path, complete | {"params": raw(np.ones(2**20))}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    at = content.index(b"params.npy", content.index(b"PK\x01\x02")) - 46  # in the directory
    assert int.from_bytes(content[at + 24 : at + 28], "little") == 2**23 + 128
    content[at + 24 : at + 28] = claimed.to_bytes(4, "little")
    path.write_bytes(content)
    refusal(path)


def test_a_shape_that_no_memory_holds(complete, tmp_path):
    lie = raw(np.zeros(26)).replace(b"(26,), ", b"(10000000000,), ")
    lie = lie.replace(b"}" + b" " * 9, b"}")
    refusal(zipped(tmp_path, complete | {"params": lie}))
    lie = (
        raw(complete["tangent/posterior"])
        .replace(b"(3, 26), ", b"(300000000, 26), ")
        .replace(b"}" + b" " * 8, b"}")
    )
    assert "tangent/posterior" in refusal(zipped(tmp_path, complete | {"tangent/posterior": lie}))


def test_a_device_without_an_end():
    refusal("/dev/zero")

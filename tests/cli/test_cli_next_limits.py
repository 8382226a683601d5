"""What every round of ``next`` keeps within: against brute force and the function; and what it remembers."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.command_line import only_json, refused, run
from pyarrow import parquet

import fasttangent as ft

pytestmark = pytest.mark.filterwarnings("ignore::fasttangent.UntrustedTangentWarning")
N = 160
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2))
SITES = np.array(list("abcde"))[RNG.integers(0, 5, N)]
COSTS = RNG.integers(1, 6, N).astype(float)
NOISE = RNG.uniform(0.5, 4, N)
LABELS = X[:, 0] ** 2 + X[:, 1]
OUT = list(range(0, N, 7))
QUICK = ["--hidden", "4", "--epochs", "10", "--strength", "0.01", "--quiet", "--seed", "3"]
LIMITS = ["--group-by", "site", "--per-group", "2", "--cost", "price", "--max-cost", "12"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pa.table({"a": X[:, 0], "b": X[:, 1], "site": SITES, "price": COSTS, "noise": NOISE})
    Path("pool").mkdir()
    parquet.write_table(table.slice(0, 50), "pool/p0.parquet")
    parquet.write_table(table.slice(50), "pool/p1.parquet")
    Path("out.csv").write_text("row\n" + "\n".join(map(str, OUT)) + "\n")
    first = pa.table({"a": X[:20, 0] + 1, "b": X[:20, 1], "y": LABELS[:20]})
    parquet.write_table(first, "first.parquet")
    return tmp_path


def filled(path):
    with open(path, newline="") as file:
        head, *lines = csv.reader(file)
    rows = [int(line[0]) for line in lines]
    for line, row in zip(lines, rows, strict=True):
        line[-1] = repr(float(LABELS[row]))
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([head, *lines])
    return np.array(rows)


def rounds(count, *words, folder="c"):
    """Rows of some rounds, each told, and what `next` said of them."""
    found = []
    for i in range(count):
        more = ["pool", *QUICK, *words] if i == 0 else ["--quiet"]
        document = only_json(run("next", *more, "--folder", folder, "-k", 9, "-o", "p.csv", "--json").stdout)
        found.append((filled("p.csv"), document))
        run("tell", "p.csv", "--folder", folder)
    return found


@pytest.mark.parametrize("strategy", ["error", "random", "lcmd"])
@pytest.mark.parametrize("out", ["out.csv", "0," + ",".join(map(str, OUT[1:]))])
def test_every_round_is_that_of_the_function(here, strategy, out):
    found = rounds(3, "--strategy", strategy, "--exclude", out, "--drop", "noise", *LIMITS)
    limits = {"exclude": OUT, "groups": SITES, "per_group": 2, "cost": COSTS, "max_cost": 12.0}
    fit = {"hidden": (4,), "epochs": 10, "strength": 0.01}
    learner = ft.ActiveLearner(X, oracle=LABELS, strategy=strategy, batch=9, fit=fit, select=limits, seed=3)
    learner.run(rounds=3)
    assert [rows.tolist() for rows, _ in found] == [h["rows"] for h in learner.history[:3]]
    spent = 0.0
    for rows, document in found:
        spent += COSTS[rows].sum()
        assert len(rows) > 0
        assert not np.isin(rows, OUT).any()
        assert np.unique(SITES[rows], return_counts=True)[1].max() <= 2
        assert document["cost"] == COSTS[rows].sum() <= 12
        assert document["cost_so_far"] == spent


def test_brute_force(here):
    """Of all rows by their gain per cost: the best that groups and money let be picked."""
    rounds(1, "--strategy", "top", "--labeled", "first.parquet", "--exclude", "out.csv", *LIMITS)
    with open("p.csv", newline="") as file:
        rows = [int(line["row"]) for line in csv.DictReader(file)]
    (model,) = Path("c").glob("model-*.npz")
    gain = ft.load(model).curiosity(X) / COSTS
    spent, groups, expected = 0.0, dict.fromkeys(SITES, 0), []
    for row in np.argsort(-gain):
        good = row not in OUT and groups[SITES[row]] < 2 and spent + COSTS[row] <= 12
        if good and len(expected) < 9:
            expected.append(int(row))
            groups[SITES[row]] += 1
            spent += COSTS[row]
    assert rows == expected


def test_noise_of_labels(here):
    words = ["--strategy", "variance", "--labeled", "first.parquet"]
    plain, noisy = rounds(1, *words, folder="a"), rounds(1, *words, "--noise", "noise", folder="b")
    assert plain[0][0].tolist() != noisy[0][0].tolist()
    fit = {"hidden": (4,), "epochs": 10, "strength": 0.01, "feature_names": ["a", "b"]}
    first = X[:20] + np.array([1, 0]), LABELS[:20]
    asked = {"strategy": "variance", "batch": 9, "fit": fit, "select": {"noise": NOISE}, "seed": 3}
    assert ft.ActiveLearner(X, *first, **asked).ask().tolist() == noisy[0][0].tolist()
    line = refused("next", "pool", *QUICK, "--folder", "d", "-k", 9, "-o", "p.csv", "--noise", "noise",
                   "--strategy", "lcmd")  # fmt: skip
    assert "noise must be None for strategy 'lcmd'" in line


def test_limits_are_remembered_and_do_not_change(here):
    rounds(1, "--exclude", "out.csv", *LIMITS)
    remembered = json.loads(Path("c/command.json").read_text())
    assert (remembered["group_by"], remembered["per_group"], remembered["exclude"]) == (
        "site", 2, str(here / "out.csv"),
    )  # fmt: skip
    for words, message in [
        (["--per-group", "3"], "select per_group was 2 and is 3"),
        (["--max-cost", "50"], "select max_cost was 12.0 and is 50.0"),
        (["--exclude", "1,2"], "select exclude was"),
        (["--cost", "noise"], "select cost was"),
    ]:
        assert message in refused("next", "--folder", "c", "-k", 3, "-o", "q.csv", *words)
    shutil.copy("out.csv", "kept.csv")
    Path("out.csv").write_text("row\n1\n")
    assert "select exclude was" in refused("next", "--folder", "c", "-k", 3, "-o", "q.csv")
    shutil.copy("kept.csv", "out.csv")
    run("next", "--folder", "c", "-k", 3, "-o", "q.csv", "--quiet")
    without = Path("c/command.json")
    without.write_text(json.dumps(remembered | {"cost": None, "max_cost": None}))
    assert "select cost was" in refused("next", "--folder", "c", "-k", 3, "-o", "q.csv")


def test_a_column_that_says_something_of_rows_is_no_feature_unless_learned(here):
    rounds(1, "--cost", "price", "--group-by", "site", "--per-group", "2")
    assert json.loads(Path("c/command.json").read_text())["names"] == ["a", "b", "noise"]
    first = pa.table({"a": X[:20, 0] + 1, "price": COSTS[:20], "y": LABELS[:20]})
    parquet.write_table(first, "first.parquet")
    rounds(1, "--labeled", "first.parquet", "--cost", "price", folder="d")
    assert json.loads(Path("d/command.json").read_text())["names"] == ["a", "price"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--per-group", "2"], "per_group must be left out without groups"),
        (["--group-by", "site"], "per_group must be given with groups"),
        (["--group-by", "town", "--per-group", "2"], "no column 'town'"),
        (["--max-cost", "3"], "max_cost must be left out without cost"),
        (["--cost", "a"], "cost must be finite and > 0"),
        (["--exclude", "160"], "exclude must hold row numbers from 0 to 159"),
        (["--exclude", "nowhere.csv"], "--exclude must be a table or row numbers"),
        (["--exclude", "pool/p0.parquet"], "has no column 'row'"),
    ],
)
def test_limits_that_are_refused(here, words, message):
    assert message in refused("next", "pool", *QUICK, "--folder", "c", "-k", 3, "-o", "q.csv", *words)
    assert not Path("c").exists()


def test_an_output_is_not_the_table_of_exclude(here):
    line = refused("next", "pool", *QUICK, "--folder", "c", "-k", 3, "-o", "out.csv", "--exclude", "out.csv")
    assert "out.csv is the table of --exclude itself" in line

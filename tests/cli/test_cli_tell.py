"""Labels that people fill in: what counts as one, whose row it is, and that none is lost."""

import csv
import json
import os
import shutil
import sys

import numpy as np
import pyarrow as pa
import pytest
from helpers.command_line import only_json, refused, rows_of, run
from pyarrow import parquet

from fasttangent.cli.tables import picks as picks_module
from fasttangent.cli.tables.writing import write_table
from fasttangent.common.tables.reading import open_table

X = np.random.default_rng(2).normal(size=(80, 3)) * [1, 100, 1e-4]
COUNT = np.random.default_rng(3).integers(0, 40, 80)  # a feature of whole numbers
QUICK = ["--hidden", "4", "--epochs", "5", "--settle", "no"]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A campaign that asked eight rows, and the table of them."""
    folder = tmp_path_factory.mktemp("begun")
    write_table(folder / "pool.csv", {"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "count": COUNT})
    run("next", folder / "pool.csv", "--folder", folder / "c", "-k", 8, "-o", folder / "p.csv", *QUICK)
    return folder


@pytest.fixture
def here(begun, tmp_path, monkeypatch):
    place = tmp_path / "here"
    shutil.copytree(begun, place)
    monkeypatch.chdir(place)
    return place


def filled(change=lambda row: None, label="2.5"):
    """The picks with a label in each row, and each row (a list of cells) changed."""
    with open("p.csv", newline="") as file:
        head, *rows = csv.reader(file)
    for row in rows:
        row[-1] = label
        change(row)
    with open("p.csv", "w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return rows


def told(path="p.csv"):
    return only_json(run("tell", path, "--folder", "c", "--json").stdout)["told"]


@pytest.mark.parametrize(
    "label", ["1_000", "0x10", "-0X1f", "1 000", "1,5", "1/2", "١", "0b1", "true", "1e", "."]
)
def test_labels_that_are_no_numbers(here, label):
    filled(label=label)
    row = int(rows_of_picks()[0])
    assert f"the label of row {row} is {label!r}; write a number with a point" in refused(
        "tell", "p.csv", "--folder", "c"
    )
    filled(lambda cells: cells.__setitem__(-1, label if cells[0] == str(row) else "1"))
    assert "write a number with a point" in refused("tell", "p.csv", "--folder", "c")


def rows_of_picks():
    with open("p.csv", newline="") as file:
        return [row[0] for row in csv.reader(file)][1:]


@pytest.mark.parametrize("label", ["1", "-1.5e3", "+.5", " 7. ", "0", "failed"])
def test_labels_that_are_numbers(here, label):
    filled(label=label)
    assert told() == 8


def test_labels_in_parquet(here):
    rows = [int(row) for row in rows_of_picks()]
    for labels, good in [
        (pa.array(["1_000"] * 8), False),
        (pa.array([True] * 8), False),
        (pa.array([1.5] * 8), True),
    ]:
        parquet.write_table(pa.table({"row": rows, "label": labels}), "p.parquet")
        if good:
            assert told("p.parquet") == 8
        else:
            assert "write a number with a point" in refused("tell", "p.parquet", "--folder", "c")


@pytest.mark.parametrize("number", ["1e30", "-1", "2.5", "inf", "1e16", ""])
def test_row_numbers(here, number):
    filled(lambda cells: cells.__setitem__(0, number) if cells[0] == rows_of_picks()[2] else None)
    shown = {"": "nan", "1e30": "1e+30", "1e16": "1e+16"}.get(number, number)
    line = refused("tell", "p.csv", "--folder", "c")
    assert f"column 'row' must hold the row numbers that `next` wrote, got {shown} in row 2" in line


EDITS = [(1, 0.4), (1, "0"), (2, 1.0), (2, "-7.123456789"), (3, "0.1"), (4, 1), (4, -1)]


@pytest.mark.parametrize(("column", "change"), EDITS)
@pytest.mark.parametrize("digits", [17, 15, 6, 3])
def test_an_edited_feature_is_told(here, column, change, digits):
    """Also in a table that a program has rounded."""
    edited = rows_of_picks()[5]

    def edit(cells):
        for place in (1, 2, 3):
            cells[place] = f"{float(cells[place]):.{digits}g}"
        if cells[0] == edited:
            cells[column] = (
                change if isinstance(change, str) else f"{float(cells[column]) + change:.{digits}g}"
            )

    filled(edit)
    line = refused("tell", "p.csv", "--folder", "c")
    assert f"row {edited} has " in line
    assert f"in column {'abc'[column - 1 : column] or 'count'!r} and " in line
    assert "put the value back, or remove the column" in line
    assert run("next", "--folder", "c", "--status", "--json").exit_code == 0
    with open("p.csv", newline="") as file:
        rows = [row[:column] + row[column + 1 :] for row in csv.reader(file)]
    with open("p.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert told() == 8


@pytest.mark.parametrize(
    "rounded",
    [
        lambda value: f"{value:.17g}",
        lambda value: f"{value:.9g}",
        lambda value: f"{value:.4g}",
        lambda value: f"{value:.3e}",
        lambda value: repr(float(np.float32(value))),
        lambda value: str(np.float32(value)),
        lambda value: f"{value:.2f}",
        lambda value: f"{value:.0f}",
        lambda value: "",
    ],
)
def test_features_that_a_program_has_rounded(here, rounded):
    def cells_rounded(cells):
        for place in (1, 2, 3):
            cells[place] = rounded(float(cells[place]))

    filled(cells_rounded)
    assert told() == 8


def test_rounding_costs_no_comparison_of_every_pair_of_rows():
    """Values as they were need no look at their digits, however many there are."""
    values = np.random.default_rng(0).normal(size=(500, 2000))
    assert (picks_module.rounding(values, values) == 1e-6 * abs(values)).all()


@pytest.mark.parametrize("label", ["1,5", "0x10", "2.5"])
def test_next_keeps_labels_that_were_not_told(here, label):
    """Also where one of them cannot be read, and none could be told."""
    filled(label=label)
    before = (here / "p.csv").read_bytes()
    line = refused("next", "--folder", "c", "-k", 3, "-o", "p.csv")
    assert "that were not told yet" in line
    assert (here / "p.csv").read_bytes() == before
    run("next", "--folder", "c", "-k", 3, "-o", "q.csv")


@pytest.mark.parametrize("content", ["", "no table", "a,b\n1,2\n", "row,a\nx,y\n"])
def test_next_replaces_other_files(here, content):
    (here / "q.csv").write_text(content)
    run("next", "--folder", "c", "-k", 3, "-o", "q.csv")
    assert len(rows_of("q.csv")["row"]) == 8


def test_hexadecimal_text_of_a_pool_stays_text(here):
    (here / "t.csv").write_text("x,code\n1,0x10\n2,0X1f\n")
    assert open_table("t.csv").take(np.array([1, 0]))["code"].to_pylist() == ["0X1f", "0x10"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_record_of_the_campaign_is_no_table_of_labels(here):
    os.link("c/journal.jsonl", "j.csv")
    assert "j.csv is a record of the campaign itself" in refused("tell", "j.csv", "--folder", "c")


def test_a_command_json_of_somebody_else(here):
    (here / "mine").mkdir()
    mine = json.dumps({"mine": 1})
    (here / "mine" / "command.json").write_text(mine)
    line = refused("next", "pool.csv", "--folder", "mine", "-k", 3, "-o", "q.csv", *QUICK, code=1)
    assert "mine/command.json is damaged" in line
    assert os.listdir("mine") == ["command.json"]
    assert (here / "mine" / "command.json").read_text() == mine

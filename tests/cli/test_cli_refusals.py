"""How the command line says no: one line, the right exit code, nothing left behind, never a traceback."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from helpers.command_line import NAMES, QUICK, CliRunner, cli, refused, run, shell

import fasttangent as ft
from fasttangent.cli.tables.writing import write_table

# --- refusals --------------------------------------------------------------------------------------------

BAD_DATA = {
    "empty.csv": ("", "is empty"),
    "head.csv": ("a,b\n", "holds no rows"),
    "ragged.csv": ("a,b\n1,2\n3\n", "row 1 (line 3) has 1 cells where the first line has 2"),
    "text.csv": ("a,b\n1,x\n", "column 'b' holds 'x' in row 0"),
    "one.csv": ("a\n1\n2\n", "no column left for the features; it has 1 in all"),
    "hole.csv": ("a,b\n1,2\n3,\n", "column 'b' is missing or infinite in 1 of 2 rows, first in row 1"),
    "infinite.csv": ("a,b\n1,2\ninf,3\n", "column 'a' is missing or infinite in 1 of 2 rows, first in row 1"),
    "semi.csv": ("a;b\n1;2\n", "write it with commas"),
    "t.xlsx": ("1", "must end in .csv, .csv.gz, .tsv, .tsv.gz, .parquet, .feather, .arrow or .npy"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_tables(tmp_path, name):
    content, message = BAD_DATA[name]
    (tmp_path / name).write_text(content)
    assert message in refused("fit", tmp_path / name, "-o", tmp_path / "m.npz")
    assert os.listdir(tmp_path) == [name]


BAD_FIT = [
    (["--target", "hight"], "no column 'hight'; the nearest is 'height'"),
    (["--target", "9"], "no column 9; it has 4, numbered from 0"),
    (["--weights", "y", "--target", "y"], "column 'y' is named twice"),
    (["--drop", "nothing"], "no column 'nothing'"),
    (["--hidden", "4,x"], "'4,x' is no list of widths"),
    (["--hidden", "0"], "hidden"),
    (["--settle", "perhaps"], "neither 'yes' nor 'no' nor a number of seconds"),
    (["--activation", "tahn"], "'tahn' is not one of"),
    (["--strength", "-1"], "strength"),
    (["--strength", "nan"], "strength"),
    (["--epochs", "many"], "'many' is not a valid integer"),
    (["--learning-rate", "0"], "learning_rate"),
    (["--validation", "1.5"], "validation"),
    (["--threads", "0"], "threads"),
    (["--strenght", "1"], "--strength"),
    (["-o", "m.txt"], "must end in .npz"),
    (["-o", "nowhere/m.npz"], "does not exist; create it first"),
]


@pytest.mark.parametrize(("args", "message"), BAD_FIT, ids=[" ".join(args) for args, _ in BAD_FIT])
def test_bad_arguments_of_fit(trained, tmp_path, args, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused("fit", trained / "data.csv", "-o", "m.npz", *QUICK, *args)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fti"], "fti"),
        (["fit"], "Missing argument 'DATA'"),
        (["fit", "nothing.csv", "-o", "m.npz"], "'nothing.csv' does not exist"),
        (["fit", ".", "-o", "m.npz"], "is a directory"),
        (["info", "nothing.npz"], "does not exist"),
        (["demo", "--picture", "x.exe"], "must end in .png, .pdf or .svg"),
    ],
)
def test_bad_usage(args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(*args)
    assert message in line


def test_files_that_are_no_models(trained, pool, tmp_path):
    whole = (trained / "m.npz").read_bytes()
    for name, content in {"half.npz": whole[: len(whole) // 2], "text.npz": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
        for command in (
            ["info", tmp_path / name],
            ["score", tmp_path / name, pool, "-o", tmp_path / "s.csv"],
        ):
            assert name in refused(*command, code=1)
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    assert "other.npz" in refused("info", tmp_path / "other.npz", code=1)


def test_a_damaged_pool_leaves_nothing(trained, tmp_path):
    X = np.random.default_rng(0).normal(size=(20_000, 3))
    write_table(tmp_path / "whole.csv.gz", {name: X[:, i] for i, name in enumerate(NAMES)})
    whole = (tmp_path / "whole.csv.gz").read_bytes()
    (tmp_path / "half.csv.gz").write_bytes(whole[: len(whole) // 2])
    line = refused("score", trained / "m.npz", tmp_path / "half.csv.gz", "-o", tmp_path / "s.csv", code=1)
    assert "half.csv.gz cannot be read" in line
    assert sorted(os.listdir(tmp_path)) == ["half.csv.gz", "whole.csv.gz"]


def test_a_bad_row_late_in_the_pool_leaves_the_old_scores(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("fasttangent.cli.scoring.ROWS", 100)
    (tmp_path / "p.csv").write_text(",".join(NAMES) + "\n" + "1,2,3\n" * 100_000 + "1,2,x\n")
    (tmp_path / "s.csv").write_text("old")
    line = refused("score", trained / "m.npz", tmp_path / "p.csv", "-o", tmp_path / "s.csv")
    assert "column 'mass' holds 'x' in row 100000 (counted from 0, line 100002)" in line
    assert (tmp_path / "s.csv").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["p.csv", "s.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="no file is cut short there while it is read")
def test_a_pool_that_is_cut_short_while_it_is_scored(trained, tmp_path, monkeypatch):
    """It was mapped once, and the process died of SIGBUS."""
    monkeypatch.setattr("fasttangent.cli.scoring.ROWS", 1000)
    monkeypatch.setattr("fasttangent.common.tables.npy_file.CHUNK_ROWS", 1000)
    np.save(tmp_path / "p.npy", np.random.default_rng(0).normal(size=(20_000, 3)))
    scored = ft.model.scores.scored

    def cut(*arguments):
        os.truncate(tmp_path / "p.npy", 100_000)
        return scored(*arguments)

    monkeypatch.setattr("fasttangent.model.scores.scored", cut)
    result = run("score", trained / "m.npz", tmp_path / "p.npy", "-o", tmp_path / "s.csv", code=1)
    assert result.stderr.splitlines()[-1] == (
        f"fasttangent: error: {tmp_path / 'p.npy'} was cut short while it was read; "
        "run the command again on a whole file"
    )
    assert os.listdir(tmp_path) == ["p.npy"]


def test_the_pool_is_never_overwritten(trained, pool):
    before = pool.read_bytes()
    assert "is the pool itself" in refused("score", trained / "m.npz", pool, "-o", pool)
    assert pool.read_bytes() == before


def test_the_folder_is_checked_before_training(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(ft, "fit", lambda *args, **kwargs: pytest.fail("trained first"), raising=False)

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fasttangent.cli.tables.writing.os.open", refuse)
    line = refused("fit", trained / "data.csv", "-o", tmp_path / "m.npz", code=1)
    assert "is not writable (Permission denied)" in line


def test_a_full_disk_when_the_model_is_saved(trained, tmp_path, monkeypatch):
    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ft.Model, "save", full)
    line = refused("fit", trained / "data.csv", "-o", tmp_path / "m.npz", *QUICK, code=1)
    assert line.endswith("m.npz: No space left on device; free some space or write elsewhere")


def test_divergence_is_a_failure(trained, tmp_path):
    args = ["--optimizer", "sgd", "--learning-rate", "1e6", "--activation", "relu"]
    line = refused("fit", trained / "data.csv", "-o", tmp_path / "m.npz", *QUICK, *args, code=1)
    assert "learning" in line
    assert os.listdir(tmp_path) == []


def test_what_nobody_expected(trained, monkeypatch):
    def broken(path):
        raise KeyError("lost\nand gone")

    monkeypatch.setattr(ft, "load", broken, raising=False)
    monkeypatch.delenv("FASTTANGENT_DEBUG", raising=False)
    assert "unexpected KeyError: 'lost\\nand gone'; set FASTTANGENT_DEBUG=1" in refused(
        "info", trained / "m.npz", code=1
    )
    monkeypatch.setenv("FASTTANGENT_DEBUG", "1")
    result = CliRunner().invoke(cli, ["info", str(trained / "m.npz")])
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_out_of_memory(trained, monkeypatch):
    def greedy(path):
        raise MemoryError("Unable to allocate 8.00 TiB")

    monkeypatch.setattr(ft, "load", greedy, raising=False)
    assert "not enough memory: Unable to allocate 8.00 TiB" in refused("info", trained / "m.npz", code=1)


# --- a process of its own --------------------------------------------------------------------------------


def test_exit_codes_of_the_process(trained, tmp_path):
    assert shell("info", trained / "m.npz").returncode == 0
    broken = shell("info", trained / "data.csv")
    assert (broken.returncode, broken.stdout) == (1, "")
    assert len(broken.stderr.splitlines()) == 1
    assert shell("info", tmp_path / "nothing.npz").returncode == 2


def test_without_click():
    code = "import sys; sys.modules['click'] = None; from fasttangent.cli import main; main()"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.returncode == 2
    assert out.stderr == (
        "fasttangent: error: the command line needs click: pip install 'fasttangent[cli]'\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_while_scoring(trained, tmp_path):
    np.save(tmp_path / "p.npy", np.random.default_rng(0).normal(size=(20_000, 3)))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "from fasttangent.cli.app import cli; cli(sys.argv[1:])"
    )
    args = ["score", trained / "m.npz", tmp_path / "p.npy", "-o", tmp_path / "s.csv"]
    out = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=120
    )
    assert out.returncode == 1
    assert out.stderr.splitlines()[-1] == (
        f"fasttangent: error: {tmp_path / 's.csv'}: File too large; free some space or write elsewhere"
    )
    assert os.listdir(tmp_path) == ["p.npy"]


INTERRUPTED = """
import contextlib, os, sys
from fasttangent.cli import app as cli
from fasttangent.common import progress

@contextlib.contextmanager
def reporting(progress):
    def report(stage, done, total, **figures):
        if done == 3:
            os.kill(os.getpid(), int(sys.argv[1]))
    yield report

progress.reporting = reporting
cli.cli(sys.argv[2:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_fit_keeps_its_model(trained, tmp_path, number):
    out = tmp_path / "m.npz"
    args = ["fit", trained / "data.csv", "-o", out, *QUICK, "--epochs", 10**9, "--settle", "no"]
    process = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(int(number)), *map(str, args)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert process.returncode == 130, process.stderr
    assert "Traceback" not in process.stderr
    assert process.stderr.splitlines()[-1] == (
        f"fasttangent: error: interrupted; the model of that moment was saved to {out}"
    )
    assert ft.load(out).interrupted
    assert os.listdir(tmp_path) == ["m.npz"]


def test_an_interrupted_score_leaves_nothing(trained, tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("fasttangent.model.scores.scored", interrupt)
    np.save(tmp_path / "p.npy", np.ones((10, 3)))
    result = run("score", trained / "m.npz", tmp_path / "p.npy", "-o", tmp_path / "s.csv", code=130)
    assert result.stderr.splitlines()[-1] == "fasttangent: error: interrupted; no file is half written"
    assert os.listdir(tmp_path) == ["p.npy"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
@pytest.mark.parametrize("args", [["info", "m.npz", "--json"], ["info", "m.npz"], ["fit", "--help"]])
def test_a_closed_pipe_is_no_traceback(trained, args):
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "fasttangent.cli", *args],
        stdout=write, stderr=subprocess.PIPE, text=True, cwd=trained, timeout=60,
    )  # fmt: skip
    os.close(write)
    assert process.stderr == ""
    assert process.returncode == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(trained, closed):
    command = f'"$0" -m fasttangent.cli info "$1" {closed}'
    out = subprocess.run(
        ["sh", "-c", command, sys.executable, trained / "m.npz"], capture_output=True, text=True, timeout=60
    )
    assert (out.returncode, out.stderr) == (0, "")

"""What commands never write over: what they read, records of a campaign, another output, anything but regular files."""

import os
import shutil
import subprocess
import sys

import pytest
from helpers.command_line import QUICK, cli, refused, rows_of, run

from fasttangent.cli.options import OUTPUT, OUTPUTS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes")
CAMPAIGN = ["manifest.json", "journal.jsonl", "lock", "command.json"]
# (command, option): its arguments but for that option, the files that it reads, the ending of what it writes
WRITES = {
    ("fit", "output"): (["fit", "data.csv", *QUICK], ["data.csv"], ".npz"),
    ("score", "output"): (["score", "m.npz", "pool.csv"], ["m.npz", "pool.csv"], ".csv"),
    ("select", "output"): (
        ["select", "m.npz", "pool.csv", "-k", "3", "--labeled", "lab.csv"],
        ["m.npz", "pool.csv", "lab.csv"],
        ".csv",
    ),
    ("next", "output"): (
        ["next", "--folder", "c", "-k", "3"],
        ["pool.csv", "lab.csv", *(f"c/{name}" for name in CAMPAIGN)],
        ".csv",
    ),
    ("fidelity", "output"): (["fidelity", "data.csv"], ["data.csv"], ".csv"),
    ("fidelity", "plot"): (["fidelity", "data.csv"], ["data.csv"], ".png"),
    ("fit", "plot"): (["fit", "data.csv", "-o", "n.npz"], ["data.csv"], ".png"),
    ("demo", "picture"): (["demo", "--pool", "1000"], [], ".png"),
}
PAIRS = [(*key, read) for key, (_, reads, _) in WRITES.items() for read in reads]


@pytest.fixture(scope="module")
def files(trained, pool, tmp_path_factory):
    """A folder with data, labels, a pool, a model and a campaign that has begun with them."""
    folder = tmp_path_factory.mktemp("files")
    for name, source in {
        "data.csv": trained / "data.csv", "lab.csv": trained / "data.csv", "m.npz": trained / "m.npz", "pool.csv": pool,
    }.items():  # fmt: skip
        shutil.copy(source, folder / name)
    begin = ["next", folder / "pool.csv", "--folder", folder / "c", "--labeled", folder / "lab.csv"]
    run(*begin, "-k", 3, "-o", folder / "picks.csv", "--hidden", 4, "--epochs", 5, "--settle", "no")
    return folder


@pytest.fixture
def here(files, tmp_path, monkeypatch):
    """A copy of those files, the campaign's own names for its pool and labels included, as the current folder."""
    place = tmp_path / "here"
    shutil.copytree(files, place)
    command = place / "c" / "command.json"
    command.write_text(command.read_text().replace(str(files), str(place)))
    monkeypatch.chdir(place)
    return place


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_option_that_names_an_output_is_tested():
    found = {
        (name, option.name)
        for name, command in cli.commands.items()
        for option in command.params
        if option.type in (OUTPUT, OUTPUTS)
    }
    assert found == set(WRITES)


@pytest.mark.parametrize("way", ["itself", "link", "hard link", "folder", "link to a link"])
@pytest.mark.parametrize(("command", "option", "read"), PAIRS, ids=lambda value: value)
def test_no_command_writes_over_what_it_reads(here, command, option, read, way):
    arguments, _, ending = WRITES[command, option]
    output = here / f"out{ending}"
    if way in ("itself", "folder") and not read.endswith(ending):
        return  # refused for its ending
    if way == "itself":
        output = here / read
    elif way == "link":
        output.symlink_to(read)
    elif way == "hard link":
        os.link(read, output)
    elif way == "folder":
        (here / "door").symlink_to(here)
        output = here / "door" / read
    else:
        (here / "middle").symlink_to(here / read)
        output.symlink_to("middle")
    before = contents(here)
    line = refused(*arguments, f"--{option}", output)
    assert " itself and would be overwritten; give another --" in line
    assert contents(here) == before


def kept(path):
    """What there is to know of a file but when it was read, which a look at a folder changes."""
    found = os.lstat(path)
    return found[:7], found.st_mtime_ns


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a link that leads in a circle"])
@pytest.mark.parametrize(("command", "option"), WRITES, ids=lambda value: value)
def test_outputs_are_regular_files(here, command, option, kind, linked):
    arguments, _, ending = WRITES[command, option]
    special = here / f"special{ending}"
    if kind == "a pipe":
        os.mkfifo(special)
    elif kind == "a folder":
        special.mkdir()
    else:
        special.symlink_to(special)
    output = here / f"out{ending}" if linked else special
    if linked:
        output.symlink_to(special)
    before = kept(special), contents(here)
    line = refused(*arguments, f"--{option}", output)
    folder = f"{output} is a folder" if command == "score" else f"'{output}' is a directory"
    assert (folder if kind == "a folder" else f"{output} is {kind}") in line
    assert (kept(special), contents(here)) == before


@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
@pytest.mark.parametrize(("command", "option"), WRITES, ids=lambda value: value)
def test_streams_are_refused_for_their_names(here, command, option, output):
    assert f"{output} must end in" in refused(*WRITES[command, option][0], f"--{option}", output)


@pytest.mark.parametrize(
    ("command", "option"), [("score", "output"), ("select", "output"), ("fit", "output")]
)
def test_a_record_of_a_campaign_that_is_not_read_is_spared_too(here, command, option):
    arguments, _, ending = WRITES[command, option]
    for record in CAMPAIGN:
        output = here / f"{record}{ending}"
        output.symlink_to(f"c/{record}")
        before = contents(here)
        assert "is a record of a campaign" in refused(*arguments, f"--{option}", output)
        assert contents(here) == before


def test_two_outputs_in_one_file(here):
    (here / "out.png").symlink_to("out.csv")  # which is not there yet
    arguments = ["fidelity", "data.csv", "-o", "out.csv", "--plot", "out.png"]
    assert "--plot and --output are the same file, out.png; give another --plot" in refused(*arguments)
    assert not (here / "out.csv").exists()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_output_that_a_stream_goes_to(here, stream):
    words = {"stdout": "standard output", "stderr": "standard error"}
    with open("s.csv", "w") as file:
        done = subprocess.run(
            [sys.executable, "-m", "fasttangent.cli", "score", "m.npz", "pool.csv", "-o", "s.csv"],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: file}, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 2
    assert f"s.csv is where {words[stream]} goes" in (done.stderr or (here / "s.csv").read_text())


def test_a_link_to_a_regular_file_stays_and_that_file_is_replaced(here):
    (here / "folder").mkdir()
    (here / "folder" / "old.csv").write_text("old")
    (here / "link.csv").symlink_to("folder/old.csv")
    run("score", "m.npz", "pool.csv", "-o", "link.csv")
    assert (here / "link.csv").is_symlink()
    assert len(rows_of(here / "folder" / "old.csv")["row"]) == 500


def test_an_input_that_is_a_pipe(here):
    os.mkfifo("pipe.csv")
    for arguments in (["score", "m.npz", "pipe.csv", "-o", "s.csv"], ["fit", "pipe.csv", "-o", "n.npz"]):
        assert "pipe.csv is a pipe, and a table is read several times" in refused(*arguments)


KILLED = """
import contextlib, os, signal, sys
from fasttangent.cli import app
from fasttangent.common import progress

@contextlib.contextmanager
def reporting(progress):
    def report(stage, done, total, **figures):
        if done:
            os.kill(os.getpid(), signal.SIGKILL)
    yield report

progress.reporting = reporting
app.cli(sys.argv[1:])
"""


def test_the_next_command_removes_what_a_killed_one_left(here):
    users = [".notes.tmp", ".s.csv.deadbeef.tmp"]
    for name in users:
        (here / name).write_text("mine")
    before = set(os.listdir(here))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "score", "m.npz", "pool.csv", "-o", "s.csv"], timeout=120
    )
    assert done.returncode < 0
    left = set(os.listdir(here)) - before
    assert len(left) == 1
    assert all(name.startswith(".s.csv.") and name.endswith(".tmp") for name in left)
    run("score", "m.npz", "pool.csv", "-o", "t.csv")
    assert set(os.listdir(here)) == before | {"t.csv"}


def test_pictures_are_written_whole_or_not_at_all(here, monkeypatch):
    from matplotlib.figure import Figure

    from fasttangent.cli import plots

    def half(self, path, **_):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    (here / "p.png").write_text("old")
    monkeypatch.setattr(Figure, "savefig", half)
    result = {
        "rmse": {"random": [[1.0, 0.5]], "sample": [[1.0, 0.4]]}, "labelled": [2, 3], "test": 1,
        "unit": "m", "seeds": [0],
    }  # fmt: skip
    before = set(os.listdir(here))
    with pytest.raises(OSError, match="No space left"):
        plots.learning_curves(result, here / "p.png")
    assert (here / "p.png").read_text() == "old"
    assert set(os.listdir(here)) == before
    monkeypatch.undo()
    for ending, start in {"png": b"\x89PNG", "PDF": b"%PDF", "svg": b"<?xml"}.items():
        run("fit", here / "data.csv", "-o", here / "n.npz", "--hidden", 4, "--plot", here / f"f.{ending}")
        assert (here / f"f.{ending}").read_bytes().startswith(start)
        plots.learning_curves(result, here / f"p.{ending}")
        assert (here / f"p.{ending}").read_bytes().startswith(start)

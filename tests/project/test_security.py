"""Every promise of SECURITY.md: its test exists, and those that no other file holds are here."""

import ast
import hashlib
import json
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import python
from helpers.command_line import QUICK, refused, run, shell
from helpers.processes import environment

import fasttangent as ft
from bench.reliability.damage import Planted, forged
from fasttangent.common.errors import CampaignError
from fasttangent.common.tables.reading import open_table
from fasttangent.kernels import jit

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "SECURITY.md").read_text()


def promises():
    """{number: (file, name of its test)}."""
    found = re.findall(r"^(\d+)\. (?:.|\n)*?\[`([\w/.]+)::(\w+)`\]", TEXT, re.MULTILINE)
    return {int(number): (file, test) for number, file, test in found}


def test_every_promise_has_a_number_and_a_test():
    assert list(promises()) == list(range(1, len(promises()) + 1))
    assert len(promises()) == len(re.findall(r"^\d+\. ", TEXT, re.MULTILINE)) >= 15


@pytest.mark.parametrize("number", promises())
def test_the_test_of_a_promise_exists(number):
    file, test = promises()[number]
    tree = ast.parse((ROOT / file).read_text())
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


# --- models ----------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "m.npz"
    model.save(path)
    return path


def entries(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def test_a_model_runs_no_code(saved, tmp_path):
    marker, whole = tmp_path / "marker", entries(saved)
    objects = np.empty(1, object)
    objects[0] = Planted(marker)
    for name in whole:
        np.savez(saved, **{**whole, name: objects})
        with pytest.raises(ft.ModelFileError):
            ft.load(saved)
    assert not marker.exists()
    np.load(saved, allow_pickle=True)[name]
    assert marker.exists()  # what would have happened


def with_header(path, change):
    arrays = entries(path)
    header = json.loads(arrays["fasttangent"].tobytes())
    change(header)
    np.savez(path, **{**arrays, "fasttangent": np.frombuffer(json.dumps(header).encode(), np.uint8)})


def with_array(path, name, value):
    arrays = entries(path)
    changed = arrays[name].copy()
    changed.flat[0] = value
    np.savez(path, **{**arrays, name: changed})


FORGED = {
    "nan among the parameters": lambda path: with_array(path, "params", np.nan),
    "infinite parameter": lambda path: with_array(path, "params", np.inf),
    "nan in the tangent": lambda path: with_array(path, "tangent/strength", np.nan),
    "scale 0": lambda path: with_array(path, "y_scale", 0),
    "negative scale": lambda path: with_array(path, "x_scale", -1),
    "infinite scale of y": lambda path: with_array(path, "y_scale", np.inf),
    "nan mean": lambda path: with_array(path, "x_mean", np.nan),
    "negative mean of squares": lambda path: with_array(path, "slope_squared", -1),
    "negative noise": lambda path: with_header(path, lambda h: h.update(noise=-1.0)),
    "trusted in a word": lambda path: with_header(path, lambda h: h["certificate"].update(trusted="yes")),
    "strength in a word": lambda path: with_header(path, lambda h: h["objective"].update(strength="0.1")),
    "sizes in words": lambda path: with_header(path, lambda h: h.update(sizes=["3", "5", "1"])),
    "huge sizes": lambda path: with_header(path, lambda h: h.update(sizes=[3, 10**9, 1])),
    "an unknown loss": lambda path: with_header(path, lambda h: h["objective"].update(loss="cubic")),
    "format -1": lambda path: with_header(path, lambda h: h.update(format=-1)),
    "format in a word": lambda path: with_header(path, lambda h: h.update(format="1")),
    "no version": lambda path: with_header(path, lambda h: h.pop("version")),
    "flat targets of two outputs": lambda path: with_header(path, lambda h: h.update(flat_targets=3)),
    "no list of reasons": lambda path: with_header(path, lambda h: h["certificate"].update(reasons="none")),
    "names that are numbers": lambda path: with_header(path, lambda h: h.update(feature_names=[1, 2, 3])),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_model_is_refused(saved, how):
    FORGED[how](saved)
    with pytest.raises(ft.ModelFileError) as caught:
        ft.load(saved)
    assert "\n" not in str(caught.value)


def test_an_entry_twice_is_refused(saved):
    name = "params.npy"
    with zipfile.ZipFile(saved) as archive:
        content = archive.read(name)
    with zipfile.ZipFile(saved, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(name, content)
    with pytest.raises(ft.ModelFileError):
        ft.load(saved)


LIMITED = """
import resource, sys
import fasttangent as ft, fasttangent.model.model, fasttangent.model.loading
from fasttangent.common.tables.reading import open_table
{before}
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + {megabytes} * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
{code}
"""


def limited(code, *arguments, megabytes=400, before=""):
    """What Python prints that may need so much memory more than it has after its imports."""
    return python("-c", LIMITED.format(code=code, megabytes=megabytes, before=before), *map(str, arguments))


LOAD = """
try:
    ft.load(sys.argv[1])
except ft.ModelFileError as error:
    assert "memory" not in str(error).lower() and "MemoryError" not in str(error), error
    print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
@pytest.mark.parametrize("entry", ["params", "tangent/strength", "history/loss", "other", "fasttangent"])
def test_a_model_cannot_fill_the_memory(saved, entry):
    arrays = entries(saved)
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in {**arrays, entry: None}:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                if name == entry:
                    kind = {"descr": "|u1" if name == "fasttangent" else "<f8", "fortran_order": False}
                    size = 2**29 // (1 if name == "fasttangent" else 8)
                    np.lib.format.write_array_header_1_0(stream, {**kind, "shape": (size,)})
                    for _ in range(2**5):
                        stream.write(bytes(2**24))
                else:
                    np.lib.format.write_array(stream, arrays[name])
    assert saved.stat().st_size < 2**21
    assert limited(LOAD, saved, megabytes=200) == "refused\n"


AUDIT = """
import sys, warnings
warnings.simplefilter("ignore")
import fasttangent as ft, numpy as np
{before}
seen = []
FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.",
             "ctypes.dlopen", "pickle.find_class", "urllib.")
def hook(event, arguments):
    if event.startswith(FORBIDDEN):
        seen.append((event, str(arguments)[:200]))
    if event == "open" and {watch_files}:
        seen.append((event, str(arguments)[:200]))
sys.addaudithook(hook)
{code}
print(*seen, sep="\\n")
"""


def audited(code, *arguments, before="", watch_files=False):
    """Events that must not happen while the code runs."""
    text = AUDIT.format(code=code, before=before, watch_files=watch_files)
    return python("-c", text, *map(str, arguments)).strip()


def test_loading_opens_nothing_else(saved, tmp_path):
    arrays = entries(saved)
    before = (
        "import zipfile, json, io, fasttangent.model.model; ft.load(sys.argv[1]).predict(np.ones((1, 3)))"
    )
    code = "m = ft.load(sys.argv[1])\nseen = [s for s in seen if sys.argv[1] not in s[1]]"
    assert audited(code, saved, before=before, watch_files=True) == ""
    for name in ("../../evil", "/tmp/evil", "tangent/../../evil"):
        np.savez(saved, **{**arrays, name: arrays["params"]})
        with pytest.raises(ft.ModelFileError):
            ft.load(saved)
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


# --- tables ----------------------------------------------------------------------------------------------------


def test_a_table_runs_no_code(tmp_path):
    marker = tmp_path / "marker"
    objects = np.empty((3, 3), object)
    objects[...] = Planted(marker)
    np.save(tmp_path / "t.npy", objects, allow_pickle=True)
    with pytest.raises(ValueError, match="never unpickled"):
        open_table(tmp_path / "t.npy")
    for kind in (".csv", ".csv.gz", ".parquet"):  # a pickle under another name
        shutil.copyfile(tmp_path / "t.npy", tmp_path / f"t{kind}")
        with pytest.raises((ValueError, OSError)):
            open_table(tmp_path / f"t{kind}").read()
    (tmp_path / "f.csv").write_text(f'a,b\n1,"=SYSTEM(""touch {marker}"")"\n')
    with pytest.raises(ValueError, match="SYSTEM"):
        open_table(tmp_path / "f.csv").read()
    assert not marker.exists()


OPEN = """
try:
    table = open_table(sys.argv[1])
    for block in table.blocks(list(range(min(3, len(table.names))))):
        pass
    print("read")
except (ValueError, OSError) as error:
    assert "\\n" not in str(error), error
    print("refused")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
@pytest.mark.parametrize("kind", ["rows of zeros", "one endless line", "one endless cell", "100,000 columns"])
def test_a_table_cannot_fill_the_memory(tmp_path, kind):
    import gzip

    path = tmp_path / ("t.csv" if kind == "100,000 columns" else "t.csv.gz")
    before = "open_table(sys.argv[2]).read()"
    (tmp_path / "small.csv").write_text("a,b,c\n1,2,3\n")
    if kind == "100,000 columns":
        path.write_text(",".join(f"c{i}" for i in range(100_000)) + "\n" + ",".join(["1"] * 100_000) + "\n")
    else:
        piece = {"rows of zeros": b"0,0,0\n" * 2**16, "one endless line": b"0," * 2**18}.get(
            kind, b"0" * 2**19
        )
        with gzip.open(path, "wb", compresslevel=1) as stream:
            stream.write(b"a,b,c\n")
            for _ in range(2**11):
                stream.write(piece)
    found = limited(OPEN, path, tmp_path / "small.csv", megabytes=700, before=before)
    assert found == ("read\n" if kind in ("rows of zeros", "100,000 columns") else "refused\n")


# --- the cache -------------------------------------------------------------------------------------------------

ASK = "import warnings; warnings.simplefilter('always'); from fasttangent.kernels import jit; print(jit.cache_folder())"


def folder_for(chosen):
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=environment(FASTTANGENT_CACHE=str(chosen)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


OTHERS = {
    "a folder that others may write": lambda root, own: root.chmod(0o777),
    "a folder that the group may write": lambda root, own: root.chmod(0o770),
    "kernels that others may write": lambda root, own: own.chmod(0o777),
    "a link to the kernels": lambda root, own: linked(own),
    "a folder of somebody else": lambda root, own: os.chown(root, 12345, 12345),
    "kernels of somebody else": lambda root, own: os.chown(own, 12345, 12345),
}


def linked(own):
    elsewhere = own.with_name("elsewhere")
    own.rename(elsewhere)
    own.symlink_to(elsewhere)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners and rights as Unix has them")
@pytest.mark.parametrize("how", OTHERS)
def test_code_of_others_is_not_loaded(tmp_path, how):
    if "somebody else" in how and os.getuid() != 0:
        pytest.skip("only root can give files away")
    root = tmp_path / "cache"
    root.mkdir(mode=0o700)
    own, said = folder_for(root)
    assert Path(own).parent == root
    assert said == ""
    OTHERS[how](root, Path(own))
    found, said = folder_for(root)
    assert found == "None"
    assert said.count("Warning") == 1


def test_a_damaged_cache_is_compiled_anew(tmp_path, model, saved):
    """Bits flipped all over all files: the same scores, and no crash."""
    own = jit.cache_folder()
    if own is None:
        pytest.skip("this run keeps no compiled code")
    code = "import sys, numpy as np, fasttangent as ft; print(ft.load(sys.argv[1]).predict(np.ones((5, 3))).tolist())"
    expected = python("-c", code, saved)
    chosen = tmp_path / "cache"
    shutil.copytree(own, chosen / own.name)
    os.chmod(chosen, 0o700)
    rng = np.random.default_rng(0)
    for file in sorted(file for file in (chosen / own.name).iterdir() if file.is_file()):
        content = bytearray(file.read_bytes())
        for at in rng.integers(len(content), size=1 + len(content) // 200):
            content[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(content)
    assert python("-c", code, saved, FASTTANGENT_CACHE=str(chosen)) == expected


# --- campaigns -------------------------------------------------------------------------------------------------


@pytest.fixture
def campaign(trained, pool, tmp_path):
    """The folder of a campaign that waits for labels, and the table of its picks."""
    folder = tmp_path / "campaign"
    words = [
        "--folder",
        folder,
        "-k",
        "3",
        "-o",
        tmp_path / "picks.csv",
        "--labeled",
        trained / "data.csv",
        *QUICK,
    ]
    run("next", pool, *words)
    return folder


def test_a_campaign_runs_no_code(campaign, tmp_path):
    marker, model_file = tmp_path / "marker", next(campaign.glob("model-*.npz"))
    forged_pickle(model_file, marker)
    journal = campaign / "journal.jsonl"
    with journal.open("a") as file:
        file.write(json.dumps({"n": 3, "event": "__import__('os').system('touch marker')", "crc": 0}) + "\n")
    for words in (["--status"], ["-k", "3", "-o", tmp_path / "again.csv"]):
        shell("next", "--folder", campaign, *words)
    shell("tell", tmp_path / "picks.csv", "--folder", campaign)
    assert not marker.exists()


def forged_pickle(path, marker):
    """With a pickle in some entry."""
    for seed in range(1000):
        content = path.read_bytes()
        if forged(np.random.default_rng(seed), path, marker).endswith("pickled"):
            return
        path.write_bytes(content)
    raise AssertionError("no seed plants a pickle")


@pytest.mark.parametrize("at", [5, 0.3, 0.7])
def test_a_damaged_journal_is_left_as_it_is(campaign, at):
    journal = campaign / "journal.jsonl"
    content = bytearray(journal.read_bytes())
    content[at if isinstance(at, int) else int(at * len(content))] ^= 4
    journal.write_bytes(content)
    for words in (["--status"], ["-k", "3", "-o", campaign.parent / "again.csv"]):
        assert str(journal) in refused("next", "--folder", campaign, *words, code=1)
    assert journal.read_bytes() == content
    assert not (campaign.parent / "again.csv").exists()


@pytest.mark.parametrize(
    "name", ["lock", "journal.jsonl", "manifest.json", "command.json", "model-0000.npz", "model-0001.npz"]
)
@pytest.mark.parametrize("kind", ["link", "link to nothing"])
def test_a_campaign_writes_nothing_outside(campaign, tmp_path, name, kind):
    picks, place = tmp_path / "picks.csv", campaign / name
    lines = picks.read_text().splitlines()
    picks.write_text("\n".join([lines[0], *(f"{line}1.5" for line in lines[1:])]) + "\n")
    victim = tmp_path / "victim"
    if kind == "link":
        if place.exists():
            shutil.copyfile(place, victim)
        else:
            victim.write_text("precious\n")
    before = hashlib.sha256(victim.read_bytes()).hexdigest() if victim.exists() else None
    place.unlink(missing_ok=True)
    place.symlink_to(victim)
    shell("tell", picks, "--folder", campaign)
    done = shell("next", "--folder", campaign, "-k", "3", "-o", tmp_path / "again.csv")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(place) in done.stderr
    assert victim.exists() == (before is not None)
    assert before is None or hashlib.sha256(victim.read_bytes()).hexdigest() == before


def test_a_folder_of_links_is_no_campaign(campaign, tmp_path):
    """By the library, too."""
    (campaign / "lock").unlink()
    (campaign / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(CampaignError, match="lock"):
        ft.ActiveLearner(np.random.default_rng(0).normal(size=(20, 3)), folder=campaign)
    assert not (tmp_path / "victim").exists()


# --- outputs ---------------------------------------------------------------------------------------------------


def commands(folder):
    """{name: (arguments without the output, its inputs)}."""
    m, data, pool, labeled = (folder / name for name in ("m.npz", "data.csv", "pool.csv", "labeled.csv"))
    return {
        "fit": (["fit", data, *QUICK], [data]),
        "score": (["score", m, pool], [m, pool]),
        "select": (["select", m, pool, "-k", "2", "--labeled", labeled], [m, pool, labeled]),
        "next": (
            ["next", pool, "--folder", folder / "campaign", "-k", "2", "--labeled", data, *QUICK],
            [pool, data, folder / "campaign" / "journal.jsonl"],
        ),
    }


@pytest.fixture
def inputs_of(trained, pool, tmp_path):
    """A function that gives a command's arguments and inputs, in a folder with all that it reads."""
    for file in ("m.npz", "data.csv"):
        shutil.copyfile(trained / file, tmp_path / file)
    shutil.copyfile(pool, tmp_path / "pool.csv")
    rows = (tmp_path / "data.csv").read_text().splitlines()
    (tmp_path / "labeled.csv").write_text("\n".join(line.rpartition(",")[0] for line in rows) + "\n")

    def given(name):
        words, inputs = commands(tmp_path)[name]
        if name == "next":
            run(*words, "-o", tmp_path / "picks.csv")
        return words, inputs

    return given


def refuses_to_write(words, target):
    done = shell(*words, "-o", target)
    assert done.returncode in (1, 2), done.stderr
    assert done.stderr.startswith("fasttangent: error: ")


@pytest.mark.parametrize("way", ["itself", "link", "hard link"])
@pytest.mark.parametrize("name", ["fit", "score", "select", "next"])
def test_no_command_writes_over_its_inputs(inputs_of, tmp_path, name, way):
    words, inputs = inputs_of(name)
    for given in inputs:
        before = given.read_bytes()
        target = given if way == "itself" else tmp_path / f"target{'.npz' if name == 'fit' else '.csv'}"
        if way == "hard link":
            os.link(given, target)
        elif way == "link":
            target.symlink_to(given)
        refuses_to_write(words, target)
        assert given.read_bytes() == before, given
        if way != "itself":
            target.unlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="files that are none, as Unix has them")
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("name", ["fit", "score", "select", "next"])
def test_no_command_replaces_what_is_no_file(inputs_of, tmp_path, name, linked):
    """A pipe stands for devices: a test must not risk one of the machine's."""
    words, _ = inputs_of(name)
    pipe, target = tmp_path / "pipe.csv", tmp_path / f"target{'.npz' if name == 'fit' else '.csv'}"
    os.mkfifo(pipe if linked else target)
    if linked:
        target.symlink_to(pipe)
    refuses_to_write(words, target)
    assert stat.S_ISFIFO(target.stat().st_mode)


def test_no_connection_and_no_process(saved, tmp_path):
    """Also not by what is loaded on the way; what compiling needs is loaded before."""
    code = """
rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
model = ft.fit(X, X[:, 0] ** 2, hidden=(4,), epochs=5)
model.save(sys.argv[2])
model = ft.load(sys.argv[2])
model.score(X)
ft.select(model, rng.normal(size=(50, 3)), 3, labeled=X)
"""
    assert audited(code, saved, tmp_path / "again.npz", before=code) == ""


def test_limits_of_memory_hold():
    """Or the tests above would show nothing."""
    if sys.platform == "linux":
        assert limited("try:\n    bytearray(2**30)\nexcept MemoryError:\n    print('none')") == "none\n"
        assert resource.getrlimit(resource.RLIMIT_AS)[0] != 0

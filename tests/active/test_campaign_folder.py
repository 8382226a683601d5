"""The folder of a campaign: nothing outside it is written through links, and nothing of the user's is removed."""

import os
import shutil
import sys

import numpy as np
import pytest

import fasttangent as ft
from fasttangent.active.loop.campaign import status
from fasttangent.active.loop.folder import records

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs links and pipes"),
    pytest.mark.filterwarnings("ignore::fasttangent.UntrustedTangentWarning"),
]
X = np.random.default_rng(1).normal(size=(60, 2))
Y = np.sin(X[:, 0]) + X[:, 1]


def learner(folder, budget=20):
    fit = {"hidden": (4,), "epochs": 5, "settle": False}
    return ft.ActiveLearner(X, oracle=Y, strategy="random", batch=10, budget=budget, folder=folder, fit=fit)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("done") / "c"
    with learner(folder) as run:
        run.run()
    return folder


@pytest.fixture
def folder(done, tmp_path):
    return shutil.copytree(done, tmp_path / "c")


NAMES = ["manifest.json", "journal.jsonl", "lock", "model-0001.npz", "model-0002.npz"]


@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe", "folder"])
@pytest.mark.parametrize("name", NAMES)
def test_records_are_files_of_the_campaign_s_own(folder, tmp_path, name, kind):
    path, outside = folder / name, tmp_path / "outside"
    content = path.read_bytes() if path.exists() else b"labels of years"
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(outside)
        if kind == "link":
            outside.write_bytes(content)
    if (name, kind) == ("manifest.json", "link to nothing"):
        (folder / "journal.jsonl").unlink()
    before = sorted(os.listdir(tmp_path)), sorted(os.listdir(folder))
    with pytest.raises(
        ft.CampaignError, match=f"{name} is a {kind.split()[0]} and no file of the campaign's own"
    ):
        learner(folder, budget=30).run()
    if path.exists():
        with pytest.raises(ft.CampaignError, match="no file of the campaign's own"):
            status(folder)
    assert (sorted(os.listdir(tmp_path)), sorted(os.listdir(folder))) == before
    if kind == "link":
        assert outside.read_bytes() == content


def test_a_lock_of_somebody_else_is_not_emptied(folder):
    for mine in (b"1,2,3\n", b"proclaimed\n"):
        (folder / "lock").write_bytes(mine)
        with pytest.raises(ft.CampaignError, match="is not the lock of a campaign"):
            learner(folder)
        assert (folder / "lock").read_bytes() == mine
    for ours in (b"", b"pro", b"process 1 on a machine of another time\n"):
        (folder / "lock").write_bytes(ours)
        learner(folder).close()
        assert (folder / "lock").read_bytes().startswith(f"process {os.getpid()} on ".encode())


def test_files_of_the_user_stay(folder):
    users = ["model-best.npz", "model-1.npz", ".notes.tmp", ".model.npz.deadbeef.tmp", "picks.csv"]
    for name in users:
        (folder / name).write_text("mine")
    (folder / "model-0000.npz").write_text("the model before")
    learner(folder).close()
    assert sorted(os.listdir(folder)) == sorted([*users, *(path.name for path in records(folder))])
    assert not (folder / "model-0000.npz").exists()


def test_records_are_listed(folder, tmp_path):
    assert [path.name for path in records(folder)] == sorted(
        ["journal.jsonl", "lock", "manifest.json", "model-0001.npz"]
    )
    assert records(tmp_path) == records(tmp_path / "nowhere") == []
    (tmp_path / "lock").write_text("")
    assert records(tmp_path) == []

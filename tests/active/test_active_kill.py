"""The loop after a kill at any moment: no label asked twice, none lost, the picks of an undisturbed run."""

import contextlib
import os

import pytest
from helpers.kill_active import campaign_of, learner, pool_and_labels, run_and_kill

pytestmark = pytest.mark.filterwarnings("ignore::fasttangent.UntrustedTangentWarning")


class Crash(BaseException):
    """The process is gone."""


class Disk:
    """Stands between the loop and the system; the process dies at or in the n-th operation in the folder."""

    OPERATIONS = ("open", "write", "fsync", "replace", "ftruncate", "unlink", "mkdir")

    def __init__(self, monkeypatch, folder, at):
        self.folder, self.at, self.count, self.dead = str(folder), at, 0, False
        self.handles = set()
        self.real = {name: getattr(os, name) for name in self.OPERATIONS}
        for name in self.OPERATIONS:
            monkeypatch.setattr(os, name, lambda *a, _name=name, **k: self.call(_name, *a, **k))

    def ours(self, first):
        if isinstance(first, int):
            return first in self.handles
        return str(os.fspath(first)).startswith(self.folder)

    def call(self, name, first, *rest, **named):
        if not self.ours(first):
            return self.real[name](first, *rest, **named)
        if self.dead:
            raise Crash
        self.count += 1
        if self.count == self.at:
            self.dead = True
            if name == "write":  # half of it reaches the disk
                self.real["write"](first, rest[0][: len(rest[0]) // 2])
            raise Crash
        result = self.real[name](first, *rest, **named)
        if name == "open":
            self.handles.add(result)
        return result


class Recorded:
    """An oracle with records of its own, which outlive the process."""

    def __init__(self, labels):
        self.labels, self.made = labels, []

    def __call__(self, X, rows):
        self.made += rows.tolist()
        return self.labels[rows]

    def recall(self, row):
        return self.labels[row] if row in self.made else None


def undisturbed(kind, **more):
    with learner(None, kind, **more) as run:
        return campaign_of(run.run())


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("array", marks=pytest.mark.slow),
        "function",
        pytest.param("warm", marks=pytest.mark.slow),
        "control",
    ],
)
def test_a_crash_at_every_operation_on_the_disk(kind, tmp_path, monkeypatch):
    _, y = pool_and_labels()
    more = {}
    if kind != "array":
        more["oracle"] = Recorded(y)
        more["in_doubt"] = more["oracle"].recall
    expected = undisturbed(kind, **({} if kind == "array" else {**more, "oracle": Recorded(y)}))
    n = 0
    at, step = 1, {"array": 1, "function": 4, "warm": 8, "control": 12}[kind]
    while True:
        folder = tmp_path / str(at)
        if kind != "array":
            more["oracle"] = Recorded(y)
            more["in_doubt"] = more["oracle"].recall
        with monkeypatch.context() as patched:
            disk = Disk(patched, folder, at)
            with contextlib.suppress(Crash):
                learner(folder, kind, **more).run()
        again = learner(folder, kind, **more).run()
        assert campaign_of(again) == expected, at
        if kind != "array":
            made = more["oracle"].made
            assert len(made) == len(set(made)), at
            assert set(made) >= set(again.campaign.state.labels), at
        again.close()
        n += 1
        if not disk.dead:
            break
        at += step
    assert n > 10


@pytest.mark.slow
def test_killed_processes(tmp_path):
    kills, report = run_and_kill(tmp_path, wanted=4, seed=0)
    assert kills == 4
    assert report["labels_made_twice"] == 0
    assert report["labels_lost"] == 0
    assert report["same_picks"]

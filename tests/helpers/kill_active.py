"""Kill campaigns at random moments and compare what is left with one that was not disturbed.

    python tests/helpers/kill_active.py 200 FOLDER

Each campaign runs in a process of its own, which is killed (SIGKILL) after a random time, started again, killed
again, until it ends; then the next campaign begins, until there were so many kills.  The oracle keeps its own
records, each on disk before it answers: "call ROW" when it is called and "made ROW LABEL" when it has a label.
"""

import json
import os
import random
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import fasttangent as ft

FIT = {"hidden": (4,), "epochs": 5, "settle": False}
KINDS = ("function", "warm", "array", "control", "person")


def pool_and_labels():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 2))
    y = np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=120)
    y[::17] = np.nan  # rows that fail
    return X, y


def learner(folder, kind, **more):
    """A small campaign: 4 rounds of 6 rows, by the default strategy if warm; see KINDS."""
    X, y = pool_and_labels()
    settings = {"oracle": y, "batch": 6, "budget": 20, "fit": FIT, "threads": 1, "folder": folder, "seed": 5}
    settings |= {"start": "warm"} if kind == "warm" else {"strategy": "sample"}
    settings |= {"random_control": True} if kind == "control" else {}
    return ft.ActiveLearner(X, **{**settings, **more})


def campaign_of(run):
    """All that must not depend on kills: rows, labels, figures and models; not seconds."""
    keep = [{k: v for k, v in h.items() if not k.endswith("_seconds")} for h in run.history]
    labels = {int(row): label for row, label in run.campaign.state.labels.items()}
    beside = campaign_of(run.control) if run.control else None
    return {"history": keep, "labels": labels, "model": run.model.params.tolist(), "control": beside}


class Oracle:
    """Keeps its own records, as a laboratory does."""

    def __init__(self, path, labels):
        self.path, self.labels = path, labels

    def note(self, line):
        with open(self.path, "ab") as file:
            if file.tell() and self.path.read_bytes()[-1:] != b"\n":
                file.write(b"\n")  # after a torn line
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def __call__(self, X, rows):
        for row in rows:
            self.note(f"call {row}")
            time.sleep(0.002)
            self.note(f"made {row} {self.labels[row]!r} end")
        return self.labels[rows]

    def recall(self, row):
        if not self.path.exists():
            return None  # it was never reached
        for line in self.path.read_text().splitlines():
            words = line.split()
            if words[:2] == ["made", str(row)] and words[-1] == "end":
                return self.labels[row]
        return None


def work(folder, kind):
    """What the process does that is killed."""
    warnings.simplefilter("ignore", ft.UntrustedTangentWarning)
    _, y = pool_and_labels()
    oracle = Oracle(folder.parent / "oracle.txt", y)
    learner(None, "array").run()  # loads and compiles; kills are to hit the work, not the start of Python
    print("ready", flush=True)
    if kind in ("array", "person"):
        run = learner(folder, kind, oracle=y if kind == "array" else None)
    else:
        run = learner(folder, kind, oracle=oracle, in_doubt=oracle.recall)
    if kind == "person":
        while len(rows := run.ask()):
            run.tell({int(row): y[row] for row in reversed(rows[: len(rows) // 2 + 1])})
    else:
        run.run()
    result = folder.parent / "result.json"
    temporary = result.with_suffix(".tmp")
    temporary.write_text(json.dumps(campaign_of(run)))
    os.replace(temporary, result)


def start(folder, kind):
    process = subprocess.Popen(
        [sys.executable, __file__, "--work", str(folder / "campaign"), kind],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def progress(folder):
    """Bytes in the journals of a campaign, and which files there are."""
    return sorted((str(p), p.stat().st_size) for p in folder.rglob("*") if p.is_file() and p.name != "lock")


def ended(process):
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, f"the work ended with exit code {process.returncode}: {out}"


def run_and_kill(folder, wanted, seed=0, say=lambda text: None):
    """Kill campaigns `wanted` times; return the number of kills and what became of labels and picks."""
    chance = random.Random(seed)
    expected, seconds = {}, {}
    for kind in KINDS:
        (folder / f"whole-{kind}").mkdir()
        process = start(folder / f"whole-{kind}", kind)
        began = time.perf_counter()
        ended(process)
        seconds[kind] = time.perf_counter() - began
        expected[kind] = json.loads((folder / f"whole-{kind}" / "result.json").read_text())
    report = {
        "campaigns": 0,
        "labels_made_twice": 0,
        "labels_lost": 0,
        "same_picks": True,
        "kills_in_new_places": 0,
        "labels_made": 0,
        "calls": 0,
    }
    kills = 0
    while kills < wanted:
        kind = KINDS[report["campaigns"] % len(KINDS)]
        place = folder / f"{report['campaigns']}-{kind}"
        place.mkdir()
        before = None
        while not (place / "result.json").exists():
            process = start(place, kind)
            if kills < wanted:
                try:
                    process.wait(timeout=chance.uniform(0, seconds[kind]))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    process.stdout.close()
                    kills += 1
                    now = progress(place / "campaign")
                    report["kills_in_new_places"] += now != before
                    before = now
                    continue
            ended(process)
        report["campaigns"] += 1
        found = json.loads((place / "result.json").read_text())
        report["same_picks"] &= found == expected[kind]
        report["labels_lost"] += len(expected[kind]["labels"].keys() - found["labels"].keys())
        records = (place / "oracle.txt").read_text().splitlines() if (place / "oracle.txt").exists() else []
        made = [line.split()[1] for line in records if line.startswith("made") and line.endswith("end")]
        report["labels_made"] += len(made)
        report["calls"] += sum(line.startswith("call") for line in records)
        report["labels_made_twice"] += len(made) - len(set(made))
        say(f"{place.name}: {kills} kills so far, {report}")
    return kills, report


if __name__ == "__main__":
    if sys.argv[1] == "--work":
        work(Path(sys.argv[2]), sys.argv[3])
    else:
        print(run_and_kill(Path(sys.argv[2]), int(sys.argv[1]), say=print))

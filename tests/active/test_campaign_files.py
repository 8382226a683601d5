"""Files of a campaign that say what no campaign writes: refused by line and field, and nothing of them counts."""

import json

import pytest
from helpers.command_line import refused, run
from helpers.kill_active import learner

import fasttangent as ft
from fasttangent.active.loop import campaign, journal
from fasttangent.active.loop.campaign import JOURNAL, MANIFEST
from fasttangent.cli.tables.writing import write_table

pytestmark = pytest.mark.filterwarnings("ignore::fasttangent.UntrustedTangentWarning")


def rewritten_journal(path, line, change):
    """The journal with one event changed, its checksum right again."""
    events, _ = journal.read(path)
    change(events[line])
    path.write_bytes(b"".join(journal._line(n, event) for n, event in enumerate(events)))


WRONG_EVENTS = [
    ("asked", {"event": "_init__"}, "'event' must be one of"),
    ("asked", {"event": 1}, "'event' must be one of"),
    ("asked", {"rows": [-1]}, "'rows'"),
    ("asked", {"rows": [10**9]}, "must be of the pool"),
    ("asked", {"rows": [1, 1]}, "different values"),
    ("asked", {"rows": ["1"]}, "'rows'"),
    ("asked", {"predictions": [1.0]}, "'predictions' must have a value for each"),
    ("told", {"rows": [0, 1]}, "'labels' must have a label for each"),
    ("told", {"labels": ["1.0"]}, "'labels'"),
    ("told", {"labels": [[]]}, "'labels'"),
    ("told", {"seconds": -1}, "'seconds'"),
    ("told", {"borrowed": "yes"}, "'borrowed'"),
    ("fit", {"file": "../../other.npz"}, "'file'"),
    ("fit", {"sha256": "0"}, "'sha256'"),
    ("fit", {"round": "0"}, "'round'"),
]


@pytest.mark.parametrize(
    ("kind", "change", "fragment"), WRONG_EVENTS, ids=[str(c) for _, c, _ in WRONG_EVENTS]
)
def test_an_event_that_no_campaign_writes(tmp_path, kind, change, fragment):
    folder = tmp_path / "c"
    learner(folder, "array").run(rounds=2).close()
    path = folder / JOURNAL
    line = [event["event"] for event in journal.read(path)[0]].index(kind)
    rewritten_journal(path, line, lambda event: event.update(change))
    with pytest.raises(ft.CampaignError, match=f"in line {line + 1} what no campaign writes.*{fragment}"):
        learner(folder, "array")
    with pytest.raises(ft.CampaignError, match="what no campaign writes"):
        campaign.status(folder)


def test_rows_that_were_never_asked(tmp_path):
    folder = tmp_path / "c"
    learner(folder, "array").run(rounds=2).close()
    path = folder / JOURNAL
    events = journal.read(path)[0]
    never = min(set(range(200)) - {row for event in events for row in event.get("rows", [])})
    kinds = [event["event"] for event in events]
    rewritten_journal(path, kinds.index("told"), lambda e: e["rows"].__setitem__(0, never))
    with pytest.raises(ft.CampaignError, match="must have been asked before"):
        learner(folder, "array")


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"n": 0, "event": NaN, "crc": 1}', b"1", b"null", b'""'])
def test_lines_that_are_no_event(tmp_path, line):
    folder = tmp_path / "c"
    learner(folder, "array").run(rounds=1).close()
    (folder / JOURNAL).write_bytes(line + b"\n")
    with pytest.raises(ft.CampaignError, match="is damaged in line 1"):
        learner(folder, "array")


@pytest.mark.parametrize(
    "change",
    [{"format": v} for v in (-1, 0, "1", 1.0, True, None, [1])]
    + [{"pool": None}, {"pool": {"rows": -1, "columns": 3, "sha256": "0" * 64}}, {"labeled": []}, {"outputs": [0]},
       {"settings": None}, {"version": 1}],
    ids=str,
)  # fmt: skip
def test_a_manifest_that_no_campaign_writes(tmp_path, change):
    folder = tmp_path / "c"
    learner(folder, "array").run(rounds=1).close()
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ft.CampaignError, match=f"damaged.*{next(iter(change))}"):
        learner(folder, "array")
    with pytest.raises(ft.CampaignError, match="damaged"):
        campaign.status(folder)


@pytest.mark.parametrize(
    "change",
    [{"pool": 1}, {"header": "yes"}, {"names": []}, {"names": "ab"}, {"label_names": ["y", "y"]}],
    ids=str,
)  # fmt: skip
def test_what_next_remembers(tmp_path, change):
    write_table(str(tmp_path / "pool.csv"), {"a": [1.0, 2, 3, 4], "b": [4.0, 3, 5, 1]})
    where = ("--folder", tmp_path / "c")
    run("next", tmp_path / "pool.csv", *where, "-k", 2, "-o", tmp_path / "p.csv", "--epochs", 1)
    path = tmp_path / "c" / "command.json"
    whole = path.read_text()
    for text in (
        json.dumps(json.loads(whole) | change),
        whole.replace("{", "[").replace("}", "]"),
        "[" * 100_000,
    ):
        path.write_text(text)
        for command in (("tell", tmp_path / "p.csv"), ("next", "-k", 2, "-o", tmp_path / "p.csv")):
            assert "command.json is damaged" in refused(*command, *where, code=1)

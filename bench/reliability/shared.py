"""Two processes at once on one campaign, and on one cache: no work is lost, and results are those of one alone."""

from __future__ import annotations

import shutil

import numpy as np

from bench.reliability.case import Ground, check
from bench.reliability.commands import (
    COMMANDS,
    Ended,
    compare,
    copy_of_ready,
    digests,
    ended_well,
    files_of,
    inside,
    start,
    undisturbed,
)
from bench.reliability.files import CACHED_PROGRAM, program, warm_cache

NAMES = ("next, at first", "next, again", "tell")


def case(ground: Ground) -> str:
    rng = ground.rng
    if ground.seed % 3 == 2:
        return cache(rng, ground)
    return campaign(str(rng.choice(NAMES)), ground)


def campaign(name: str, ground: Ground) -> str:
    """The same command twice on one folder, and the status read meanwhile."""
    folder, command = copy_of_ready(ground.home, ground.place), COMMANDS[name]
    other = [word.replace("out.csv", "other.csv") for word in command.arguments]
    where = command.arguments[command.arguments.index("--folder") + 1]
    processes = [start(folder, words) for words in (command.arguments, other)]
    looks = 0
    while any(process.poll() is None for process in processes):
        look = inside(folder, "next", "--folder", where, "--status")
        ended_well(look, f"--status beside {name}")
        looks += 1
    ended = [
        Ended(p.wait(), *(stream.read() for stream in (p.stdout, p.stderr) if stream)) for p in processes
    ]
    for one in ended:
        ended_well(one, name, codes=(0, 1))
        check(one.code == 0 or "in use" in one.err, "error that does not say that it is in use", one.err)
    check(
        any(one.code == 0 for one in ended),
        "neither of two processes did the work",
        [one.err for one in ended],
    )
    if (folder / "other.csv").exists():
        if (folder / "out.csv").exists():
            same = (folder / "other.csv").read_text() == (folder / "out.csv").read_text()
            check(same, "two processes were given other rows", name)
        (folder / "other.csv").replace(folder / "out.csv")
    expected = undisturbed(ground.home, name)
    compare(digests(folder, command), expected, "another result beside another process", name)
    left = [file for file in files_of(folder) if file.endswith(".tmp")]
    check(not left, "files left behind", f"{left}; {name}")
    return f"{name}: {sum(one.code == 0 for one in ended)} of 2 did it"


def cache(rng: np.random.Generator, ground: Ground) -> str:
    """Two processes that compile the same kernels, as some of them are missing, into the same folder."""
    chosen, folder = ground.place / "cache", copy_of_ready(ground.home, ground.place)
    shutil.copytree(warm_cache(ground.home), chosen)
    files = sorted(path for path in chosen.rglob("*") if path.is_file())
    missing = rng.choice(len(files), min(len(files), int(rng.choice([1, 3, 8]))), replace=False)
    for i in missing:
        files[i].unlink()
    processes = [program(folder, CACHED_PROGRAM, chosen) for _ in range(2)]
    found = [process.communicate() for process in processes]
    about = f"without {[files[i].name for i in missing]}"[:400]
    for process, (_, err) in zip(processes, found, strict=True):
        check(
            process.returncode == 0,
            f"exit code {process.returncode} beside another on the cache",
            f"{err[-800:]}; {about}",
        )
    alone, _ = program(folder, CACHED_PROGRAM, warm_cache(ground.home)).communicate()
    for out, _ in found:
        check(out == alone, "other numbers beside another on the cache", about)
    again, _ = program(folder, CACHED_PROGRAM, chosen).communicate()
    check(again == alone, "other numbers from a cache that two wrote", about)
    return "cache: the same"

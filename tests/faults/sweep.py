"""`python -m tests.faults.sweep [--points N] [--packed N] [--kills N] [--seed N]`: a large sweep over two clusters
whose client is killed with -9 at random moments, and how often each of its points ran.

`submit` is typed until it succeeds, then `watch` until all have ended; they are killed until there were so many kills.
A run of a point adds a line to a file of the point's own, whatever Slurm and the tracker believe.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.desk import USER, Desk, a_desk
from tests.cluster.users import run_as

CLUSTERS = ("alpha", "beta")
LONGEST_S = {"submit": 2.5, "watch": 30.0}  # until a command is killed
TOLD_EVERY_S = 60.0


@dataclass(frozen=True)
class Found:
    """How many points ran how often, how many are in which state, and how often which command was killed."""

    runs: Counter[int]
    states: dict[str, int]
    killed: Counter[str]

    def is_right(self, points: int) -> bool:
        """Whether each point ran once, and is known to have."""
        return self.runs == Counter({1: points}) and self.states == {"COMPLETED": points}


def counts_in(desk: Desk) -> Path:
    """The folder with a file for each point; both clusters' nodes see it."""
    return desk.data(CLUSTERS[0]) / "count"


def swept(desk: Desk, points: int, packed: int) -> Path:
    """The experiment's file."""
    folder = counts_in(desk)
    assert run_as(USER, ["mkdir", "--parents", str(folder)], CLUSTERS[0]).returncode == 0
    for cluster in CLUSTERS:
        desk.describe(cluster, mounts={"allow": [str(folder)]})
    sweep = {"grid": {"n": {"range": [points]}}, "spread": "even"}
    return desk.experiment(
        "many",
        ["sh", "-c", 'echo ran >>"/count/$1"', "sh", "{{ n }}"],
        sweep={**sweep, "points_per_job": packed} if packed > 1 else sweep,
        clusters=list(CLUSTERS),
        mounts=[{"source": str(folder), "target": "/count", "read_only": False}],
        resources={"cpus": 8, "time": "01:00:00"},
        network="none",  # docker 20.10's bridge came to a deadlock after some thousand containers
    )


def struck(desk: Desk, words: tuple[str | Path, ...], after_s: float) -> int:
    """The exit code of a command that is killed after so long, unless it has ended."""
    client = desk.start(*words)
    try:
        client.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        os.killpg(client.pid, signal.SIGKILL)
        client.communicate()
    return client.returncode


def killed_often(desk: Desk, file: Path, kills: int, at: random.Random) -> Counter[str]:
    """Which command was killed how often, until the sweep was submitted and there were so many kills."""
    killed: Counter[str] = Counter()
    name = "submit"
    while killed.total() < kills:
        words: tuple[str | Path, ...] = (name, file) if name == "submit" else (name, file.stem + "-" + desk.token)
        code = struck(desk, words, at.uniform(0.1, LONGEST_S[name]))
        if code == -signal.SIGKILL:
            killed[name] += 1
        elif name == "watch":
            break  # all points have ended
        # 1: it was killed after its last word, and has nothing left to do
        if name == "submit" and (code in (0, 1) or killed.total() >= kills * 2 // 3):
            name = "watch"
            say(f"submitting was killed {killed['submit']} times")
            desk.tfslurm("submit", file, timeout_s=600)
    return killed


def followed(desk: Desk, points: int, began: float) -> dict[str, int]:
    """How many points are in which state, once all have ended."""
    client = desk.start("watch", f"many-{desk.token}", "--json")
    while True:
        try:
            said, errors = client.communicate(timeout=TOLD_EVERY_S)
            break
        except subprocess.TimeoutExpired:
            ran = sum(1 for _ in os.scandir(counts_in(desk)))
            say(f"{ran} of {points} points have run, {time.monotonic() - began:.0f} s")
    assert client.returncode == 0, errors
    (sweep,) = json.loads(said)
    return dict(sweep["counts"])


def strike(points: int, packed: int, kills: int, at: random.Random) -> Found:
    """What came of such a sweep."""
    began = time.monotonic()
    with a_desk() as desk:
        file = swept(desk, points, packed)
        assert desk.tfslurm("pin", file).returncode == 0
        killed = killed_often(desk, file, kills, at)
        states = followed(desk, points, began)
        lines = {path.name: len(path.read_text().splitlines()) for path in counts_in(desk).iterdir()}
        return Found(Counter(lines.values()), states, killed)


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Strike one sweep and print what came of it; 1 where a point did not run once."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sweep", description=__doc__)
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--packed", type=int, default=1, help="points_per_job")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    say(f"seed {arguments.seed}")
    began = time.monotonic()
    found = strike(arguments.points, arguments.packed, arguments.kills, random.Random(arguments.seed))
    runs = ", ".join(f"{count} points ran {times} times" for times, count in sorted(found.runs.items()))
    print(f"{runs}; {found.states}; killed: {dict(found.killed)}; {time.monotonic() - began:.0f} s")
    return 0 if found.is_right(arguments.points) else 1


if __name__ == "__main__":
    sys.exit(main())

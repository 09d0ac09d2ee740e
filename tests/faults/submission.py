"""`python -m tests.faults.submission [--points N] [--seed N]`: a submission cut at random, and what comes of the next.

Each point is a desk of its own with one job that would begin in an hour. Its submission is cut; the same command is
typed again until it succeeds; then Slurm is asked how many such jobs there are. One is right, and its id was printed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tests.cluster.bed import CLUSTERS
from tests.cluster.desk import KILL_CLIENT, USER, Desk, a_desk, ids
from tests.cluster.install import install
from tests.cluster.line import Cut, Line
from tests.cluster.users import run_as

AT_ONCE = 8
PROXIED = "alpha-by-proxy"  # a name of the users' ssh_config, whose port is anybody's
LONGEST_S = 3.0  # about as long as a submission takes while others run beside it


@dataclass(frozen=True)
class Point:
    """A kind of cut, where, over which line, and the number that says at which moment."""

    kind: str
    cluster: str
    over: str  # 'local', or a transport: 'paramiko', 'openssh'
    seed: int


@dataclass(frozen=True)
class Found:
    """What came of a point: the jobs that Slurm has, those that were printed, what is wrong otherwise, and
    whether the first command failed (a cut after its end, or one that it mended itself, leaves it whole)."""

    point: Point
    jobs: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    wrong: str = ""
    was_cut: bool = True

    @property
    def is_right(self) -> bool:
        """Whether the intended job is there once, its id was printed, and nothing else was."""
        return not self.wrong and len(self.jobs) == 1 and set(self.told) == {f"{self.point.cluster}:{self.jobs[0]}"}


def typed(desk: Desk, point: Point, file: Path) -> tuple[str | Path, ...]:
    """The command that is cut, and typed again."""
    return ("submit", file, "--cluster", point.cluster)


# ------------------------------------------------------------------------------------------------------------ the cuts


def killed(desk: Desk, point: Point, file: Path, at: random.Random) -> bool:
    """kill -9 of the client at any moment, from its start until after it has printed."""
    client = desk.start(*typed(desk, point, file), cluster=point.cluster)
    with suppress(subprocess.TimeoutExpired):
        client.wait(at.uniform(0.05, LONGEST_S))
    if client.poll() is None:
        os.killpg(client.pid, signal.SIGKILL)
    client.communicate()
    return client.returncode != 0


def wrapped(program: str, body: str) -> Callable[[Desk, Point, Path, random.Random], bool]:
    """A program on the login node that does something else as well."""

    def cut(desk: Desk, point: Point, file: Path, at: random.Random) -> bool:
        env = desk.wrap(program, body.replace("PAUSE", f"{at.uniform(0, 0.3):.3f}"))
        if point.over != "local":
            describe(desk, point, slurm_bin=env["PATH"].partition(":")[0])
        done = desk.tfslurm(*typed(desk, point, file), cluster=point.cluster, env=env)
        describe(desk, point)
        return done.returncode != 0

    return cut


def line_cut(desk: Desk, point: Point, file: Path, at: random.Random) -> bool:
    """The line is cut after so many bytes, in one of the two directions."""
    up = at.random() < 0.5
    limit = at.randint(1, 60_000) if up else at.randint(1, 9_000)
    with Line(ssh_port(), cut=Cut("up" if up else "down", limit)) as line:
        describe(desk, point, port=line.port)
        done = desk.tfslurm(*typed(desk, point, file), cluster=point.cluster)
    describe(desk, point)
    return done.returncode != 0


def disk_full(desk: Desk, point: Point, file: Path, at: random.Random) -> bool:
    """The file system of the run root has room for some of it only."""
    root = desk.root(point.cluster)
    root.mkdir(parents=True, exist_ok=True)
    size = at.choice([4, 8, 16, 24, 32, 48, 64, 80, 100, 120, 200])
    options = f"size={size}k,uid={ids()[0]},gid={ids()[1]},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(root)], check=True)
    done = desk.tfslurm(*typed(desk, point, file), cluster=point.cluster)
    subprocess.run(["mount", "-o", "remount,size=8m", str(root)], check=True)
    return done.returncode != 0


def deaf(desk: Desk, point: Point, file: Path, at: random.Random) -> bool:
    """The controller does not answer: nobody listens at its port."""
    conf = CLUSTERS[point.cluster].slurm_conf
    text = conf.read_text().replace(f"SlurmctldPort={CLUSTERS[point.cluster].ctld_port}", "SlurmctldPort=17199")
    path = desk.write("deaf/slurm.conf", text + "MessageTimeout=2\n")
    for name in ("gres.conf", "cgroup.conf"):
        if conf.with_name(name).exists():
            shutil.copy(conf.with_name(name), path.parent)
    describe(desk, point, environment={"SLURM_CONF": str(path)})
    done = desk.tfslurm(*typed(desk, point, file), cluster=point.cluster)
    describe(desk, point)
    return done.returncode != 0


def two(desk: Desk, point: Point, file: Path, at: random.Random) -> bool:
    """Two clients at once; one of them may be killed as well."""
    first = desk.start(*typed(desk, point, file), cluster=point.cluster)
    time.sleep(at.uniform(0, 0.5))
    second = desk.start(*typed(desk, point, file), cluster=point.cluster)
    if at.random() < 0.5:
        time.sleep(at.uniform(0, 1))
        os.killpg(first.pid, signal.SIGKILL)
    for client in (first, second):
        client.communicate(timeout=120)
    return any(client.returncode for client in (first, second))


TOLD_LATE = 'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1'
KINDS: dict[str, tuple[Callable[[Desk, Point, Path, random.Random], bool], int, tuple[str, ...]]] = {
    # kind: what it does, its share, over which lines
    "client killed with -9 at a random moment": (killed, 70, ("local", "paramiko", "openssh")),
    "line cut after N bytes": (line_cut, 50, ("paramiko", "openssh")),
    "sbatch accepted, its answer lost": (
        wrapped("sbatch", f'$real "$@" >/dev/null; {TOLD_LATE}'),
        10,
        ("local", "paramiko"),
    ),
    "client killed before sbatch": (wrapped("sbatch", f'{KILL_CLIENT}; sleep PAUSE; exec $real "$@"'), 12, ("local",)),
    "client killed after sbatch": (wrapped("sbatch", f'$real "$@"; s=$?; {KILL_CLIENT}; exit $s'), 12, ("local",)),
    "sbatch and its shell killed before": (wrapped("sbatch", "kill -9 $PPID; kill -9 $$"), 8, ("local", "paramiko")),
    "sbatch and its shell killed after": (
        wrapped("sbatch", '$real "$@"; kill -9 $PPID; kill -9 $$'),
        8,
        ("local", "paramiko"),
    ),
    "controller does not answer": (deaf, 8, ("local", "paramiko")),
    "disk full on the run root": (disk_full, 12, ("local", "paramiko")),
    "two clients at once": (two, 10, ("local", "paramiko")),
}


# ----------------------------------------------------------------------------------------------------------- one point


def describe(desk: Desk, point: Point, *, port: int = 0, **more: Any) -> None:
    """The cluster's file as this point has it."""
    if point.over != "local":
        more["login"] = {"host": PROXIED, "user": USER, "port": port or ssh_port(), "transport": point.over}
    desk.describe(point.cluster, **more)


def ssh_port() -> int:
    """Where alpha's login node listens."""
    port = CLUSTERS["alpha"].ssh_port
    assert port
    return port


def strike(point: Point) -> Found:
    """Cut a submission, type it again, and count."""
    with a_desk() as desk:
        try:
            describe(desk, point)
            file = desk.experiment("cut", "true", slurm={"begin": "now+1hour"})
            assert desk.tfslurm("pin", file, cluster=point.cluster).returncode == 0
            was_cut = KINDS[point.kind][0](desk, point, file, random.Random(point.seed))
            return replace(counted(desk, point, file), was_cut=was_cut)
        except Exception as error:  # the row says it; the others go on
            return Found(point, wrong=repr(error)[:300])
        finally:
            subprocess.run(["umount", "--lazy", str(desk.root(point.cluster))], check=False, capture_output=True)


def counted(desk: Desk, point: Point, file: Path) -> Found:
    """What there is once the same command was typed again."""
    done = desk.tfslurm(*typed(desk, point, file), cluster=point.cluster)
    told = done.stdout.split() or [word for word in done.stderr.replace(",", " ").split() if word[-1:].isdigit()]
    told = [word for word in told if word.startswith(f"{point.cluster}:")]
    shown = desk.tfslurm("status", "--json", "--all", cluster=point.cluster)
    known = [str(job["job"]) for job in json.loads(shown.stdout)]
    jobs = tuple(named(desk, point.cluster))
    wrong = "" if told and sorted(known) == sorted({*told}) else f"exit {done.returncode}: {done.stderr.strip()[-200:]}"
    return Found(point, jobs, tuple(told), wrong)


def named(desk: Desk, cluster: str) -> list[str]:
    """The ids of every job of this desk's, whether its run folder is there or not."""
    done = run_as(USER, ["squeue", "--noheader", f"--user={USER}", "--states=all", "--format=%i %j"], cluster)
    assert done.returncode == 0, done.stderr
    return [line.split()[0] for line in done.stdout.splitlines() if f"cut-{desk.token}-" in line]


def points(number: int, seed: int) -> list[Point]:
    """So many points, every kind in its share, on clusters with and without accounting."""
    at = random.Random(seed)
    kinds = [kind for kind, (_, share, _) in KINDS.items() for _ in range(max(1, round(share * number / 200)))]
    chosen = (kinds + at.choices(kinds, k=number))[:number]
    found = []
    for turn, kind in enumerate(chosen):
        over = KINDS[kind][2][turn % len(KINDS[kind][2])]
        clusters = ("alpha",) if over != "local" else ("alpha", "gamma", "beta")
        found.append(Point(kind, clusters[turn // 2 % len(clusters)], over, at.randrange(2**32)))
    return found


def run(wanted: Sequence[Point], tell: Callable[[Found], None] = lambda found: None) -> list[Found]:
    """What came of every point."""
    install()

    def one(point: Point) -> Found:
        found = strike(point)
        tell(found)
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, wanted))


def table(found: Sequence[Found]) -> str:
    """By kind: points, over which line, whether the first command failed, and whether each job is there once."""
    head = "| cut | points | over ssh | without accounting | first command failed | exactly once |"
    kinds = {kind: [each for each in found if each.point.kind == kind] for kind in KINDS}
    return "\n".join([head, "|---" * 6 + "|", *(row(kind, those) for kind, those in kinds.items()), row("all", found)])


def row(name: str, found: Sequence[Found]) -> str:
    """One line of the table."""
    ssh = sum(each.point.over != "local" for each in found)
    bare = sum(each.point.cluster == "gamma" for each in found)
    cut, right = (sum(each.was_cut for each in found), sum(each.is_right for each in found))
    return f"| {name} | {len(found)} | {ssh} | {bare} | {cut} | {right} |"


def main() -> int:
    """Strike the points and print the table; 1 where a job is missing or there twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.submission", description=__doc__)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", file=sys.stderr, flush=True)
    began = time.monotonic()
    found = run(points(arguments.points, arguments.seed), partial(print, file=sys.stderr, flush=True))
    print(table(found))
    wrong = [each for each in found if not each.is_right]
    took = time.monotonic() - began
    print(f"seed {arguments.seed}: {len(found)} points, {len(wrong)} wrong, {took:.0f} s", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""`tfslurm status` of thousands of jobs, and the two commands that it needs alone.

The jobs are real: each is submitted held, and all but the last thousand are cancelled. They are in the tracker as
`submit` puts them there. A finished job is asked about once, so every round begins with the tracker as it was.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from tests.bench.measure import Row, turns
from tests.bench.processes import USER, VENV, prepare
from tests.bench.ssh import port, reach
from tests.cluster.bed import HOME, BedError
from tests.cluster.desk import Desk, a_desk, ids
from tests.cluster.users import run_as
from tests.made import CLUSTER, plan
from tfslurm.job_plan import JobPlan
from tfslurm.tracker import Tracker

ENDED, QUEUED = 5000, 1000
FORGETS_S = 330.0  # MinJobAge of the bed, and a little
SUBMITS = """\
set -euo pipefail
one() { echo "$1 $(sbatch --parsable --hold --partition=gpu --output=/dev/null --job-name="$1" --wrap=true)"; }
export -f one
xargs -P 4 -I{} bash -c 'one {}'
"""
SUBMITIT = """\
import sys
import submitit
jobs = [submitit.SlurmJob("bench-submitit", f"{sys.argv[1]}_{n}") for n in range(1000)]
assert len([job.state for job in jobs]) == 1000
"""

ALONE = """\
import json, sys
from pathlib import Path
from tfslurm import slurm
from tfslurm.cluster import parse_cluster
from tfslurm.host import open_host
from tfslurm.monitoring.poll import earlier
cluster, ids = (Path(name).read_text() for name in sys.argv[1:3])
with open_host(parse_cluster(cluster, sys.argv[1])) as host:
    user, since = sys.argv[3], earlier(sys.argv[4])
    for argv in (slurm.queue_argv(), slurm.accounting_argv(user, json.loads(ids), since)):
        done = host.run(argv, timeout_s=120)
        assert done.exit_code == 0, done.stderr
"""


@dataclass(frozen=True)
class Filled:
    """Two trackers of a desk: one with a thousand queued jobs alone, one with thousands that have ended as well."""

    desk: Desk
    queued: Path
    all: Path
    array: str  # a thousand tasks of one job, for the peer
    ended: list[str]  # the ids of those that have ended
    first: str  # when the first of all was planned

    def take(self, tracker: Path) -> None:
        """The desk's tracker is that one again."""
        shutil.copy(tracker, self.desk.tracker)
        os.chown(self.desk.tracker, *ids())


@contextmanager
def filled() -> Iterator[Filled]:
    """Submit the jobs (a minute or two); they are gone afterwards."""
    prepare()
    with a_desk() as made:
        desk = replace(made, program=VENV / "bin" / "tfslurm")
        say(f"{ENDED + QUEUED} jobs are submitted")
        plans = [one(desk, number) for number in range(ENDED + QUEUED)]
        known = submitted(plans)
        array = run_as(USER, [*HELD, "--array=0-999", "--wrap=true"], "alpha").stdout.strip()
        try:
            cancel([known[each.plan_id] for each in plans[:ENDED]])
            everything = tracked(desk, "all.sqlite", plans, known)
            queued = tracked(desk, "queued.sqlite", plans[ENDED:], known)
            ended = [known[each.plan_id] for each in plans[:ENDED]]
            yield Filled(desk, queued, everything, array, ended, plans[0].planned_at)
        finally:
            cancel([array, *(known[each.plan_id] for each in plans[ENDED:])])


HELD = ["sbatch", "--parsable", "--hold", "--partition=gpu", "--output=/dev/null"]


def one(desk: Desk, number: int) -> JobPlan:
    """A plan like a submitted one."""
    moment = f"2026-11-23T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000000Z"
    return plan(cluster=replace(CLUSTER, root=PurePosixPath(desk.root("alpha"))), planned_at=moment)


def submitted(plans: list[JobPlan]) -> dict[str, str]:
    """The ids of the held jobs, by the ids of their plans."""
    names = "".join(f"{each.name}-{each.plan_id}\n" for each in plans)
    done = run_as(USER, ["bash", "-c", SUBMITS], "alpha", stdin=names, timeout_s=500)
    found = {name.rpartition("-")[2]: number for name, number in map(str.split, done.stdout.splitlines())}
    if done.returncode or len(found) != len(plans):
        raise BedError(f"{len(found)} of {len(plans)} jobs were submitted: {done.stderr.strip()[-400:]}")
    return found


def cancel(numbers: list[str]) -> None:
    """These jobs have ended."""
    for start in range(0, len(numbers), 500):
        run_as(USER, ["scancel", *numbers[start : start + 500]], "alpha")


def tracked(desk: Desk, name: str, plans: list[JobPlan], known: dict[str, str]) -> Path:
    """A tracker that has these jobs."""
    path = desk.folder / name
    tracker = Tracker(path)
    for each in plans:
        tracker.plan(each, "")
        tracker.submit(each, known[each.plan_id])
    tracker.close()
    desk.tracker.parent.mkdir(parents=True, exist_ok=True)
    for folder in (desk.tracker.parent, desk.tracker.parent.parent):
        os.chown(folder, *ids())
    return path


def rows(rounds: int) -> list[Row]:
    """A thousand here beside submitit, and thousands over ssh beside the two commands alone."""
    with filled() as jobs:
        wait_until_forgotten()
        return [beside_submitit(rounds, jobs), over_ssh(rounds, jobs)]


def wait_until_forgotten() -> None:
    """The controller has forgotten the jobs that have ended, so that it is accounting that knows of them."""
    until = time.monotonic() + FORGETS_S
    count = ["squeue", "--noheader", "--states=CANCELLED", f"--user={USER}", "--format=%i"]
    say("waiting until slurmctld has forgotten the cancelled jobs (5 minutes after their end)")
    while len(run_as(USER, count, "alpha").stdout.splitlines()) > 100:
        if time.monotonic() > until:
            raise BedError(f"slurmctld still knows the cancelled jobs after {FORGETS_S:.0f} s")
        time.sleep(5)


def beside_submitit(rounds: int, jobs: Filled) -> Row:
    """A thousand queued jobs, on a login node."""
    work = HOME / USER / "bench"
    run_as(USER, ["mkdir", "-p", work])
    (work / "peer_status.py").write_text(SUBMITIT)
    argv = [str(VENV / "bin" / "python"), "peer_status.py", jobs.array]
    found = turns(
        rounds,
        {
            "tfslurm": lambda: jobs.desk.tfslurm("status").returncode,
            "submitit": lambda: run_as(USER, argv, "alpha", cwd=work).returncode,
        },
        lambda: jobs.take(jobs.queued),
    )
    what = f"`tfslurm status` of {QUEUED:,} queued jobs"
    return Row(what, found["tfslurm"], "submitit, states of an array of 1,000", found["submitit"], 2.0)


def over_ssh(rounds: int, jobs: Filled) -> Row:
    """Thousands of jobs, most of which have ended, from a machine without Slurm."""
    reach(jobs.desk, port())
    jobs.take(jobs.all)
    said = jobs.desk.tfslurm("status", "-v", cluster=None).stderr.splitlines()
    asked = [line.removeprefix("+ alpha: ") for line in said if line.startswith("+ alpha: ")]
    if len(asked) != 2:
        raise BedError(f"`tfslurm status` needs {len(asked)} commands on the login node, not 2: {asked}")
    cluster = jobs.desk.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml"
    ids = jobs.desk.write("ids.json", json.dumps(jobs.ended))
    script = jobs.desk.write("alone.py", ALONE)
    alone: list[str | Path] = [VENV / "bin" / "python", script, cluster, ids, USER, jobs.first]
    found = turns(
        rounds,
        {
            "tfslurm": lambda: jobs.desk.tfslurm("status", cluster=None).returncode,
            "alone": lambda: run_as(USER, alone, cwd=jobs.desk.folder).returncode,
        },
        lambda: jobs.take(jobs.all),
    )
    what = f"`tfslurm status` over ssh: {ENDED:,} ended, {QUEUED:,} queued, 2 commands there"
    return Row(what, found["tfslurm"], "these two alone", found["alone"], 1.5)


def say(line: str) -> None:
    """Progress."""
    print(f"bench: {line}", file=sys.stderr, flush=True)

"""The tracker anew, from the run folders on the clusters: they are the truth, it is only their index."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tfslurm import slurm
from tfslurm.document.bounded_json import read_json
from tfslurm.host import get, open_host
from tfslurm.plan import JobPlan, from_json
from tfslurm.submit.ends import last_end
from tfslurm.submit.places import Known
from tfslurm.sweep.points import point_of
from tfslurm.sweep.table import Entry
from tfslurm.tracker import TrackedSweep, Tracker

HEAVY = (
    "*/out",
    "*/facts",
    "*.log",
    "*.out",
    "*/secrets",
    "*.sh",
    "*.py",
    "*.sbatch",
    "*/home",
    "*/workspace",
    "*/outputs.*",
    "*/points",
)
JOB_FOLDER = re.compile(r"([a-z0-9-]+-[0-9a-f]{12})/([0-9]+(?:_[0-9]+(?:\.[0-9]+)?)?)/(.+)")


def run_folders(known: Known, trace: Callable[[str], None] | None) -> Mapping[str, bytes]:
    """What a cluster's run folders say of their plans and of how their jobs ended.

    Raises:
        HostError: the cluster does not answer.
    """
    with open_host(known.cluster, trace=trace) as host:
        return get(host, known.cluster.root / "runs", exclude=HEAVY, max_bytes=512 * 2**20)


def rebuild(known: Known, tracker: Tracker, files: Mapping[str, bytes]) -> tuple[int, list[str]]:
    """Put every job of a cluster's run folders into the tracker: how many, and the folders that could not be read.

    Jobs that the tracker has are left as they are. The others are unfinished until the next `status` asks for them.
    """
    plans, unreadable = read_plans(files)
    ends: dict[tuple[str, str], dict[str, bytes]] = {}
    for name, content in files.items():
        match = JOB_FOLDER.fullmatch(name)
        if match:
            ends.setdefault((match[1], match[2]), {})[match[3]] = content
    for folder, plan in plans.items():
        tracker.plan(plan, known.text)
        if plan.points:
            keep_sweep(plan, files.get(f"{folder}/points.jsonl", b""), tracker)
        begun = sorted(job for found, job in ends if found == folder)
        for job_id in begun:
            keep(plan, job_id, ends[folder, job_id], tracker)
        arrays = {job_id.partition("_")[0] for job_id in begun} if plan.points else ()
        for array in sorted(arrays):  # its other points wait, or ended before they had a folder
            tracker.submit(plan, array, "UNKNOWN")
    return len([key for key in ends if key[0] in plans]), unreadable


def read_plans(files: Mapping[str, bytes]) -> tuple[dict[str, JobPlan], list[str]]:
    """Run folder -> its plan, and the folders whose plan cannot be read."""
    plans: dict[str, JobPlan] = {}
    unreadable: list[str] = []
    for name, content in files.items():
        folder, _, rest = name.partition("/")
        if rest != "plan.json":
            continue
        try:
            plans[folder] = from_json(read_json(content))
        except (ValueError, KeyError, TypeError) as error:
            unreadable.append(f"{folder}/plan.json: {type(error).__name__}: {error}")
    return plans, unreadable


def keep_sweep(plan: JobPlan, lines: bytes, tracker: Tracker) -> None:
    """The points that a plan runs, unless the tracker has them; what a cut-off file does not hold is left out."""
    assert plan.points is not None  # noqa: S101 - the caller has looked
    entries: list[Entry] = []
    for line in lines.splitlines():
        try:
            point = read_json(line)
            text = point_of(point["parameters"]).text
            entries.append(Entry(point["id"], text, point["env"], tuple(point["command"])))
        except (ValueError, KeyError, TypeError):
            break
    sweep = TrackedSweep(plan.points.sweep_id, "", plan.name, plan.planned_at, "", {}, told=True)
    tracker.sweeps.restore(sweep, plan.plan_id, entries)


def keep(plan: JobPlan, job_id: str, files: Mapping[str, bytes], tracker: Tracker) -> None:
    """One job of a run folder, unless the tracker has it. It stays unfinished: the next `status` asks the scheduler."""
    if any(job.plan_id == plan.plan_id for job in tracker.jobs(cluster=plan.cluster, job_id=job_id)):
        return
    end = last_end(files)
    code, signal = (int(end.get("exit_code") or 0), end.get("signal")) if end else (0, None)
    tracker.submit(plan, job_id, slurm.state_from_exit(code, signal) if end else "UNKNOWN")

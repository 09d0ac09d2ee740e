"""The runs that a TensorBoard shows, by the names that a user gives them, and what they are called there.

A folder of this machine is one run, or several where `tfslurm fetch` has brought these into it. Its marker says whose
outputs they are; the tracker knows the parameters.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tfslurm.errors import InputError, refuse
from tfslurm.job_plan import JobPlan
from tfslurm.monitoring.lookup import JOB, find_jobs, parameters_of, plan_of
from tfslurm.retrieval.fetch_jobs import folder_name
from tfslurm.snapshot.left_out import fetched_from
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import LOCAL

MOST = 200
"Runs in one TensorBoard: each is a mount."
LONGEST = 150
UNFIT = re.compile(r"[^A-Za-z0-9._=,+-]+")
Values = Mapping[str, Any]


class Run(NamedTuple):
    """A run whose outputs are shown.

    ``values`` are its parameters', ``name`` is what it is called where it differs in none. Of a folder of this machine
    that nobody knows the run of, ``job`` and ``plan`` are None. Without a ``folder`` the outputs are where the job left
    them.
    """

    name: str
    values: Values
    job: TrackedJob | None = None
    plan: JobPlan | None = None
    folder: Path | None = None

    @property
    def source(self) -> str:
        """What is mounted."""
        return str(self.folder) if self.folder or not self.job else f"run:{self.job.key}/out"


def chosen(tracker: Tracker, names: Sequence[str]) -> list[Run]:
    """The runs that are named, each once.

    Raises:
        InputError: as ``board_of``.
    """
    paths = [name for name in names if is_path(tracker, name)]
    jobs = list({job.key: job for name in names if name not in paths for job in find_jobs(tracker, name)}.values())
    places = sorted({*(job.cluster for job in jobs), *([LOCAL] if paths else ())})
    if len(places) > 1:
        why = f"are in several places ({', '.join(places)}), and a TensorBoard shows those of one place"
        raise refuse("these runs", why, "name the runs of one; or `tfslurm fetch` all, and name their folders")
    folders = list({run.folder: run for path in paths for run in runs_in(tracker, Path(path))}.values())
    if len(jobs) + len(folders) > MOST:
        many = len(jobs) + len(folders)
        raise refuse("these runs", f"are {many}, and {MOST} is the most", "name some of the points")
    runs = [run_of(tracker, job) for job in jobs]
    for run in runs:
        if run.job and run.plan and not run.plan.outputs:
            raise refuse(f"job {run.job.key}", "kept nothing: its experiment had no `outputs`", "name another job")
    return [*runs, *folders]


def is_path(tracker: Tracker, name: str) -> bool:
    """Whether a name is meant as a folder of this machine: it looks like one, or it is one and no job's name."""
    if "/" in name or name in (".", ".."):
        return True
    if not Path(name).is_dir():
        return False
    with suppress(InputError):
        return not find_jobs(tracker, name)
    return True


def run_of(tracker: Tracker, job: TrackedJob, folder: Path | None = None) -> Run:
    """The run of a job, whose outputs are where it left them, or in a folder of this machine."""
    plan, values = plan_of(job, tracker), parameters_of(job, tracker)
    return Run(f"{job.name}-{job.job_id}", values, job, plan, folder)


def runs_in(tracker: Tracker, path: Path) -> Iterator[Run]:
    """The runs whose outputs a folder of this machine holds; of one without a marker those in the folders below.

    Raises:
        InputError: it is no folder that can be read.
    """
    folder = Path(os.path.realpath(path))
    try:
        below = sorted(Path(each) for each in os.scandir(folder) if each.is_dir(follow_symlinks=False))
    except OSError as error:
        raise refuse(str(path), f"{error.strerror}", "name a folder of this machine, or a job or sweep") from None
    source = fetched_from(folder)
    sweep = [each for each in tracker.sweeps.named(source) if each.sweep_id == source] if source else []
    named = JOB.fullmatch(source)
    if sweep:
        points = {folder_name(each.entry): each.job for each in tracker.sweeps.points(source)}
        for each in below:
            job = points.get(each.name)
            yield run_of(tracker, job, each) if job else Run(each.name, {}, folder=each)
    elif named:
        jobs = tracker.jobs(cluster=named["cluster"], job_id=named["id"])
        yield run_of(tracker, jobs[-1], folder) if jobs else Run(folder.name, {}, folder=folder)
    elif source:
        yield from (Run(each.name, {}, folder=each) for each in below)
    elif fetched := [each for each in below if fetched_from(each)]:
        yield from (run for each in fetched for run in runs_in(tracker, each))
    else:
        yield Run(folder.name, {}, folder=folder)


def labels_of(runs: Sequence[Run]) -> list[str]:
    """A name for each run, no two the same: the parameters in which they differ, else its own name."""
    names = dict.fromkeys(name for run in runs for name in run.values)
    varying = [name for name in names if len({repr(run.values.get(name)) for run in runs}) > 1]
    short = [
        UNFIT.sub("_", ",".join(f"{name}={run.values[name]}" for name in varying if name in run.values))[:LONGEST]
        or UNFIT.sub("_", run.name)[:LONGEST]
        for run in runs
    ]
    many = Counter(label.lower() for label in short)
    taken = {label for label, count in many.items() if count == 1}
    return [
        label if many[label.lower()] == 1 else free(f"{label},{f'job={run.job.job_id}' if run.job else at}", taken)
        for at, (label, run) in enumerate(zip(short, runs, strict=True))
    ]


def free(label: str, taken: set[str]) -> str:
    """A label that is not taken, and now is: another run may be called so, such as a job of another cluster."""
    label = next(each for count in range(len(taken) + 1) if (each := f"{label}{'+' * count}").lower() not in taken)
    taken.add(label.lower())
    return label

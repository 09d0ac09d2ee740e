"""The jobs whose outputs are wanted, and the folders that these go to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import HostError, refuse
from tfslurm.monitoring.lookup import find_job, find_sweep, job_dir, plan_of
from tfslurm.monitoring.refresh import refresh
from tfslurm.retrieval.fetch import Fetch, Progress, fetch
from tfslurm.retrieval.selection import Selection
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import clusters_for
from tfslurm.workspace.session import Session

LONGEST_NAME = 150


def folders_for(tracker: Tracker, name: str, dest: Path | None) -> list[tuple[TrackedJob, Path]]:
    """The jobs whose outputs are wanted, each with where they go.

    Raises:
        InputError: there is no such job, or its experiment keeps no outputs.
    """
    if not tracker.sweeps.named(name):
        job = find_job(tracker, name)
        jobs = [(job, dest or Path(job.key.replace(":", "-")))]
    else:
        sweep = find_sweep(tracker, name)
        below = dest or Path(sweep.sweep_id)
        points = tracker.sweeps.points(sweep.sweep_id)
        jobs = [(point.job, below / folder_name(point.entry)) for point in points if point.job and has_begun(point.job)]
        if not jobs:
            raise refuse(sweep.sweep_id, "none of its points has begun, as far as is known", "`tfslurm status` looks")
    first, _ = jobs[0]
    if not plan_of(first, tracker).outputs:
        fix = "add `outputs: /out` to exp.yaml and write there; `tfslurm logs` shows what it printed"
        raise refuse(f"job {first.key}", "keeps no outputs: its experiment has no `outputs`", fix)
    return jobs


def has_begun(job: TrackedJob) -> bool:
    """Whether it may have left something."""
    return job.final or job.state != "PENDING"


def folder_name(entry: Entry) -> str:
    """The parameters of a point as the name of a folder: ``lr=0.1,seed=3``; its id follows where that is not all."""
    pairs = [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in parameters(entry)]
    whole = ",".join(pairs)
    name = re.sub(r"[^\w.=,+-]", "_", whole, flags=re.ASCII)[:LONGEST_NAME]
    return name if name == whole and name[:1] != "." else f"{name.lstrip('.')}-{entry.id}"


def parameters(entry: Entry) -> Iterable[tuple[str, Any]]:
    """Names and values, by name."""
    values: dict[str, Any] = read_json(entry.text)
    return values.items()


def fetch_jobs(
    session: Session,
    wanted: Sequence[tuple[TrackedJob, Path]],
    selection: Selection,
    progress: Callable[[], AbstractContextManager[Progress]],
) -> list[tuple[TrackedJob, Path, Fetch]]:
    """Bring the outputs of jobs here, each into its folder; the jobs as they are now, with what came of each."""
    tracker = session.tracker
    found: list[tuple[TrackedJob, Path, Fetch]] = []
    for known in clusters_for([each for each, _ in wanted], tracker):
        here = [(each, folder) for each, folder in wanted if each.cluster == known.cluster.name]
        host = session.reach(known)
        try:
            refresh(known, tracker, host, [each for each, _ in here])
        except HostError as error:
            session.say(f"{str(error).splitlines()[0]}; going on without its state")
        for each, folder in here:
            with progress() as shown:
                done = fetch(host, job_dir(plan_of(each, tracker), each.job_id), folder, selection, shown)
            found.append((find_job(tracker, each.key), folder, done))
    return found

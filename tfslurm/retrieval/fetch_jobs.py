"""The jobs whose outputs are wanted, and the folders that these go to."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import HostError, refuse
from tfslurm.local_files import refuse_links, write_file
from tfslurm.monitoring.lookup import find_job, find_sweep, job_dir, one_name, plan_of
from tfslurm.monitoring.refresh import refresh
from tfslurm.retrieval.fetch import Fetch, Progress, fetch
from tfslurm.retrieval.selection import Selection, fits
from tfslurm.snapshot.left_out import MARKER, fetched_from, marker
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import clusters_for
from tfslurm.workspace.session import Session

LONGEST_NAME = 150


class Wanted(NamedTuple):
    """The jobs whose outputs are wanted, each with where they go: in the folder ``top``, or below it.

    ``name`` is that of the job or the sweep. ``is_ours`` says that fetch makes the folder, or named it.
    """

    name: str
    jobs: Sequence[tuple[TrackedJob, Path]]
    top: Path
    is_ours: bool


def folders_for(tracker: Tracker, name: str, dest: Path | None) -> Wanted:
    """The jobs whose outputs are wanted, each with where they go.

    Raises:
        InputError: there is no such job, or its experiment keeps no outputs.
    """
    name = one_name(tracker, name)
    if not tracker.sweeps.named(name):
        job = find_job(tracker, name)
        of, below = job.key, dest or Path(job.key.replace(":", "-"))
        jobs = [(job, below)]
    else:
        sweep = find_sweep(tracker, name)
        of, below = sweep.sweep_id, dest or Path(sweep.sweep_id)
        points = tracker.sweeps.points(sweep.sweep_id)
        jobs = [(point.job, below / folder_name(point.entry)) for point in points if point.job and has_begun(point.job)]
        if not jobs:
            raise refuse(sweep.sweep_id, "none of its points has begun, as far as is known", "`tfslurm status` looks")
    first, _ = jobs[0]
    if not plan_of(first, tracker).outputs:
        fix = "add `outputs: /out` to exp.yaml and write there; `tfslurm logs` shows what it printed"
        raise refuse(f"job {first.key}", "keeps no outputs: its experiment has no `outputs`", fix)
    return Wanted(of, jobs, below, dest is None or is_empty(below))


def is_empty(folder: Path) -> bool:
    """Whether there is no folder of this name, or nothing in it; one that cannot be read holds something."""
    try:
        return not any(folder.iterdir())
    except OSError:
        return not os.path.lexists(folder)


def mark(folder: Path, text: str, name: str = MARKER) -> None:
    """Write a marker into a folder of results, if nothing has its name there."""
    refuse_links(folder)
    with suppress(FileExistsError):
        write_file(folder / name, text.encode(), mode=0o666, replace=False)


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
    wanted: Wanted,
    selection: Selection,
    progress: Callable[[], AbstractContextManager[Progress]],
) -> list[tuple[TrackedJob, Path, Fetch]]:
    """Bring the outputs of jobs here, each into its folder; the jobs as they are now, with what came of each.

    The folder gets a marker by which no snapshot of code takes it, and a .gitignore for Git.

    Raises:
        InputError: the jobs left files, and none of them is wanted.
    """
    tracker = session.tracker
    found: list[tuple[TrackedJob, Path, Fetch]] = []
    begun = partial(mark, wanted.top, marker(wanted.name)) if wanted.is_ours else lambda: None
    for known in clusters_for([each for each, _ in wanted.jobs], tracker):
        here = [(each, folder) for each, folder in wanted.jobs if each.cluster == known.cluster.name]
        host = session.reach(known)
        try:
            refresh(known, tracker, host, [each for each, _ in here])
        except HostError as error:
            session.say(f"{str(error).splitlines()[0]}; going on without its state")
        for each, folder in here:
            with progress() as shown:
                done = fetch(host, job_dir(plan_of(each, tracker), each.job_id), folder, selection, shown, begun)
            found.append((find_job(tracker, each.key), folder, done))
    refuse_unmet(wanted.name, [outcome.path for _, _, done in found for outcome in done.outcomes], selection, session)
    if selection.dry_run:
        return found
    if fetched_from(wanted.top):
        mark(wanted.top, "*\n", ".gitignore")  # now: the job's own, if it left one, is here
    elif any(outcome.status == "fetched" for _, _, done in found for outcome in done.outcomes):
        why = "was here before and held other files, so what is fetched into it counts as code"
        session.say(f"note: {wanted.top}: {why}; name it in `code: {{exclude: […]}}` or .gitignore")
    return found


def refuse_unmet(name: str, paths: Sequence[str], selection: Selection, session: Session) -> None:
    """Refuse patterns that leave none of the files; say which --include fits none.

    Raises:
        InputError: there are files, and none of them is wanted.
    """
    if not paths:
        return
    if not any(map(selection.takes, paths)):
        is_met = any(fits(path, glob) for path in paths for glob in selection.include)
        option, globs = (
            ("include", selection.include) if selection.include and not is_met else ("exclude", selection.exclude)
        )
        many = f"{len(paths)} file{'s' if len(paths) > 1 else ''}"
        given = " ".join(f"--{option} {glob!r}" for glob in globs)
        why = f"none of {many} fits {given}" if option == "include" else f"{given} leaves none of {many}"
        raise refuse(name, why, f"it left {', '.join(paths[:3])}{', …' if len(paths) > 3 else ''}")
    for glob in selection.include:
        if not any(fits(path, glob) for path in paths):
            session.say(f"note: --include {glob!r}: fits none of the {len(paths)} files of {name}")

"""Jobs and sweeps by the names that a user gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from tfslurm.document import nearest
from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RecordError, refuse
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.folders import job_folder
from tfslurm.tracker import TrackedJob, TrackedSweep, Tracker
from tfslurm.tracker.submissions import experiments, submitted
from tfslurm.workspace.clock import local_time

LAST = re.compile(r"last(?:~(?P<back>[0-9]{1,18}))?")
BACK = re.compile(r"[0-9]{1,18}")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
FIND = "`tfslurm status --all` lists yours; `tfslurm tracker rebuild` reads the run folders again"
JOB = re.compile(r"(?:(?P<cluster>[a-z0-9][a-z0-9._-]*):)?(?P<id>[0-9]+(?:_[0-9]+(?:\.[0-9]+)?)?)")


def find_job(tracker: Tracker, text: str) -> TrackedJob:
    """The job that a user names: ``1234``, ``1234_7``, ``1234_7.59``, ``alpha:1234_7``, ``SWEEP:POINT``, ``last``, or
    the name of an experiment, whose last job it is; the latest where an id was used again.

    Raises:
        InputError: not a job's name, not one of this tracker's jobs, several jobs, or an id that two clusters have.
    """
    found = find_jobs(tracker, one_name(tracker, text))
    if len(found) > 1:
        fix = f"name one, such as {found[0].key}; `tfslurm status {text} --all` lists them"
        raise refuse(f"job {text!r}", f"is {len(found)} jobs", fix)
    return found[0]


def find_jobs(tracker: Tracker, text: str) -> list[TrackedJob]:
    """The jobs that a user names: one, all points of an array or of one of its tasks, or the last job of every point of
    a sweep that was sent; by the name of an experiment those that have not ended, or else the last.

    Raises:
        InputError: as find_job, and a sweep of which nothing was sent.
    """
    names = stable_names(tracker, text)
    if names != [text]:
        return [job for name in names for job in find_jobs(tracker, name)]
    sweep, colon, point = text.partition(":")
    if tracker.sweeps.named(sweep):
        if colon and not point:
            raise refuse(f"job {text!r}", "names no point", f"write {sweep} for all points, or begin the id of one")
        return jobs_of_sweep(tracker, find_sweep(tracker, sweep), point)
    match = JOB.fullmatch(text)
    if not match:
        raise refuse(f"job {text!r}", *unnamed(tracker, text))
    ids = tracker.jobs(cluster=match["cluster"], job_id=match["id"])
    found = {job.cluster: [job] for job in ids} or tasks_of(tracker, match["cluster"], match["id"])
    if not found:
        raise refuse(f"job {text!r}", "is not in the tracker", FIND)
    if len(found) > 1:
        keys = ", ".join(f"{cluster}:{match['id']}" for cluster in found)
        raise refuse(f"job {text!r}", f"exists on several clusters: {keys}", "name the cluster too")
    return next(iter(found.values()))


def stable_names(tracker: Tracker, text: str) -> list[str]:
    """What a user names in words that stay the same while jobs come and go.

    ``last`` and ``last~2`` are a sweep's id or a job's, the name of an experiment is the ids of its jobs; anything else
    is itself.

    Raises:
        InputError: not so many were submitted.
    """
    if back := LAST.fullmatch(text):
        return [submission(tracker, int(back["back"] or 0))]
    if is_name(tracker, text, text) and (going := tracker.jobs(name=text, alone=True, unfinished=True)):
        return [job.key for job in going]
    return [job.key for job in last_named(tracker, text)] or [text]


def one_name(tracker: Tracker, text: str) -> str:
    """The same where one job or sweep is meant: of the jobs of an experiment the last.

    Raises:
        InputError: not so many were submitted.
    """
    named = last_named(tracker, text)
    return named[0].key if named else stable_names(tracker, text)[0]


def last_named(tracker: Tracker, text: str) -> list[TrackedJob]:
    """The last job of the experiment of this name, or with ``NAME~2`` the last but two; none of a sweep's name.

    Raises:
        InputError: it has jobs, but not so many.
    """
    name, tilde, back = text.partition("~")
    if not is_name(tracker, name, text) or (tilde and not BACK.fullmatch(back)):
        return []
    wanted = int(back or 0) + 1
    found = tracker.jobs(name=name, alone=True, newest=wanted)
    if found and len(found) < wanted:
        raise refuse(f"job {text!r}", f"{name} has {len(found)} jobs", f"`tfslurm status --name {name}` lists them")
    return found[:1]


def is_name(tracker: Tracker, name: str, text: str) -> bool:
    """Whether a name can be that of an experiment; ``text``, which it is a part of, names no sweep and no job."""
    is_other = name == "last" or JOB.fullmatch(text) or not NAME.fullmatch(name)
    return not is_other and not tracker.sweeps.named(text)


def submission(tracker: Tracker, back: int, *, sweeps: bool = False) -> str:
    """The name of what was submitted so many submissions ago, or of such a sweep.

    Raises:
        InputError: there were not so many.
    """
    found = submitted(tracker, back, sweeps=sweeps)
    if found is None:
        what = "sweeps" if sweeps else "jobs and sweeps"
        why = f"you have not submitted so many {what}" if back else "you have submitted none yet"
        raise refuse(f"last~{back}" if back else "last", why, FIND)
    return found


def unnamed(tracker: Tracker, text: str) -> tuple[str, str]:
    """Why a text names no job and no sweep, and what to write."""
    names = dict.fromkeys([*(sweep.sweep_id for sweep in tracker.sweeps.all()[::-1]), *experiments(tracker)])
    why = "is neither the id of a job nor the name of a job or a sweep"
    return why, f"{nearest(text, names)}write 1234, 1234_7, alpha:1234_7, last or a name; {FIND}"


def tasks_of(tracker: Tracker, cluster: str | None, array: str) -> dict[str, list[TrackedJob]]:
    """Cluster -> the points of the latest array, or of the latest task of one, with this id there."""
    found: dict[str, list[TrackedJob]] = {}
    for job in tracker.jobs(cluster=cluster, array=array):
        before = found.get(job.cluster)
        if before and before[0].plan_id == job.plan_id:
            before.append(job)
        else:
            found[job.cluster] = [job]
    return found


def queued_jobs(tracker: Tracker, names: Iterable[str]) -> Iterator[TrackedJob]:
    """The jobs of these names, ``alpha:1234``; an array is one job here, as its first task is."""
    for name in names:
        cluster, _, job_id = name.partition(":")
        found = tracker.jobs(cluster=cluster, job_id=job_id)[-1:] or tasks_of(tracker, cluster, job_id).get(cluster, [])
        yield from (job._replace(job_id=job_id) for job in found[:1])


def find_sweep(tracker: Tracker, text: str) -> TrackedSweep:
    """The sweep with this id, the only one with this name, or the last (``last``, ``last~2``).

    Raises:
        InputError: there is none, or several have the name.
    """
    back = LAST.fullmatch(text)
    found = tracker.sweeps.named(submission(tracker, int(back["back"] or 0), sweeps=True) if back else text)
    if not found:
        known = ", ".join(sweep.sweep_id for sweep in tracker.sweeps.all()[-5:]) or "none"
        raise refuse(f"sweep {text!r}", f"is not in the tracker (the last are: {known})", FIND)
    if len(found) > 1:
        last = ", ".join(f"{sweep.sweep_id} ({local_time(sweep.planned_at)})" for sweep in found[-5:])
        raise refuse(f"sweep {text!r}", f"is the name of {len(found)}, the last: {last}", "name one of them")
    return found[0]


def jobs_of_sweep(tracker: Tracker, sweep: TrackedSweep, point: str) -> list[TrackedJob]:
    """The last job of each point of a sweep that was sent, or of the one whose id begins with ``point``.

    Raises:
        InputError: no point's id begins so, or several do; or nothing of it was sent.
    """
    points = [each for each in tracker.sweeps.points(sweep.sweep_id) if each.entry.id.startswith(point)]
    if point and len(points) != 1:
        why = f"is {len(points)} points" if points else "is no point of it"
        raise refuse(f"{sweep.sweep_id}:{point}", why, f"`tfslurm status {sweep.sweep_id} --all` lists them")
    jobs = [each.job for each in points if each.job]
    if not jobs:
        raise refuse(f"{sweep.sweep_id}{':' if point else ''}{point}", "was not sent yet", "the next `submit` sends it")
    return jobs


def job_dir(plan: JobPlan, job_id: str) -> PurePosixPath:
    """The folder of one job of a plan, on the cluster."""
    return job_folder(plan.run_dir, job_id)


def parameters_of(job: TrackedJob, tracker: Tracker) -> dict[str, Any]:
    """The values of a job's parameters: those of its point, if it is one of a sweep.

    Raises:
        RecordError: the tracker lost its plan.
    """
    entries = tracker.sweeps.entries(job.plan_id) if job.place is not None else ()
    if job.place is not None and job.place < len(entries):
        values: dict[str, Any] = read_json(entries[job.place].text)
        return values
    return dict(plan_of(job, tracker).parameters)


def plan_of(job: TrackedJob, tracker: Tracker) -> JobPlan:
    """The plan that a job was submitted from.

    Raises:
        RecordError: the tracker lost it.
    """
    found = tracker.plans(plan_id=job.plan_id)
    if not found:
        raise RecordError(f"{job.key}: its plan {job.plan_id} is not in the tracker; run `tfslurm tracker rebuild`")
    return found[0].plan

"""TensorBoard on a node for the outputs of runs: an experiment of its own, which mounts them read-only."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfslurm.errors import HostError, TfslurmError, refuse
from tfslurm.job_plan import JobPlan
from tfslurm.job_plan.holding import Service
from tfslurm.monitoring.lookup import find_jobs, job_dir, parameters_of, plan_of
from tfslurm.remote_programs import program
from tfslurm.services.beside import job_beside, refuse_sets
from tfslurm.submission.prepare import Asked
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.session import Session

KIND = "tensorboard"
MOST = 200
"Runs in one TensorBoard: each is a mount."
LONGEST = 150
MEMORY = "2G"
UNFIT = re.compile(r"[^A-Za-z0-9._=,+-]+")
Values = Mapping[str, Any]


class Run(NamedTuple):
    """A run whose outputs are shown; ``values`` are its parameters'."""

    job: TrackedJob
    plan: JobPlan
    values: Values


def board_of(
    session: Session, names: Sequence[str], sets: Sequence[str], idle_after_s: int
) -> tuple[Asked, Known, Service]:
    """The experiment of a TensorBoard for these jobs and sweeps, the cluster that has them, and the service.

    It has the image of the last of them, with its packages. A run that has no outputs yet is left out, and said.

    Raises:
        InputError: a name is no job's; they are of several clusters, too many, or kept nothing; a setting is not one
            of a job's own.
        TfslurmError: none of them has outputs yet.
    """
    refuse_sets(sets, "a TensorBoard's job")
    runs = chosen(session.tracker, names)
    known = known_for(runs[0].job, session.tracker)
    runs = begun(session, known, runs)
    asked = experiment(session, runs, sets)
    labels = labels_of(runs)
    words = tuple(json.dumps([label, dict(run.values)]) for label, run in zip(labels, runs, strict=True))
    return asked, known, Service(KIND, idle_after_s, words)


def chosen(tracker: Tracker, names: Sequence[str]) -> list[Run]:
    """The jobs that are named, each once.

    Raises:
        InputError: as ``board_of``.
    """
    jobs = list({job.key: job for name in names for job in find_jobs(tracker, name)}.values())
    clusters = sorted({job.cluster for job in jobs})
    if len(clusters) > 1:
        why = f"are on several clusters ({', '.join(clusters)}), and one TensorBoard is on one"
        raise refuse("these runs", why, "name those of one; or `tfslurm fetch` them, and run `tensorboard` here")
    if clusters == [LOCAL]:
        why = "ran on this machine"
        raise refuse(f"job {jobs[0].key}", why, "`tfslurm fetch` its outputs, and run `tensorboard --logdir` on them")
    if len(jobs) > MOST:
        raise refuse("these runs", f"are {len(jobs)}, and {MOST} is the most", "name some of the points")
    runs = [Run(job, plan_of(job, tracker), parameters_of(job, tracker)) for job in jobs]
    for run in runs:
        if not run.plan.outputs:
            raise refuse(f"job {run.job.key}", "kept nothing: its experiment had no `outputs`", "name another job")
    return runs


def begun(session: Session, known: Known, runs: Sequence[Run]) -> list[Run]:
    """Those whose outputs are on the cluster.

    Raises:
        TfslurmError: there are none.
    """
    folders = [str(job_dir(run.plan, run.job.job_id) / "out") for run in runs]
    asked = b"".join(folder.encode("utf-8", "surrogateescape") + b"\0" for folder in folders)
    found = session.reach(known).run_bytes(program("still-there"), input=asked, max_bytes=len(runs) + 2**16)
    said = found.decode("ascii", "replace")
    if len(said) != len(runs):
        raise HostError(f"{known.cluster.name}: what came is no answer about files; does a start-up file print there?")
    there = [run for run, kind in zip(runs, said, strict=True) if kind == "d"]
    if not there:
        raise TfslurmError(f"{runs[0].job.key}: has no outputs yet ({runs[0].job.state}); try again when it runs")
    if len(there) < len(runs):
        first = next(run.job for run, kind in zip(runs, said, strict=True) if kind != "d")
        session.say(f"note: {len(runs) - len(there)} of {len(runs)} runs have no outputs yet, such as {first.key}")
    return there


def experiment(session: Session, runs: Sequence[Run], sets: Sequence[str]) -> Asked:
    """The experiment, in this command's own folder, with the image and the packages of the last run."""
    plan = max(runs, key=lambda run: run.job.submitted_at).plan
    mounts = [{"source": f"run:{run.job.key}/out", "target": f"/runs/{at}"} for at, run in enumerate(runs)]
    return job_beside(session, KIND, plan, mounts, sets, memory=MEMORY)


def labels_of(runs: Sequence[Run]) -> list[str]:
    """A name for each run, no two the same: the parameters in which they differ, else the experiment and the job."""
    names = dict.fromkeys(name for run in runs for name in run.values)
    varying = [name for name in names if len({repr(run.values.get(name)) for run in runs}) > 1]
    short = [
        UNFIT.sub("_", ",".join(f"{name}={run.values[name]}" for name in varying if name in run.values))[:LONGEST]
        or f"{run.job.name}-{run.job.job_id}"
        for run in runs
    ]
    many = Counter(label.lower() for label in short)
    return [
        label if many[label.lower()] == 1 else f"{label},job={run.job.job_id}"
        for label, run in zip(short, runs, strict=True)
    ]

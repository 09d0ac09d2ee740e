"""TensorBoard for the outputs of runs: an experiment of its own, which mounts them read-only.

It runs where they are: on a node of the jobs' cluster; or on this machine for its own jobs, and for folders of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import NamedTuple

from tfslurm.errors import HostError, TfslurmError, refuse
from tfslurm.job_plan.holding import Service
from tfslurm.monitoring.lookup import job_dir
from tfslurm.remote_programs import program
from tfslurm.services.beside import IMAGE, by_source, job_beside, refuse_sets
from tfslurm.services.here import open_here
from tfslurm.services.service import Attached, open_service
from tfslurm.services.shell import Seen
from tfslurm.services.shown_runs import Run, chosen, labels_of
from tfslurm.snapshot.left_out import MARKER
from tfslurm.submission.prepare import Asked
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.config import LOCAL, Known, local_cluster
from tfslurm.workspace.session import Session

KIND = "tensorboard"
MEMORY = "2G"


class Board(NamedTuple):
    """The experiment of a TensorBoard, the cluster that it runs on, and what the job does."""

    asked: Asked
    known: Known
    service: Service

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine, where its job ends with the command."""
        return self.known.cluster.name == LOCAL


def open_board(session: Session, board: Board, *, port: int = 0, seen: Seen) -> Attached:
    """Start a TensorBoard, and wait until it answers.

    Raises:
        InputError: a folder cannot be mounted, and is named.
        TfslurmError: the job cannot be started, or ended before it answered.
        KeyboardInterrupt: Ctrl-C.
    """
    start = open_here if board.is_here else open_service
    with by_source(board.asked.file, [str(mount.source) for mount in board.asked.experiment.mounts]):
        return start(session, *board, port=port, seen=seen)


def board_of(session: Session, names: Sequence[str], sets: Sequence[str], idle_after_s: int) -> Board:
    """What shows these jobs, sweeps and folders of this machine.

    It has the image of the last of the jobs, with its packages; for folders alone a setting may name another. A run
    that has no outputs yet is left out, and said.

    Raises:
        InputError: a name is no job's and no folder's; they are in several places, too many, or kept nothing; of no
            folder the run is known, and no image is set; a setting is not one of a job's own.
        TfslurmError: none of them has outputs yet.
    """
    runs = chosen(session.tracker, names)
    refuse_sets(sets, "a TensorBoard's job", *((IMAGE,) if all(run.folder for run in runs) else ()))
    jobs = [run.job for run in runs if run.job and not run.folder]
    folders = [run for run in runs if run.folder]
    tell_unchecked(session, folders)
    known = known_for(jobs[0], session.tracker) if jobs else local_cluster(session.say)
    runs = [*(begun(session, known, runs) if jobs else ()), *folders]
    asked = experiment(session, runs, sets)
    labels = labels_of(runs)
    words = tuple(json.dumps([label, dict(run.values)]) for label, run in zip(labels, runs, strict=True))
    return Board(asked, mounting(known, folders) if folders else known, Service(KIND, idle_after_s, words))


def tell_unchecked(session: Session, folders: Sequence[Run]) -> None:
    """Say which folders are shown as jobs because a marker in them says so: a stranger may have written it."""
    named = [(run.folder, run.job.key) for run in folders if run.job]
    if named:
        folder, job = named[0]
        more = f", and {len(named) - 1} more so" if len(named) > 1 else ""
        session.say(f"note: {folder} is shown as {job}{more}: a {MARKER} says so; no file was held against its sum")


def begun(session: Session, known: Known, runs: Sequence[Run]) -> list[Run]:
    """The jobs among them whose outputs are where they left them.

    Raises:
        TfslurmError: there are none.
    """
    jobs = [(run, run.job, run.plan) for run in runs if run.job and run.plan and not run.folder]
    folders = [str(job_dir(plan, job.job_id) / "out") for _, job, plan in jobs]
    asked = b"".join(folder.encode("utf-8", "surrogateescape") + b"\0" for folder in folders)
    found = session.reach(known).run_bytes(program("still-there"), input=asked, max_bytes=len(jobs) + 2**16)
    said = found.decode("ascii", "replace")
    if len(said) != len(jobs):
        raise HostError(
            f"{known.cluster.name}: the answer about files cannot be read; does a start-up file print there?"
        )
    there = [run for (run, _, _), kind in zip(jobs, said, strict=True) if kind == "d"]
    missing = [job for (_, job, _), kind in zip(jobs, said, strict=True) if kind != "d"]
    if not there:
        first = missing[0]
        when = f"yet ({first.state}); try again when it runs"
        if first.final:
            when = f"({first.state}): it never began, or its run folder was removed; name another job"
        raise TfslurmError(f"{first.key}: has no outputs {when}")
    if missing:
        session.say(f"note: {len(missing)} of {len(jobs)} runs have no outputs yet, such as {missing[0].key}")
    return there


def mounting(known: Known, runs: Sequence[Run]) -> Known:
    """This machine, on which the folders that the user has named may be mounted."""
    allow = (*known.cluster.mounts_allow, *(PurePosixPath(run.folder) for run in runs if run.folder))
    return known._replace(cluster=replace(known.cluster, mounts_allow=allow))


def experiment(session: Session, runs: Sequence[Run], sets: Sequence[str]) -> Asked:
    """The experiment, in this command's own folder, with the image and the packages of the last run, if none is set.

    Raises:
        InputError: no run is known, and no image is set.
    """
    mounts = [{"source": run.source, "target": f"/runs/{at}"} for at, run in enumerate(runs)]
    known = [(run.job.submitted_at, run.plan) for run in runs if run.job and run.plan]
    is_set = any(each.startswith(IMAGE) for each in sets)
    if not known and not is_set:
        why = "no run of yours that left this is known, so there is no image to take TensorBoard from"
        raise refuse(str(runs[0].folder), why, "name one: --set image=tensorflow/tensorflow:2.16.1")
    plan = max(known, key=lambda each: each[0])[1] if known and not is_set else None
    return job_beside(session, KIND, plan, mounts, sets, memory=MEMORY)

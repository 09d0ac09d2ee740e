"""The same job here and now: the very script, run by bash, with docker alone and no scheduler."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfslurm.errors import InputError, refuse
from tfslurm.handoff.local_process import attempt, held, stop
from tfslurm.host import Host
from tfslurm.monitoring.lookup import find_job
from tfslurm.monitoring.refresh import refresh
from tfslurm.retrieval.logs import PAUSE_S, Reader
from tfslurm.slurm import state_from_exit
from tfslurm.spec import Experiment
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.scan_gate import guard
from tfslurm.submission.send_packages import send_wheels
from tfslurm.submission.submit import send_files
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session


def refuse_several_tasks(experiment: Experiment, why: str = "without a scheduler one task runs") -> None:
    """Refuse an experiment of several containers where one is run.

    Raises:
        InputError: it asks for several tasks, with the line.
    """
    asked = {"nodes": experiment.resources.nodes, "tasks_per_node": experiment.resources.tasks_per_node}
    fix = "submit it, or run one task of it: --set resources.{key}=1"
    problems = [
        experiment.problem(("resources", key), f"is {count}; {why}", fix.format(key=key))
        for key, count in asked.items()
        if count > 1
    ]
    if problems:
        raise InputError(problems)


def start(
    prepared: Prepared, tracker: Tracker, host: Host, secrets: Mapping[str, str]
) -> tuple[str, subprocess.Popen[bytes]]:
    """The id of the local job and its running process, whose output goes where a batch job's goes.

    Raises:
        HostError: bash could not be started.
        TfslurmError: a wheel of its packages is not to be had.
    """
    plan = prepared.plan
    if plan.packages:
        send_wheels(prepared.wheels, plan, host)
    with tracker.claim(plan.plan_id):
        tracker.plan(plan, prepared.cluster_text)
        send_files(prepared, host, secrets)
        # Before the job is known, so that its end is seen whatever happens from here on.
        lock = held(Path(plan.run_dir))
        job_id = tracker.local_id(plan)
    return job_id, attempt(Path(plan.run_dir), job_id, secrets, lock)


def begin(
    session: Session, known: Known, job: Prepared, secrets: dict[str, str]
) -> tuple[TrackedJob, subprocess.Popen[bytes]]:
    """Start a local job that may run; the job and its process, which Ctrl-C ends from its first moment on.

    Raises:
        InputError: the cluster is not this machine.
        TfslurmError: the rule `scan` holds its image, or it cannot be started.
    """
    if known.cluster.login is not None:
        raise refuse("cluster local", "has a login", "`tfslurm run` runs on this machine; use submit for that cluster")
    guard(session, [job])
    tracker, host = session.tracker, session.reach(known)
    refresh(known, tracker, host)  # runs that were killed have ended, and their secrets go
    job_id, process = start(job, tracker, host, secrets)
    try:
        found = find_job(tracker, f"{known.cluster.name}:{job_id}")
        session.say(f"{found.key}: started")
    except BaseException:
        stop(process)
        raise
    return found, process


def hear_ends() -> None:
    """Have SIGTERM, and a terminal that closes, end a local job as Ctrl-C does; what nohup ignores stays ignored."""
    for told in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(told) is not signal.SIG_IGN:
            signal.signal(told, signal.default_int_handler)


def follow_process(
    session: Session,
    known: Known,
    job: Prepared,
    secrets: dict[str, str],
    shown: Callable[[str, str], None] | None,
) -> dict[str, Any]:
    """Run a local job to its end; how it ended. ``shown`` is called with a stream and what its program prints there."""
    hear_ends()
    found, process = begin(session, known, job, secrets)
    tracker, host = session.tracker, session.reach(known)
    reader = Reader(found, tracker, host, None, 0, False)
    try:
        while process.poll() is None:
            pass_on(reader, shown if shown and reader.read_tails(0).attempt > 0 else None)
            time.sleep(PAUSE_S[0])
    finally:
        stop(process)
        pass_on(reader, shown)
        refresh(known, tracker, host, [found])
    code = process.returncode
    state = find_job(tracker, found.key).state
    final = state_from_exit(code, None) if state == "RUNNING" else state
    return {"job": found.key, "state": final, "exit_code": code if code >= 0 else 128 - code}


def pass_on(reader: Reader, shown: Callable[[str, str], None] | None) -> None:
    """Show what the program has written since the last call, each stream on its own."""
    for stream, text in reader.once() if shown else ():
        assert shown  # noqa: S101 - as the line above has it
        shown(stream, text)

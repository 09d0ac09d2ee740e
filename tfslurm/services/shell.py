"""A terminal in a new container on a node: an ordinary job, which holds its container for what is typed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from tfslurm.errors import HostError, TfslurmError, refuse
from tfslurm.host import Host
from tfslurm.job_plan.holding import HOLD
from tfslurm.monitoring.backoff import Pace
from tfslurm.monitoring.cancel import cancel_named
from tfslurm.monitoring.lookup import find_job, job_dir, plan_of
from tfslurm.monitoring.refresh import refresh
from tfslurm.monitoring.wait import exit_code
from tfslurm.remote_programs import program
from tfslurm.retrieval.endings import report
from tfslurm.services.enter import RUNNING, Way
from tfslurm.spec.experiment import Word
from tfslurm.submission.local import refuse_several_tasks
from tfslurm.submission.once import submit_jobs
from tfslurm.submission.prepare import Asked
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.clock import local_time
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.session import Session

FIRST_S, MOST_S = 0.5, 5.0
STEPS = {
    "packages": "installs the experiment's packages",
    "pull": "pulls the image",
    "load": "loads the image",
    "inputs-began": "hashes its inputs",
    "created": "made the container",
}
"Events of a task that may take a while -> words for who waits."
Seen = Callable[[TrackedJob], None]


def holding(asked: Asked, command: Sequence[str]) -> Asked:
    """The same experiment with a program that waits for a terminal; ``command`` is what will be typed there, if known.

    Raises:
        InputError: it is for several tasks, and a terminal is in one container.
    """
    refuse_several_tasks(asked.experiment, "a terminal is in one container")
    words = tuple(Word((word,)) for word in (HOLD, *command))
    return asked._replace(experiment=replace(asked.experiment, command=words, checkpoint=None))


def refuse_local(known: Known) -> None:
    """Refuse this machine without Slurm: no step of Slurm leads into what runs there.

    Raises:
        InputError: it is that.
    """
    if known.cluster.name == LOCAL:
        why = "has no nodes: shell and jupyter are for clusters with Slurm"
        raise refuse(f"cluster {LOCAL}", why, "name one with --cluster; `tfslurm run` runs the program here")


def open_shell(
    session: Session, asked: Asked, known: Known, command: Sequence[str], *, terminal: bool, seen: Seen
) -> int:
    """Submit it, wait for its container, and run a command (or the image's shell) there; its exit code.

    The job ends with the command. Ctrl-C while it waits cancels the job. ``seen`` gets the job after each question.

    Raises:
        InputError: the experiment is for several tasks, or the cluster is this machine.
        TfslurmError: the job cannot be submitted, or the line was lost, which ends it.
        KeyboardInterrupt: Ctrl-C.
    """
    refuse_local(known)
    held = holding(asked, command)
    (queued,) = submit_jobs(session, held, [known], force=False, again=True, told=session.say)
    name = queued.key
    try:
        job = held_job(session, name, seen)
        if job.final:
            report(session, [job])
            return exit_code(job) or 1
        way = Way(session, name, kind="shell")
    except BaseException:
        with suppress(TfslurmError):
            cancel_named(session, [name])
            session.say(f"{name}: cancelled")
        raise
    typed = plan_of(job, session.tracker).command
    words = typed[: typed.index(HOLD)] + typed[typed.index(HOLD) + 1 :] if command else ()
    code = way.enter(words, terminal=terminal)
    session.say(f"{name}: has ended with {code}; `tfslurm provenance {name}` shows its record")
    return code


def held_job(session: Session, name: str, seen: Seen) -> TrackedJob:
    """The job once its container waits for a terminal, or has ended; each step that may take a while is told."""
    pace, told = Pace(first_s=FIRST_S, factor=1.3, most_s=MOST_S), ""
    job = find_job(session.tracker, name)
    known, plan = known_for(job, session.tracker), plan_of(job, session.tracker)
    host = session.reach(known)
    while True:
        refresh(known, session.tracker, host, [job])
        before, job = job, find_job(session.tracker, name)
        seen(job)
        if job.final:
            return job
        if job.state == RUNNING:
            is_held, step = how_far(host, str(job_dir(plan, job.job_id)))
            if is_held:
                tell_of_limit(session, job)
                return job
            if step and step != told:
                told = step
                session.say(f"{name}: {'this machine' if job.cluster == LOCAL else 'its node'} {step}")
        pace.asked([known], changed=before.state != job.state)
        pace.wait([known])


def tell_of_limit(session: Session, job: TrackedJob) -> None:
    """Say where it runs, and when its time limit ends it."""
    somewhere = "this machine" if job.cluster == LOCAL else "a node"
    nodes, ends = job.status.get("nodes") or [somewhere], local_time(job.status.get("ended_at"))
    session.say(f"{job.key} RUNNING on {nodes[0]}{f', until {ends} at most' if ends else ''}")


def how_far(host: Host, folder: str) -> tuple[bool, str]:
    """Whether a job's container waits, and what its node is doing, in words; '' for what takes no time."""
    try:
        said = host.run_bytes(program("began", folder), max_bytes=1000).decode("utf-8", "replace")
    except HostError as error:
        if not error.transient:
            raise
        return False, ""
    *_, last = said.splitlines() or [""]
    event = [*last.split("\t"), "", ""][1]
    return said.startswith("held\n"), STEPS.get(event, "")

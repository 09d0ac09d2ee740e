"""Plans of sweeps that wait are sent, as many as a user may have queued at once; the rest by a later command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tfslurm.errors import SlurmParseError, SubmitRejected, TfslurmError, Untracked
from tfslurm.host import Host
from tfslurm.job_plan import JobPlan
from tfslurm.remote_programs import program
from tfslurm.slurm.capacity import Need, parse_room, room_words
from tfslurm.snapshot import Snapshot
from tfslurm.submission.secrets import read_secrets
from tfslurm.submission.submit import submit_claimed
from tfslurm.submission.sweep_arrays import prepared
from tfslurm.sweeps.spread import Room
from tfslurm.tracker import TrackedSweep, Tracker, WaitingPlan
from tfslurm.workspace.clusters_of_jobs import known_from
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session

FULL = "job submit limit"  # what sbatch says for every limit of that kind


@dataclass(frozen=True, slots=True)
class Wave:
    """The jobs of a sweep that were sent to one cluster, and how many points wait for room there."""

    jobs: tuple[str, ...]
    left: int


def send_wave(
    sweep: TrackedSweep,
    known: Known,
    tracker: Tracker,
    host: Host,
    *,
    code: Snapshot | None,
    secrets: Callable[[tuple[str, ...]], Mapping[str, str]],
    told: Callable[[str], None] = lambda job: None,
) -> Wave:
    """Submit the waiting points of a sweep for a cluster, until sbatch says that the user may queue no more.

    Each job is told as soon as it is queued.

    Raises:
        Untracked: a job was queued, and told, and the tracker does not know it.
        SubmitRejected: sbatch said no, and not for want of room; what was not queued waits on.
        HostError: the cluster or its scheduler did not answer; the next command settles what is open.
    """
    with tracker.claim(sweep.sweep_id, wait=True):
        jobs: list[str] = []
        for waiting in tracker.sweeps.waiting(cluster=known.cluster.name, sweep_id=sweep.sweep_id):
            try:
                job_id = send_one(sweep, waiting, known, tracker, host, code=code, secrets=secrets, ask=not jobs)
            except Untracked as error:
                told(error.job)
                raise
            except SubmitRejected as error:
                if FULL in str(error):
                    break
                raise
            if job_id:
                jobs.append(f"{known.cluster.name}:{job_id}")
                told(jobs[-1])
        left = tracker.sweeps.waiting(cluster=known.cluster.name, sweep_id=sweep.sweep_id)
        return Wave(tuple(jobs), sum(size(waiting.plan) for waiting in left))


def send_one(
    sweep: TrackedSweep,
    waiting: WaitingPlan,
    known: Known,
    tracker: Tracker,
    host: Host,
    *,
    code: Snapshot | None,
    secrets: Callable[[tuple[str, ...]], Mapping[str, str]],
    ask: bool = False,
) -> str | None:
    """The id of the job that a plan which waited became; None: another process is at it, or has sent it.

    ``ask``: Slurm is asked too why it waits.
    """
    plan = waiting.plan
    with tracker.claim(plan.plan_id) as mine:
        if not mine or not tracker.sweeps.is_waiting(plan.plan_id):
            return None
        entries = tracker.sweeps.entries(plan.plan_id)
        job = prepared(waiting, sweep.template, known.cluster, entries, code)
        return submit_claimed(job, tracker, host, secrets(plan.secrets), ask=ask).job_id


def size(plan: JobPlan) -> int:
    """How many jobs it is."""
    return plan.points.count if plan.points else 1


def room_at(plan: JobPlan, host: Host) -> Room | None:
    """How soon the cluster would begin jobs like this; None where its answer is not understood.

    Raises:
        HostError: it does not answer.
    """
    asked = plan.resources
    need = Need(asked.cpus, asked.memory_mib or 0, asked.gpus, asked.nodes)
    done = host.run(program("capacity", *room_words(plan.asked_options)))
    try:
        return parse_room(done.stdout, need)
    except SlurmParseError:
        return None


def send_waiting(session: Session) -> bool:
    """Submit the waiting points of every sweep whose ids were told, as far as there is room; whether some still wait.

    A failure is one line on stderr; the next command tries again.
    """
    waits, tracker = False, session.tracker
    for sweep in tracker.sweeps.all():
        texts = {each.plan.cluster: each.cluster_text for each in tracker.sweeps.waiting(sweep_id=sweep.sweep_id)}
        for name, text in texts.items() if sweep.told else ():
            try:
                known = known_from(name, text)
                host = session.reach(known)
                told = partial(tell, session, sweep.sweep_id)
                wave = send_wave(sweep, known, tracker, host, code=None, secrets=read_secrets, told=told)
            except TfslurmError as error:
                session.say(f"error: {sweep.sweep_id}: waiting points not submitted: {str(error).splitlines()[0]}")
                continue
            waits = waits or bool(wave.left)
    return waits


def tell(session: Session, sweep_id: str, job: str) -> None:
    """Say that a job is in the queue."""
    session.say(f"{sweep_id}: sent {job}")

"""One job for each cluster, submitted once however often the command is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tfslurm.errors import TfslurmError, Untracked
from tfslurm.handoff.recovery import settle_all
from tfslurm.monitoring.sweep_states import is_given_up
from tfslurm.submission.code_folder import tell_of_left_out, tell_of_private
from tfslurm.submission.own_folders import own_places
from tfslurm.submission.pinning import Pinning, pin_on_first_use, report_move
from tfslurm.submission.preflight import preemption_note, tell_of_driver
from tfslurm.submission.prepare import Asked, Prepared, prepare
from tfslurm.submission.scan_gate import guard
from tfslurm.submission.secrets import read_secrets
from tfslurm.submission.submit import submit_claimed
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.clock import now
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session


def submit_jobs(
    session: Session,
    asked: Asked,
    chosen: Sequence[Known],
    *,
    force: bool,
    again: bool,
    told: Callable[[str], None],
    shown: Callable[[Sequence[tuple[str, str]]], None],
) -> list[str]:
    """The jobs of an experiment, one on each cluster; each is ``told`` as it is queued.

    ``shown`` is called with all of them, each with its plan's id, at the end: what it has printed counts as seen. It is
    called too where something went wrong after the first: every id that sbatch gave is shown.

    Raises:
        TfslurmError: as submit_once; or every driver seen there is too old, and that is not forced.
    """
    secrets = read_secrets(asked.experiment.secrets) if asked.experiment.secrets else {}
    prepared = prepared_for(session, asked, chosen)
    tell_of_left_out(session.say, prepared[0].code)
    for job in prepared:
        tell_of_driver(session, job.plan, force=force)
    if any(job.scan for job in prepared):
        guard(session, prepared)
    done: list[tuple[str, str]] = []

    def queued(job: str, plan_id: str) -> None:
        done.append((job, plan_id))
        told(job)

    if asked.keep_on_failure_s:
        from tfslurm.submission.keeping import cost

        session.say(cost(asked))
    with session.tracker.claim_all(name for job in prepared for name in (job.plan.plan_sha256, job.plan.plan_id)):
        try:
            for known, job in zip(chosen, prepared, strict=True):
                submit_once(session, known, job, secrets, queued, again=again)
        except Untracked as error:
            queued(error.job, error.plan_id)
            raise
        finally:
            if done:
                shown(done)
        session.tracker.tell([plan_id for _, plan_id in done])
    if asked.derived_from is None:  # a rerun is of the digest, whatever its tag stands for by now
        report_move(session, asked, prepared[0].plan.pin, chosen)
    return [job for job, _ in done]


def prepared_for(
    session: Session, asked: Asked, clusters: Sequence[Known], pinning: Pinning = pin_on_first_use
) -> list[Prepared]:
    """One job for each cluster, with the image pinned (now, if it never was)."""
    pin = pinning(session, asked, clusters)
    is_sent = pinning is pin_on_first_use  # what is shown alone needs no tracker
    tracker = session.tracker if is_sent or session.has_tracker else None
    own, head = own_places(tracker, clusters), tracker.chain_head if tracker and is_sent else ""
    jobs = [
        prepare(asked, pin, each.cluster, each.text, each.user, now(), own=own, chain_head=head) for each in clusters
    ]
    tell_of_private(session.say, jobs[0].code if jobs else None)
    return jobs


def submit_once(
    session: Session,
    known: Known,
    job: Prepared,
    secrets: dict[str, str],
    told: Callable[[str, str], None],
    *,
    again: bool,
) -> None:
    """Submit a job; the new one and its plan's id are ``told`` at once.

    The caller has claimed it. Where an earlier call was cut off before it told the id of the same job, that one is
    told.

    Raises:
        TfslurmError: the same job is queued or running, and it is not wanted ``again``.
    """
    name, same = known.cluster.name, job.plan.plan_sha256
    tracker, host = session.tracker, session.reach(known)
    settle_all(known, tracker, host)
    if left := tracker.jobs(plan_sha256=same, untold=True):
        session.say(f"{name}: an earlier submit was interrupted after this job was queued; here is its id")
        told(left[-1].key, left[-1].plan_id)
        return
    if not again and tracker.jobs(plan_sha256=same, unfinished=True):
        from tfslurm.monitoring.refresh import refresh

        refresh(known, tracker, host)
        requeues = bool(job.plan.checkpoint and job.plan.checkpoint.requeue)
        live = tracker.jobs(plan_sha256=same, unfinished=True)
        refuse_twice(job, [each for each in live if not is_given_up(each, requeues=requeues)])
    job_id = submit_claimed(job, tracker, host, secrets, untold=True, ask=True)
    told(f"{name}:{job_id}", job.plan.plan_id)
    if job.plan.checkpoint and (note := preemption_note(job.plan, known, host)):
        session.say(f"note: {note}")


def refuse_twice(job: Prepared, live: Sequence[TrackedJob]) -> None:
    """Refuse the submission if the same job is queued or running.

    Raises:
        TfslurmError: which ones are.
    """
    if live:
        told = ", ".join(f"{each.key} ({each.state})" for each in live)
        fix = f"`tfslurm wait {live[-1].key}` waits for it, --again submits it once more"
        raise TfslurmError(f"{job.plan.name}: the same job is there already: {told}; {fix}")

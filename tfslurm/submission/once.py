"""One job for each cluster, submitted once however often the command is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from tfslurm.errors import TfslurmError, TrackerError, Untracked
from tfslurm.handoff.recovery import settle_all
from tfslurm.monitoring.sweep_states import is_given_up
from tfslurm.submission.code_folder import TellOfCode, snapshot, tell_of_private, tell_of_sent
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
    shown: Callable[[Sequence[tuple[str, str]]], None] | None = None,
) -> list[TrackedJob]:
    """The jobs of an experiment, one on each cluster, as they were queued; the name of each is ``told`` at once.

    ``shown`` is called with the names of all, each with its plan's id, at the end: what these two have printed counts
    as seen. It is called too where something went wrong after the first: every id that sbatch gave is shown.

    Raises:
        TfslurmError: as submit_once; or every driver seen there is too old, and that is not forced.
    """
    secrets = read_secrets(asked.experiment.secrets) if asked.experiment.secrets else {}
    prepared = ready_to_send(session, asked, chosen, force=force)
    queued: list[TrackedJob] = []
    names: list[tuple[str, str]] = []
    seen: list[str] = []
    with session.tracker.claim_all(name for job in prepared for name in (job.plan.plan_sha256, job.plan.plan_id)):
        try:
            for known, job in zip(chosen, prepared, strict=True):
                queued.append(one := submit_once(session, known, job, secrets, again=again))
                names.append((f"{one.cluster}:{one.job_id}", one.plan_id))
                told(names[-1][0])
                seen.append(one.plan_id)
                if job.plan.checkpoint and (note := preemption_note(job.plan, known, session.reach(known))):
                    session.say(f"note: {note}")
        except Untracked as error:
            names.append((error.job, error.plan_id))
            told(error.job)
            raise
        finally:
            if names and shown:
                shown(names)
            with suppress(TrackerError):  # else the next command tells them once more
                session.tracker.tell(seen)
    if asked.derived_from is None:  # a rerun is of the digest, whatever its tag stands for by now
        report_move(session, asked, prepared[0].plan.pin, chosen)
    return queued


def ready_to_send(session: Session, asked: Asked, chosen: Sequence[Known], *, force: bool) -> list[Prepared]:
    """The jobs as ``prepared_for`` makes them, and all that is to be said or refused before they are sent.

    Raises:
        TfslurmError: every driver seen there is too old, and that is not forced; or a rule holds the image.
    """
    prepared = prepared_for(session, asked, chosen, tell_of_code=tell_of_sent)
    for job in prepared:
        inside, drivers = session.tracker.image(job.plan.pin.digest), session.tracker.drivers(job.plan.cluster)
        tell_of_driver(session, job.plan, inside, drivers, force=force)
    if any(job.scan for job in prepared):
        guard(session, prepared)
    if asked.keep_on_failure_s:
        from tfslurm.submission.keeping import cost

        session.say(cost(asked))
    return prepared


def prepared_for(
    session: Session,
    asked: Asked,
    clusters: Sequence[Known],
    pinning: Pinning = pin_on_first_use,
    *,
    tell_of_code: TellOfCode = tell_of_private,
) -> list[Prepared]:
    """One job for each cluster, with the image pinned (now, if it never was) and the code as it is now."""
    pin = pinning(session, asked, clusters)
    is_sent = pinning is pin_on_first_use  # what is shown alone needs no tracker
    tracker = session.tracker if is_sent or session.has_tracker else None
    own, head = own_places(tracker, clusters), tracker.chain_head if tracker and is_sent else ""
    code = snapshot(asked)
    tell_of_code(session.say, code)
    return [
        prepare(asked, pin, each.cluster, each.text, each.user, now(), code=code, own=own, chain_head=head)
        for each in clusters
    ]


def submit_once(session: Session, known: Known, job: Prepared, secrets: dict[str, str], *, again: bool) -> TrackedJob:
    """Submit a job, which the caller has claimed: the new one.

    Where an earlier call was cut off before it told the id of the same job, it is that one.

    Raises:
        TfslurmError: the same job is queued or running, and it is not wanted ``again``.
    """
    name, same = known.cluster.name, job.plan.plan_sha256
    tracker, host = session.tracker, session.reach(known)
    settle_all(known, tracker, host)
    if left := tracker.jobs(plan_sha256=same, untold=True):
        session.say(f"{name}: an earlier submit was interrupted after this job was queued; here is its id")
        return left[-1]
    if not again and tracker.jobs(plan_sha256=same, unfinished=True):
        from tfslurm.monitoring.refresh import refresh

        refresh(known, tracker, host)
        requeues = bool(job.plan.checkpoint and job.plan.checkpoint.requeue)
        live = tracker.jobs(plan_sha256=same, unfinished=True)
        refuse_twice(job, [each for each in live if not is_given_up(each, requeues=requeues)])
    return submit_claimed(job, tracker, host, secrets, untold=True, ask=True)


def refuse_twice(job: Prepared, live: Sequence[TrackedJob]) -> None:
    """Refuse the submission if the same job is queued or running.

    Raises:
        TfslurmError: which ones are.
    """
    if live:
        told = ", ".join(f"{each.key} ({each.state})" for each in live)
        fix = f"`tfslurm wait {live[-1].key}` waits for it, --again submits it once more"
        raise TfslurmError(f"{job.plan.name}: the same job is there already: {told}; {fix}")

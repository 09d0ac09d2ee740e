"""One job for each cluster, submitted once however often the command is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tfslurm.document.tree import printable
from tfslurm.errors import TfslurmError, Untracked
from tfslurm.handoff.recovery import settle_all
from tfslurm.monitoring.sweep_states import is_given_up
from tfslurm.submission.code_folder import private_files
from tfslurm.submission.own_folders import own_places
from tfslurm.submission.pinning import Pinning, pin_on_first_use, report_move
from tfslurm.submission.preflight import preemption_note, tell
from tfslurm.submission.prepare import Asked, Prepared, prepare
from tfslurm.submission.scan_gate import guard
from tfslurm.submission.secrets import read_secrets
from tfslurm.submission.submit import submit_job
from tfslurm.tracker import TrackedJob, Tracker
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
    for job in prepared:
        tell_of_driver(session, job, force=force)
    if any(job.scan for job in prepared):
        guard(session, prepared)
    done: list[tuple[str, str]] = []

    def queued(job: str, plan_id: str) -> None:
        done.append((job, plan_id))
        told(job)

    tell_of_left_out(session, prepared)
    if asked.keep_on_failure_s:
        from tfslurm.submission.keeping import cost

        session.say(cost(asked))
    with claimed(prepared, session.tracker):
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
    head = session.tracker.chain_head if pinning is pin_on_first_use else ""  # what is shown alone needs no tracker
    own = own_places(session.tracker if session.has_tracker else None)
    jobs = [
        prepare(asked, pin, each.cluster, each.text, each.user, now(), own=own, chain_head=head) for each in clusters
    ]
    tell_of_private(session, jobs)
    return jobs


def tell_of_driver(session: Session, job: Prepared, *, force: bool) -> None:
    """Say how the drivers seen there suit the image, if that is worth a word; without --force too old is an error."""
    try:
        told = tell(job.plan, session.tracker, whole=session.trace is not None)
    except TfslurmError as error:
        if not force:
            raise
        told = f"warning: {error}: submitted all the same (--force)"
    if told:
        session.say(told)


@contextmanager
def claimed(prepared: Sequence[Prepared], tracker: Tracker) -> Iterator[None]:
    """Within this nobody else submits the same: they wait. In one order, so that no two wait for each other."""
    with ExitStack() as claims:
        for plan_sha256 in sorted({job.plan.plan_sha256 for job in prepared}):
            claims.enter_context(tracker.claim(plan_sha256, wait=True))
        yield


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

    Where an earlier call was cut off before it told the id of the same job, that one is told.

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
    job_id = submit_job(job, tracker, host, secrets, untold=True, ask=True)
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


def tell_of_left_out(session: Session, jobs: Sequence[Prepared]) -> None:
    """Say on stderr which parts of the folder are not sent as code."""
    lines = jobs[0].code.left_out if jobs and jobs[0].code else ()
    if lines:
        from tfslurm.submission.review import some

        session.say(f"note: code: left out: {printable(some(list(lines)))}")


def tell_of_private(session: Session, jobs: Sequence[Prepared]) -> None:
    """Say on stderr which files of the code look as if they held a secret."""
    names = private_files(jobs[0].code) if jobs else []
    if names:
        from tfslurm.submission.review import some

        fix = "name them in `code: {path: …, exclude: […]}` or .gitignore, or keep them elsewhere"
        session.say(f"warning: code: files that look private are part of it: {printable(some(names))}; {fix}")

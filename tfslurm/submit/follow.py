"""The tracker is brought up to date: clusters are asked, all at once, and what they say is written here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import PurePosixPath

from tfslurm.errors import RecordError, TfslurmError, refuse
from tfslurm.host import Host, open_host
from tfslurm.plan import JobPlan
from tfslurm.submit.news import News, Question, ask
from tfslurm.submit.parallel import at_once
from tfslurm.submit.places import Known
from tfslurm.submit.settle import claim_open, close
from tfslurm.tracker import TrackedJob, Tracker

JOB = re.compile(r"(?:(?P<cluster>[a-z0-9][a-z0-9._-]*):)?(?P<id>[0-9]+(?:_[0-9]+)?)")


def find_job(tracker: Tracker, text: str) -> TrackedJob:
    """The job that a user names: ``1234``, ``1234_7`` or ``alpha:1234_7``; the latest where an id was used again.

    Raises:
        InputError: not a job's name, not one of this tracker's jobs, or an id that two clusters have.
    """
    match = JOB.fullmatch(text)
    if not match:
        raise refuse(f"job {text!r}", "is not a job", "write 1234, 1234_7 or alpha:1234_7")
    found = {job.cluster: job for job in tracker.jobs(cluster=match["cluster"], job_id=match["id"])}
    if not found:
        fix = "`tfslurm status --all` lists those that are; `tfslurm tracker rebuild` reads the run folders again"
        raise refuse(f"job {text!r}", "is not in the tracker", fix)
    if len(found) > 1:
        keys = ", ".join(job.key for job in found.values())
        raise refuse(f"job {text!r}", f"exists on several clusters: {keys}", "name the cluster too")
    return next(iter(found.values()))


def refresh(cluster: str, user: str, tracker: Tracker, host: Host, jobs: Sequence[TrackedJob] | None = None) -> str:
    """Bring the tracker up to date for the unfinished jobs of one cluster (or just for ``jobs``).

    Why some of them are as last seen, in one line; '' where all are up to date.

    Raises:
        HostError: the cluster or its scheduler does not answer; the tracker is as it was.
    """
    with questions([(cluster, user)], tracker, jobs) as (question,):
        return write(ask(question, host), tracker)


def refresh_all(
    clusters: Sequence[Known],
    tracker: Tracker,
    trace: Callable[[str], None] | None,
    jobs: Sequence[TrackedJob] | None = None,
    before: Callable[[Known, Host], None] = lambda known, host: None,
) -> dict[str, str]:
    """The same for several clusters, all asked at once: cluster -> why it is not up to date, in one line.

    One that does not answer keeps no other waiting, and its jobs stay as last seen. ``before`` is done on each first,
    in a thread of its own.
    """
    silent: dict[str, str] = {}
    with questions([(known.cluster.name, known.user) for known in clusters], tracker, jobs) as asked:
        works = [partial(ask_there, known, each, trace, before) for known, each in zip(clusters, asked, strict=True)]
        for known, answer in zip(clusters, at_once(works), strict=True):
            try:
                news = answer()
            except TfslurmError as error:
                silent[known.cluster.name] = named(known.cluster.name, error)
                continue
            if silence := write(news, tracker):
                silent[known.cluster.name] = silence
    return silent


def ask_there(
    known: Known, question: Question, trace: Callable[[str], None] | None, before: Callable[[Known, Host], None]
) -> News:
    """What a cluster says when it is reached."""
    with open_host(known.cluster, trace=trace) as host:
        before(known, host)
        return ask(question, host)


def named(cluster: str, error: TfslurmError) -> str:
    """An error in one line that begins with its cluster."""
    said = str(error).splitlines()[0]
    return said if said.startswith(f"{cluster}:") else f"{cluster}: {said}"


@contextmanager
def questions(
    clusters: Sequence[tuple[str, str]], tracker: Tracker, jobs: Sequence[TrackedJob] | None
) -> Iterator[list[Question]]:
    """What each cluster, with the user there, is asked; until the block ends its open plans are nobody else's."""
    with ExitStack() as stack:
        yield [question(cluster, user, tracker, jobs, stack) for cluster, user in clusters]


def question(
    cluster: str, user: str, tracker: Tracker, jobs: Sequence[TrackedJob] | None, stack: ExitStack
) -> Question:
    """What one cluster is asked."""
    left = tuple(stack.enter_context(claim_open(cluster, tracker)))
    found = tracker.jobs(cluster=cluster, unfinished=True) if jobs is None else jobs
    places = tracker.places(cluster) if found else {}  # of a plan that is not in it, every job has ended meanwhile
    unfinished = tuple(job for job in found if job.cluster == cluster and not job.final and job.plan_id in places)
    return Question(cluster, user, left, unfinished, places)


def write(news: News, tracker: Tracker) -> str:
    """Keep what a cluster said; what it was silent about."""
    for left, job_id in news.settled:
        close(left, job_id, tracker)
    tracker.see_all(news.seen)
    return news.silence


def job_dir(plan: JobPlan, job_id: str) -> PurePosixPath:
    """The folder of one job of a plan, on the cluster."""
    return plan.run_dir / job_id


def plan_of(job: TrackedJob, tracker: Tracker) -> JobPlan:
    """The plan that a job was submitted from.

    Raises:
        RecordError: the tracker lost it.
    """
    found = tracker.plans(plan_id=job.plan_id)
    if not found:
        raise RecordError(f"{job.key}: its plan {job.plan_id} is not in the tracker; run `tfslurm tracker rebuild`")
    return found[0].plan

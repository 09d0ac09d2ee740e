"""The tracker is brought up to date: clusters are asked, all at once, and what they say is written here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import PurePosixPath
from queue import SimpleQueue

from tfslurm.errors import RecordError, TfslurmError, refuse
from tfslurm.host import Host, open_host
from tfslurm.plan import JobPlan, job_folder
from tfslurm.submit.news import News, Question, ask
from tfslurm.submit.parallel import in_background
from tfslurm.submit.places import Known
from tfslurm.submit.reach import speaks_for
from tfslurm.submit.settle import claim_open, close, taken
from tfslurm.tracker import TrackedJob, TrackedSweep, Tracker

JOB = re.compile(r"(?:(?P<cluster>[a-z0-9][a-z0-9._-]*):)?(?P<id>[0-9]+(?:_[0-9]+(?:\.[0-9]+)?)?)")


def find_job(tracker: Tracker, text: str) -> TrackedJob:
    """The job that a user names: ``1234``, ``1234_7``, ``1234_7.59``, ``alpha:1234_7`` or ``SWEEP:POINT``; the latest
    where an id was used again.

    Raises:
        InputError: not a job's name, not one of this tracker's jobs, several jobs, or an id that two clusters have.
    """
    found = find_jobs(tracker, text)
    if len(found) > 1:
        fix = f"name one, such as {found[0].key}; `tfslurm status {text}` lists them"
        raise refuse(f"job {text!r}", f"is {len(found)} jobs", fix)
    return found[0]


def find_jobs(tracker: Tracker, text: str) -> list[TrackedJob]:
    """The jobs that a user names: one, all points of an array or of one of its tasks, or the last job of every point of
    a sweep that was sent.

    Raises:
        InputError: as find_job, and a sweep of which nothing was sent.
    """
    sweep, _, point = text.partition(":")
    if tracker.sweeps.named(sweep):
        return jobs_of_sweep(tracker, find_sweep(tracker, sweep), point)
    match = JOB.fullmatch(text)
    if not match:
        raise refuse(f"job {text!r}", "is not a job", "write 1234, 1234_7 or alpha:1234_7, or a sweep's name")
    ids = tracker.jobs(cluster=match["cluster"], job_id=match["id"])
    found = {job.cluster: [job] for job in ids} or tasks_of(tracker, match["cluster"], match["id"])
    if not found:
        fix = "`tfslurm status --all` lists those that are; `tfslurm tracker rebuild` reads the run folders again"
        raise refuse(f"job {text!r}", "is not in the tracker", fix)
    if len(found) > 1:
        keys = ", ".join(f"{cluster}:{match['id']}" for cluster in found)
        raise refuse(f"job {text!r}", f"exists on several clusters: {keys}", "name the cluster too")
    return next(iter(found.values()))


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


def find_sweep(tracker: Tracker, text: str) -> TrackedSweep:
    """The sweep with this id, or the only one with this name.

    Raises:
        InputError: there is none, or several have the name.
    """
    found = tracker.sweeps.named(text)
    if not found:
        known = ", ".join(sweep.sweep_id for sweep in tracker.sweeps.all()[-5:]) or "none"
        raise refuse(f"sweep {text!r}", f"is not in the tracker; the last are: {known}")
    if len(found) > 1:
        last = ", ".join(sweep.sweep_id for sweep in found[-5:])
        raise refuse(f"sweep {text!r}", f"is the name of {len(found)}: {last}", "name one of them")
    return found[0]


def jobs_of_sweep(tracker: Tracker, sweep: TrackedSweep, point: str = "") -> list[TrackedJob]:
    """The last job of each point of a sweep that was sent, or of the one point that is named by how its id begins.

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


def refresh(known: Known, tracker: Tracker, host: Host, jobs: Sequence[TrackedJob] | None = None) -> str:
    """Bring the tracker up to date for the unfinished jobs of one cluster (or just for ``jobs``).

    Why some of them are as last seen, in one line; '' where all are up to date.

    Raises:
        HostError: the cluster or its scheduler does not answer; the tracker is as it was.
    """
    with questions([known], tracker, jobs) as (question,):
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
    in a thread of its own. The tracker is read while they are reached.
    """
    silent: dict[str, str] = {}
    asked: list[SimpleQueue[Question | None]] = [SimpleQueue() for _ in clusters]
    answers = [
        in_background(partial(ask_there, known, each.get, trace, before))
        for known, each in zip(clusters, asked, strict=True)
    ]
    try:
        with questions(clusters, tracker, jobs) as found:
            for each, question in zip(asked, found, strict=True):
                each.put(question)
            for known, answer in zip(clusters, answers, strict=True):
                try:
                    silence = write(answer(), tracker)
                except TfslurmError as error:
                    silence = named(known.cluster.name, error)
                if silence:
                    name = known.cluster.name
                    silent[name] = f"{silent[name]}; {silence}" if name in silent else silence
    finally:
        for each in asked:
            each.put(None)  # nobody waits for a question that never comes
    return silent


def ask_there(
    known: Known,
    asked: Callable[[], Question | None],
    trace: Callable[[str], None] | None,
    before: Callable[[Known, Host], None],
) -> News:
    """What a cluster says when it is reached; nothing where there is no question after all."""
    with open_host(known.cluster, trace=trace) as host:
        before(known, host)
        question = asked()
        return ask(question, host) if question else News((), ())


def named(cluster: str, error: TfslurmError) -> str:
    """An error in one line that begins with its cluster."""
    said = str(error).splitlines()[0]
    return said if said.startswith(f"{cluster}:") else f"{cluster}: {said}"


@contextmanager
def questions(
    clusters: Sequence[Known], tracker: Tracker, jobs: Sequence[TrackedJob] | None
) -> Iterator[list[Question]]:
    """What each cluster is asked; until the block ends its open plans are nobody else's."""
    with ExitStack() as stack:
        yield [question(known, tracker, jobs, stack) for known in clusters]


def question(known: Known, tracker: Tracker, jobs: Sequence[TrackedJob] | None, stack: ExitStack) -> Question:
    """What one cluster is asked: nothing of jobs that another one of its name has, for it would say they are lost."""
    cluster = known.cluster.name
    left = tuple(stack.enter_context(claim_open(known, tracker)))
    found = tracker.jobs(cluster=cluster, unfinished=True) if jobs is None else jobs
    places = tracker.places(cluster) if found else {}  # of a plan that is not in it, every job has ended meanwhile
    mine = {text for text in {place.cluster_text for place in places.values()} if speaks_for(known, text)}
    places = {plan_id: place for plan_id, place in places.items() if place.cluster_text in mine}
    unfinished = tuple(job for job in found if job.cluster == cluster and not job.final and job.plan_id in places)
    return Question(cluster, known.user, left, unfinished, places, taken(cluster, tracker) if left else ())


def write(news: News, tracker: Tracker) -> str:
    """Keep what a cluster said; what it was silent about."""
    for left, job_id in news.settled:
        close(left, job_id, tracker)
    tracker.see_all(news.seen)
    return news.silence


def job_dir(plan: JobPlan, job_id: str) -> PurePosixPath:
    """The folder of one job of a plan, on the cluster."""
    return job_folder(plan.run_dir, job_id)


def plan_of(job: TrackedJob, tracker: Tracker) -> JobPlan:
    """The plan that a job was submitted from.

    Raises:
        RecordError: the tracker lost it.
    """
    found = tracker.plans(plan_id=job.plan_id)
    if not found:
        raise RecordError(f"{job.key}: its plan {job.plan_id} is not in the tracker; run `tfslurm tracker rebuild`")
    return found[0].plan

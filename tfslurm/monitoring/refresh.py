"""Bring the tracker up to date: ask clusters, all at once, and write their answers here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from queue import SimpleQueue

from tfslurm.errors import TfslurmError
from tfslurm.handoff.recovery import claim_open, close, taken
from tfslurm.host import Host
from tfslurm.monitoring.poll import ClusterAnswer, Question, ask
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import speaks_for
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session
from tfslurm.workspace.threads import in_background


def refresh(known: Known, tracker: Tracker, host: Host, jobs: Sequence[TrackedJob] | None = None) -> str:
    """Bring the tracker up to date for the unfinished jobs of one cluster (or only for ``jobs``).

    Why some of them are as last seen, in one line; '' where all are up to date.

    Raises:
        HostError: the cluster or its scheduler does not answer; the tracker is as it was.
    """
    with questions([known], tracker, jobs) as (question,):
        return write(ask(question, host), tracker)


def refresh_all(
    session: Session,
    clusters: Sequence[Known],
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
        in_background(partial(ask_there, session, known, each.get, before))
        for known, each in zip(clusters, asked, strict=True)
    ]
    try:
        with questions(clusters, session.tracker, jobs) as found:
            for each, question in zip(asked, found, strict=True):
                each.put(question)
            for known, answer in zip(clusters, answers, strict=True):
                try:
                    silence = write(answer(), session.tracker)
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
    session: Session,
    known: Known,
    asked: Callable[[], Question | None],
    before: Callable[[Known, Host], None],
) -> ClusterAnswer:
    """The answer of a cluster once it is reached; an empty one if there is no question after all."""
    host = session.reach(known)
    before(known, host)
    question = asked()
    return ask(question, host) if question else ClusterAnswer((), ())


def named(cluster: str, error: TfslurmError) -> str:
    """An error in one line that begins with its cluster."""
    said = str(error).splitlines()[0]
    return said if said.startswith(f"{cluster}:") else f"{cluster}: {said}"


@contextmanager
def questions(
    clusters: Sequence[Known], tracker: Tracker, jobs: Sequence[TrackedJob] | None
) -> Iterator[list[Question]]:
    """The question to each cluster; until the block ends its open plans are nobody else's."""
    with ExitStack() as stack:
        yield [question(known, tracker, jobs, stack) for known in clusters]


def question(known: Known, tracker: Tracker, jobs: Sequence[TrackedJob] | None, stack: ExitStack) -> Question:
    """The question to one cluster: not about jobs of another one of its name, which it would say are lost."""
    cluster = known.cluster.name
    left = tuple(stack.enter_context(claim_open(known, tracker)))
    found = tracker.jobs(cluster=cluster, unfinished=True) if jobs is None else jobs
    places = tracker.places(cluster) if found else {}  # of a plan that is not in it, every job has ended by now
    mine = {text for text in {place.cluster_text for place in places.values()} if speaks_for(known, text)}
    places = {plan_id: place for plan_id, place in places.items() if place.cluster_text in mine}
    unfinished = tuple(job for job in found if job.cluster == cluster and not job.final and job.plan_id in places)
    return Question(cluster, known.user, left, unfinished, places, taken(cluster, tracker) if left else ())


def write(answer: ClusterAnswer, tracker: Tracker) -> str:
    """Write a cluster's answer down; why it is not complete, '' if it is."""
    for left, job_id in answer.settled:
        close(left, job_id, tracker)
    tracker.update_jobs(answer.updates)
    return answer.silence

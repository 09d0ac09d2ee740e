"""Ask clusters again and again: for `status --watch`, for `wait`, for every call that waits for a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from tfslurm.errors import InputError, RecordError
from tfslurm.monitoring.backoff import Pace
from tfslurm.monitoring.lookup import find_jobs, find_sweep
from tfslurm.monitoring.reasons import reason_of
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import clusters_of, known_from
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.session import Session

FAILED = 1
FEW = 10  # jobs that are named one by one


def sent_of(tracker: Tracker, name: str) -> list[TrackedJob]:
    """The jobs that a name stands for; for a sweep those that were sent by now, which may be none."""
    if tracker.sweeps.named(name):
        points = tracker.sweeps.points(find_sweep(tracker, name).sweep_id)
        return [point.job for point in points if point.job]
    return find_jobs(tracker, name)


def clusters_to_ask(
    tracker: Tracker, jobs: Sequence[TrackedJob] | None, refused: dict[str, str] | None = None
) -> list[Known]:
    """The clusters with an unfinished job, among these or at all, and those with a plan that never got its id.

    Where the file or text that describes one is refused, ``refused`` gets its line; without it that is raised.
    """
    texts = tracker.texts(None if jobs is None else [job.plan_id for job in jobs if not job.final])
    left = [each for each in tracker.plans(stage="planned") if each.plan.cluster != LOCAL]
    asked: list[Known] = []
    for name, text in dict.fromkeys([*texts, *((each.plan.cluster, each.cluster_text) for each in left)]):
        try:
            known = known_from(name, text)
            if known not in asked:
                asked.append(known)
        except (InputError, RecordError) as error:
            if refused is None:
                raise
            refused[name] = str(error).splitlines()[0]
    return asked


def rounds(
    session: Session,
    pace: Pace,
    clusters: Callable[[], list[Known]],
    state: Callable[[], object],
    send: Callable[[Session], bool],
) -> Iterator[dict[str, str]]:
    """Ask the clusters that are due, all at once, and send waiting points; cluster -> a line, if it is not up to date.

    The next round is later while ``state`` is what it was. Each cluster is logged in to once for all rounds.
    """
    silent: dict[str, str] = {}
    before: object = None
    while True:
        asked = clusters()
        due = pace.due(asked)
        names = {known.cluster.name for known in due}
        silent = {name: line for name, line in silent.items() if name not in names} | refresh_all(session, due)
        send(session)
        yield silent
        now = state()
        pace.asked(due, changed=now != before)
        before = now
        pace.wait(asked)


def wait_for(session: Session, names: Sequence[str], send: Callable[[Session], bool]) -> list[TrackedJob]:
    """Wait for the named jobs and return them; each change of state is printed. ``send`` sends waiting points."""
    tracker = session.tracker
    lines = [""]

    def jobs() -> list[TrackedJob]:
        return [job for name in names for job in find_jobs(tracker, name)]

    def clusters() -> list[Known]:
        return clusters_of([job for job in jobs() if not job.final], tracker)

    for silent in rounds(session, Pace(first_s=0.5, factor=1.2, most_s=30.0), clusters, lambda: lines[-1], send):
        now = jobs()
        line = ", ".join([*states_in_words(now), *silent.values()])
        if line != lines[-1]:
            session.say(line)
            lines.append(line)
        is_over = all(job.final or job.state == "LOST" for job in now)
        if is_over and not any(is_waiting(tracker, name) for name in names):
            return now
    raise AssertionError("rounds have no end")


def is_waiting(tracker: Tracker, name: str) -> bool:
    """Whether points of a sweep are still to be sent by a later command."""
    return any(sweep.told and tracker.sweeps.waiting(sweep_id=sweep.sweep_id) for sweep in tracker.sweeps.named(name))


def states_in_words(jobs: Sequence[TrackedJob]) -> list[str]:
    """Each job with its state, and why it waits or failed; for many jobs the number in each state."""
    if len(jobs) <= FEW:
        return [f"{job.key} {job.state}" + (f" ({reason})" if (reason := reason_of(job)) else "") for job in jobs]
    counts = Counter(job.state for job in jobs)
    return [f"{count} {state}" for state, count in sorted(counts.items())]


def exit_code(job: TrackedJob) -> int:
    """A job's own exit code; 128 + n after signal n; 1 where Slurm ended it without one."""
    if job.state == "COMPLETED":
        return 0
    code, signal = job.status.get("exit_code"), job.status.get("signal")
    return int(code) or FAILED if code else 128 + int(signal) if signal else FAILED

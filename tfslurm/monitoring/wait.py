"""Ask clusters again and again: for `status --watch`, for `wait`, for every call that waits for a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from tfslurm.errors import InputError, RecordError
from tfslurm.monitoring.backoff import Pace
from tfslurm.monitoring.lookup import find_jobs, find_sweep, stable_names
from tfslurm.monitoring.reasons import is_kept, reason_of, to_start, why
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.monitoring.sweep_states import counts, progress
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clusters_of_jobs import clusters_of, known_from
from tfslurm.workspace.config import LOCAL, Known
from tfslurm.workspace.session import Session

FAILED = 1
FEW = 10  # jobs that are named one by one
FIRST_S, MOST_S = 0.5, 30.0


def sent_of(tracker: Tracker, text: str) -> list[TrackedJob]:
    """The jobs that a name stands for; for a sweep those that were sent by now, which may be none."""
    names = stable_names(tracker, text)
    if tracker.sweeps.named(names[0]):
        points = tracker.sweeps.points(find_sweep(tracker, names[0]).sweep_id)
        return [point.job for point in points if point.job]
    return [job for name in names for job in find_jobs(tracker, name)]


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


def asked_again(
    session: Session, ask: Callable[[], list[Known]], refused: dict[str, str] | None = None
) -> Callable[[], list[Known]]:
    """A function that gives the clusters to ask, again and again: one whose file is broken by then is as it was before.

    ``refused`` is what ``ask`` fills with those whose files are refused, if it does not raise that.
    """
    before: list[Known] = []
    broken: list[str] = []

    def clusters() -> list[Known]:
        lines = {} if refused is None else refused
        lines.clear()
        try:
            asked = ask()
        except (InputError, RecordError) as error:
            if not before:
                raise
            asked = []
            lines = {known.cluster.name: str(error).splitlines()[0] for known in before}
        for known in [each for each in before if each.cluster.name in lines]:
            asked.append(known)
            if (line := lines.pop(known.cluster.name)) not in broken:
                broken.append(line)
                session.say(f"error: {line}; it is asked as its file was before")
        before[:] = asked
        return asked

    return clusters


def wait_for(
    session: Session,
    given: Sequence[str],
    send: Callable[[Session], bool],
    draw: Callable[[str], None] | None = None,
) -> list[TrackedJob]:
    """Wait for the named jobs and return them; each change of state is printed, and why a job waits.

    A job whose program has failed, and whose container is kept, is RUNNING and not waited for any longer.

    How the last of them ended is for the caller to say: see retrieval.endings.report.

    ``send`` sends waiting points. ``draw`` replaces the line that it drew last: how far a sweep is, on a terminal.
    """
    tracker = session.tracker
    names = [name for text in given for name in stable_names(tracker, text)]
    told = [""]
    advised: set[tuple[str, str]] = set()

    def jobs() -> list[TrackedJob]:
        return [job for name in names for job in find_jobs(tracker, name)]

    def asked() -> list[Known]:
        return clusters_of([job for job in jobs() if not job.final], tracker)

    clusters = asked_again(session, asked)
    drawn = draw if any(tracker.sweeps.named(name) for name in names) else None
    for silent in rounds(session, Pace(first_s=FIRST_S, factor=1.2, most_s=MOST_S), clusters, lambda: told[-1], send):
        now = jobs()
        is_over = all(job.final or job.state == "LOST" or is_kept(job) for job in now)
        is_over = is_over and not any(is_waiting(tracker, name) for name in names)
        said = in_words(tracker, names, now, with_reasons=not is_over)
        key, line = (", ".join([*words, *silent.values()]) for words in said)
        if drawn:
            drawn("" if is_over else line)
        if is_over if drawn else key != told[-1]:
            session.say(line)
        told.append(key)
        for job in now:
            advise(session, job, advised, with_reason=job.key not in line)
        if is_over:
            return now
    raise AssertionError("rounds have no end")


def advise(session: Session, job: TrackedJob, advised: set[tuple[str, str]], *, with_reason: bool) -> None:
    """Say once what to do about a job that cannot start by itself, and the others of its plan for the same reason."""
    fix, mark = to_start(job), (job.plan_id, str(job.status.get("reason")))
    if fix and mark not in advised:
        advised.add(mark)
        session.say(f"{job.key}: {reason_of(job)}: {fix}" if with_reason else f"{job.key}: {fix}")


def is_waiting(tracker: Tracker, name: str) -> bool:
    """Whether points of a sweep are still to be sent by a later command."""
    return any(sweep.told and tracker.sweeps.waiting(sweep_id=sweep.sweep_id) for sweep in tracker.sweeps.named(name))


def in_words(
    tracker: Tracker, names: Sequence[str], jobs: Sequence[TrackedJob], *, with_reasons: bool
) -> tuple[list[str], list[str]]:
    """The states, twice: without what changes from moment to moment, and as they are shown.

    A sweep has its bar; each job its state, and why it waits or failed; many jobs the number in each state.
    """
    sweeps = [find_sweep(tracker, name).sweep_id for name in names if tracker.sweeps.named(name)]
    if sweeps:
        found = [(sweep_id, tracker.sweeps.points(sweep_id)) for sweep_id in dict.fromkeys(sweeps)]
        in_them = {point.job.key for _, points in found for point in points if point.job}
        plain, shown = in_words(tracker, (), [job for job in jobs if job.key not in in_them], with_reasons=with_reasons)
        counted = [f"{sweep_id}: {counts(points)}" for sweep_id, points in found]
        bars = [f"{sweep_id}: {progress(points)}: {counts(points)}" for sweep_id, points in found]
        return [*counted, *plain], [*bars, *shown]
    if len(jobs) <= FEW:
        plain = [f"{job.key} {job.state} {reason_of(job) if with_reasons else ''}" for job in jobs]
        return plain, [shown_state(job) if with_reasons else f"{job.key} {job.state}" for job in jobs]
    states = Counter(job.state for job in jobs)
    many = [f"{count} {state}" for state, count in sorted(states.items())]
    return many, many


def shown_state(job: TrackedJob) -> str:
    """A job with its state, and why it waits, and until when, or why it failed."""
    return f"{job.key} {job.state}" + (f" ({reason})" if (reason := why(job)) else "")


def exit_code(job: TrackedJob) -> int:
    """A job's own exit code; 128 + n after signal n; 1 where Slurm ended it without one."""
    if job.state == "COMPLETED":
        return 0
    code, signal = job.status.get("exit_code"), job.status.get("signal")
    return int(code) or FAILED if code else 128 + int(signal) if signal else FAILED

"""tfslurm status and wait."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from tfslurm import slurm
from tfslurm.cli.console import clear as clear_screen
from tfslurm.cli.console import common, emit, say, table, tracer
from tfslurm.errors import InputError, RecordError
from tfslurm.monitoring.backoff import Pace
from tfslurm.monitoring.lookup import find_jobs, find_sweep
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.run_folder import ending
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import LOCAL, Known, open_tracker
from tfslurm.workspace.connections import clusters_of, known_from

RECENT = 20
COLOURS = {
    "COMPLETED": "green",
    "RUNNING": "cyan",
    "PENDING": "yellow",
    "FAILED": "red",
    "TIMEOUT": "red",
    "LOST": "red",
}
FAILED = 1
FEW = 10  # jobs that are told one by one


def look(tracker: Tracker, clusters: Sequence[Known], verbose: int) -> dict[str, str]:
    """Ask each cluster once, all at once: cluster -> one line, for those that are not up to date."""
    return refresh_all(clusters, tracker, tracer(verbose))


def wanted(tracker: Tracker, names: Sequence[str], everything: bool) -> list[TrackedJob]:
    """The named jobs; without names the unfinished ones and the last few that ended."""
    if names:
        return [job for name in names for job in sent_of(tracker, name)]
    return tracker.jobs(recent=None if everything else RECENT)


def sent_of(tracker: Tracker, name: str) -> list[TrackedJob]:
    """The jobs that a name stands for; of a sweep those that were sent by now, be it none."""
    if tracker.sweeps.named(name):
        points = tracker.sweeps.points(find_sweep(tracker, name).sweep_id)
        return [point.job for point in points if point.job]
    return find_jobs(tracker, name)


@click.command(short_help="Show the states of your jobs on all clusters.")
@click.argument("jobs", nargs=-1, metavar="[JOB|SWEEP]...")
@click.option(
    "--all", "everything", is_flag=True, help="Show every job of the tracker, not only the unfinished and the last 20."
)
@click.option(
    "--watch", is_flag=True, help="Look again until every job shown has ended, with pauses that grow to a minute."
)
@click.option(
    "--efficiency",
    "wants_use",
    is_flag=True,
    help="Show what finished jobs used of the memory, CPUs and GPUs that they asked for.",
)
@common
def status(jobs: tuple[str, ...], everything: bool, watch: bool, wants_use: bool, as_json: bool, verbose: int) -> int:
    """Show the states of your jobs on all clusters, with one question to each scheduler.

    For a SWEEP, status shows how many points are in which state on each cluster, and why points failed. --all lists
    every point. status also sends the points of a sweep that wait for room in your queue.
    """
    tracker = open_tracker()
    pace = Pace(first_s=2.0, factor=1.3, most_s=60.0)
    silent: dict[str, str] = {}
    while True:
        before = wanted(tracker, jobs, everything) if jobs or watch else []
        refused: dict[str, str] = {}
        clusters = clusters_to_ask(tracker, before if jobs else None, refused)
        due = pace.due(clusters)
        silent = {**without(silent, due), **refused, **look(tracker, due, verbose)}
        waits = send_waves(tracker, verbose)
        shown = wanted(tracker, jobs, everything)
        pace.asked(due, changed=states(shown) != states(before))
        is_last = not watch or (all(job.final for job in shown) and not waits)
        is_shown = is_last or not as_json  # --json is one document
        if is_shown and wants_use:
            show_use(shown, tracker, as_json, verbose)
        elif is_shown:
            show(shown, jobs, tracker, everything, as_json, clear=watch and sys.stdout.isatty())
        for line in silent.values():
            say(f"error: {line}; shown is what was last seen there")
        if is_last:
            return FAILED if silent else 0
        pace.wait(clusters)


def without(silent: Mapping[str, str], asked: Iterable[Known]) -> dict[str, str]:
    """The lines of the clusters that were not asked again."""
    names = {known.cluster.name for known in asked}
    return {name: line for name, line in silent.items() if name not in names}


def states(jobs: Iterable[TrackedJob]) -> list[tuple[str, str, object]]:
    """What has to change for a watcher to look sooner again."""
    return [(job.key, job.state, job.status.get("reason")) for job in jobs]


def show_use(jobs: Sequence[TrackedJob], tracker: Tracker, as_json: bool, verbose: int) -> None:
    """Print what finished jobs used, as a table or as JSON."""
    from tfslurm.cli import efficiency as use

    found = use.efficiencies(jobs, tracker, verbose)
    if as_json:
        emit([{**as_value(job), "efficiency": use.as_value(found.get(job.key))} for job in jobs])
    else:
        use.show_efficiency(jobs, found)


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


def send_waves(tracker: Tracker, verbose: int) -> bool:
    """Send what of sweeps waits for room, as far as there is some; whether something waits on."""
    if not tracker.sweeps.is_any_waiting():
        return False
    from tfslurm.cli.waves import send_waiting

    return send_waiting(tracker, verbose)


def show(
    jobs: Sequence[TrackedJob], names: Sequence[str], tracker: Tracker, everything: bool, as_json: bool, *, clear: bool
) -> None:
    """Print the jobs, or the sweeps that are named, as tables or as JSON."""
    from tfslurm.cli import sweeps

    named = [find_sweep(tracker, name) for name in names if tracker.sweeps.named(name)]
    if named:
        plans = {each.plan.plan_id for sweep in named for each in tracker.sweeps.plans(sweep.sweep_id)}
        jobs = [job for job in jobs if job.plan_id not in plans]
    if as_json:
        emit([*(sweeps.as_value(sweep, tracker) for sweep in named), *(as_value(job) for job in jobs)])
        return
    if clear:
        clear_screen()
    for sweep in named:
        sweeps.show_one(sweep, tracker, why, each=everything)
    if jobs or not named:
        show_jobs(jobs if names else sweeps.folded(jobs, tracker))


def show_jobs(jobs: Sequence[TrackedJob | list[str]]) -> None:
    """Print a table with a row for each."""
    rows = [
        job
        if isinstance(job, list)
        else [job.key, job.name, job.state, elapsed(job), ",".join(job.status.get("nodes") or ()), why(job)]
        for job in jobs
    ]
    if rows:
        table(["JOB", "NAME", "STATE", "TIME", "NODES", "REASON"], rows, lambda cell: COLOURS.get(cell, ""))
    else:
        say("no jobs; `tfslurm submit exp.yaml` makes one")


def as_value(job: TrackedJob) -> dict[str, Any]:
    """One job for --json."""
    status = {key: value for key, value in job.status.items() if key not in ("job_id", "name", "state")}
    return {
        "job": job.key,
        "cluster": job.cluster,
        "job_id": job.job_id,
        "name": job.name,
        "state": job.state,
        **status,
    }


def elapsed(job: TrackedJob) -> str:
    """How long the job has run, as H:MM:SS; empty when it has not, or nobody said."""
    seconds = job.status.get("elapsed_s")
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}" if seconds else ""


def why(job: TrackedJob) -> str:
    """Why a job waits, or how it failed, in plain words."""
    code = job.status.get("exit_code")
    if job.state == "PENDING":
        start = job.status.get("started_at")
        reason = slurm.explain_reason(str(job.status.get("reason") or ""))
        return f"{reason}; expected to start {start}" if start else reason
    own = str(job.status.get("reason") or "")
    if job.state == "LOST":
        return own or "the scheduler does not know it and it left no end file"
    cause = str(job.status.get("cause") or ending.cause_of(own))
    if cause in (ending.UNFINISHED, ending.NO_SCHEDULER):
        return own
    if job.state == "PREEMPTED":
        return "pushed out by another job, and not queued again there; outputs are kept"
    return how_it_failed(int(code), cause, own) if code else own if " " in own else ""


def how_it_failed(code: int, cause: str, reason: str) -> str:
    """The exit code, and whose it is: the program's own, or that of what stands around it."""
    if code in (75, 78) and cause == ending.PROGRAM:
        return f"exit {code}, the program's own"
    if code == 78:
        return "exit 78: a link of the chain did not hold; `tfslurm logs` says which"
    if code == 75:
        return "exit 75: what runs the program failed, not the program; `tfslurm logs` says what"
    return f"exit {code}: {reason}" if " " in reason else f"exit {code}"


@click.command(short_help="Wait until jobs have ended; exit with the job's own exit code.")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@common
def wait(jobs: tuple[str, ...], as_json: bool, verbose: int) -> int:
    """Wait until jobs have ended; exit with the job's own exit code. For several jobs: the first that is not 0."""
    tracker = open_tracker()
    code = wait_for(jobs, tracker, verbose)
    if as_json:
        emit([as_value(job) for name in jobs for job in find_jobs(tracker, name)])
    return code


def wait_for(names: Sequence[str], tracker: Tracker, verbose: int) -> int:
    """Wait until the named jobs have ended; their exit code as `wait` gives it."""
    pace, last = Pace(first_s=0.5, factor=1.2, most_s=30.0), ""
    silent: dict[str, str] = {}
    while True:
        left = [job for name in names for job in find_jobs(tracker, name) if not job.final]
        clusters = clusters_of(left, tracker)
        due = pace.due(clusters)
        silent = {**without(silent, due), **look(tracker, due, verbose)}
        send_waves(tracker, verbose)
        now = [job for name in names for job in find_jobs(tracker, name)]
        line = ", ".join([*states_in_words(now), *silent.values()])
        pace.asked(due, changed=line != last)
        if line != last:
            say(line)
            last = line
        if all(job.final or job.state == "LOST" for job in now) and not any(
            is_waiting(tracker, name) for name in names
        ):
            return next((code for job in now if (code := exit_code(job))), 0)
        pace.wait(clusters)


def is_waiting(tracker: Tracker, name: str) -> bool:
    """Whether something of a sweep is still to be sent by a later command."""
    return any(sweep.told and tracker.sweeps.waiting(sweep_id=sweep.sweep_id) for sweep in tracker.sweeps.named(name))


def states_in_words(jobs: Sequence[TrackedJob]) -> list[str]:
    """Each job with its state; of many how many are in which."""
    if len(jobs) <= FEW:
        return [f"{job.key} {job.state}" for job in jobs]
    counts = Counter(job.state for job in jobs)
    return [f"{count} {state}" for state, count in sorted(counts.items())]


def exit_code(job: TrackedJob) -> int:
    """A job's own exit code; 128 + n after signal n; 1 where Slurm ended it without one."""
    if job.state == "COMPLETED":
        return 0
    code, signal = job.status.get("exit_code"), job.status.get("signal")
    return int(code) or FAILED if code else 128 + int(signal) if signal else FAILED

"""tfslurm status, watch and wait."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from tfslurm.cli.console import clear as clear_screen
from tfslurm.cli.console import common, emit, say, table
from tfslurm.monitoring.backoff import Pace
from tfslurm.monitoring.lookup import find_jobs, find_sweep
from tfslurm.monitoring.reasons import reason_of, why
from tfslurm.monitoring.wait import FAILED, FEW, clusters_to_ask, exit_code, rounds, sent_of, wait_for
from tfslurm.submission.waiting import send_waves
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session

RECENT = 20
COLOURS = {
    "COMPLETED": "green",
    "RUNNING": "cyan",
    "PENDING": "yellow",
    "FAILED": "red",
    "TIMEOUT": "red",
    "LOST": "red",
}


def wanted(tracker: Tracker, names: Sequence[str], everything: bool) -> list[TrackedJob]:
    """The named jobs; without names the unfinished ones and the last few that ended."""
    if names:
        return [job for name in names for job in sent_of(tracker, name)]
    return tracker.jobs(recent=None if everything else RECENT)


@click.command()
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
def status(
    session: Session, jobs: tuple[str, ...], everything: bool, watch: bool, wants_use: bool, as_json: bool
) -> int:
    """Show the states of your jobs on all clusters, with one question to each scheduler.

    For a SWEEP, status shows how many points are in which state on each cluster, and why points failed. --all lists
    every point. status also sends the points of a sweep that wait for room in your queue.
    """
    return show_states(session, jobs, everything=everything, watch=watch, wants_use=wants_use, as_json=as_json)


def show_states(
    session: Session, jobs: Sequence[str], *, everything: bool, watch: bool, wants_use: bool, as_json: bool
) -> int:
    """Print the jobs' states once, or until all have ended; 1 where a cluster does not answer."""
    tracker = session.tracker
    refused: dict[str, str] = {}
    waits = False

    def clusters() -> list[Known]:
        refused.clear()
        return clusters_to_ask(tracker, wanted(tracker, jobs, everything) if jobs else None, refused)

    def send(session: Session) -> bool:
        nonlocal waits
        waits = send_waves(session)
        return waits

    pace = Pace(first_s=2.0, factor=1.3, most_s=60.0)
    for silent in rounds(session, pace, clusters, lambda: states(wanted(tracker, jobs, everything)), send):
        shown = wanted(tracker, jobs, everything)
        is_last = not watch or (all(job.final for job in shown) and not waits)
        is_shown = is_last or not as_json  # --json is one document
        if is_shown and wants_use:
            show_use(session, shown, as_json)
        elif is_shown:
            show(shown, jobs, tracker, everything, as_json, clear=watch and sys.stdout.isatty())
        lines = [*{**silent, **refused}.values()]
        for line in lines:
            say(f"error: {line}; shown is what was last seen there")
        if is_last:
            return FAILED if lines else 0
    raise AssertionError("rounds have no end")


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB|SWEEP]...")
@common
def watch(session: Session, jobs: tuple[str, ...], as_json: bool) -> int:
    """Show the states of your jobs until all have ended, as `status --watch` does.

    watch also sends the points of a sweep that wait for room in your queue. Ctrl-C ends the command, not the jobs.
    """
    return show_states(session, jobs, everything=False, watch=True, wants_use=False, as_json=as_json)


def states(jobs: Iterable[TrackedJob]) -> list[tuple[str, str, object]]:
    """The state and reason of each job: while they stay as they are, a watcher asks less and less often."""
    return [(job.key, job.state, job.status.get("reason")) for job in jobs]


def show_use(session: Session, jobs: Sequence[TrackedJob], as_json: bool) -> None:
    """Print what finished jobs used, as a table or as JSON."""
    from tfslurm.cli import efficiency as use
    from tfslurm.retrieval.efficiency import efficiencies

    found = efficiencies(session, jobs)
    if as_json:
        emit([{**as_value(job), "efficiency": use.as_value(found.get(job.key))} for job in jobs])
    else:
        use.show_efficiency(jobs, found)


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
    """The time that the job has run, as H:MM:SS; empty if it has not, or if that is not known."""
    seconds = job.status.get("elapsed_s")
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}" if seconds else ""


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@common
def wait(session: Session, jobs: tuple[str, ...], as_json: bool) -> int:
    """Wait until jobs have ended; exit with the job's own exit code. For several jobs: the first that is not 0."""
    code = wait_and_report(session, jobs)
    if as_json:
        emit([as_value(job) for name in jobs for job in find_jobs(session.tracker, name)])
    return code


def wait_and_report(session: Session, names: Sequence[str]) -> int:
    """Wait until the named jobs have ended; their exit code as `wait` gives it.

    Raises:
        Abort: Ctrl-C; the jobs go on, which is printed.
    """
    try:
        now = wait_for(session, names, send_waves)
    except KeyboardInterrupt:
        say("", f"stopped waiting; the jobs go on: `tfslurm cancel {' '.join(names)}` ends them")
        raise click.Abort from None
    failed = next((job for job in now if exit_code(job)), None)
    if not failed:
        return 0
    if failed.state != "CANCELLED" and (len(now) > FEW or "`tfslurm logs" not in reason_of(failed)):
        say(f"`tfslurm logs {failed.key}` shows what it printed")
    return exit_code(failed)

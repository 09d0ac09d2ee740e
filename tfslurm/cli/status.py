"""tfslurm status and watch."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import click

from tfslurm.cli.console import clear as clear_screen
from tfslurm.cli.console import emit, say, table
from tfslurm.cli.ctrl_c import goes_on
from tfslurm.cli.filters import filtering
from tfslurm.cli.options import common
from tfslurm.monitoring.backoff import Pace
from tfslurm.monitoring.choose import Filters, chosen
from tfslurm.monitoring.lookup import find_sweep, stable_names
from tfslurm.monitoring.reasons import IN_TABLE, why
from tfslurm.monitoring.sweep_states import has_failed
from tfslurm.monitoring.wait import FAILED, advise, asked_again, clusters_to_ask, rounds
from tfslurm.retrieval.endings import Ending, read_endings, report
from tfslurm.submission.waiting import send_waves
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clock import local_time
from tfslurm.workspace.config import LOCAL
from tfslurm.workspace.session import Session

DROPS = ("NODES", "SUBMITTED", "NAME", "TIME")
"Columns that a narrow terminal does without."
FIRST_S, MOST_S = 2.0, 60.0
COLOURS = {
    "COMPLETED": "green",
    "RUNNING": "cyan",
    "PENDING": "yellow",
    "FAILED": "red",
    "TIMEOUT": "red",
    "LOST": "red",
}


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
@filtering
@common
def status(
    session: Session,
    jobs: tuple[str, ...],
    everything: bool,
    watch: bool,
    wants_use: bool,
    filters: Filters,
    as_json: bool,
) -> int:
    """Show the states of your jobs on all clusters, with one question to each scheduler.

    For a SWEEP, status shows how many points are in which state on each cluster, and why points failed. --all lists
    every point. status also sends the points of a sweep that wait for room in your queue.

    Without a JOB and a filter, status shows what has not ended, and the last 20 submissions. A sweep is one of them.
    """
    return show_states(session, jobs, View(filters, everything, wants_use, as_json), watch=watch)


class View(NamedTuple):
    """What `status` shows of the jobs that it is asked for, and how."""

    filters: Filters = Filters()
    everything: bool = False
    wants_use: bool = False
    as_json: bool = False

    def of(self, tracker: Tracker, names: Sequence[str]) -> list[TrackedJob]:
        """The jobs."""
        return chosen(tracker, names, self.filters, everything=self.everything)


def show_states(session: Session, given: Sequence[str], view: View, *, watch: bool) -> int:
    """Print the jobs' states once, or until all have ended; 1 where a cluster does not answer."""
    tracker = session.tracker
    jobs = [name for text in given for name in stable_names(tracker, text)]
    refused: dict[str, str] = {}
    waits = False
    going = {job.key for job in view.of(tracker, jobs) if not job.final}
    advised: set[tuple[str, str]] = set()
    clusters = asked_again(session, lambda: clusters_to_ask(tracker, named_in(tracker, jobs), refused), refused)

    def send(session: Session) -> bool:
        nonlocal waits
        waits = send_waves(session)
        return waits

    pace = Pace(first_s=FIRST_S, factor=1.3, most_s=MOST_S)
    for silent in rounds(session, pace, clusters, lambda: states(view.of(tracker, jobs)), send):
        shown = view.of(tracker, jobs)
        is_last = not watch or (all(job.final for job in shown) and not waits)
        is_shown = is_last or not view.as_json  # --json is one document
        is_plain = not (view.as_json or view.wants_use or any(view.filters))
        told = told_by_sweeps(session, jobs) if is_last and is_plain else {}
        if is_shown and view.wants_use:
            show_use(session, shown, view.as_json)
        elif is_shown:
            show(shown, jobs, tracker, view, told, clear=watch and sys.stdout.isatty())
        lines = [*{**silent, **refused}.values()]
        for line in lines:
            say(f"error: {line}; shown is what was last seen there")
        for job in shown if watch else ():
            advise(session, job, advised, with_reason=False)
        if is_last and watch:
            report(session, [job for job in shown if job.key in going and job.key not in told])
        if is_last:
            return FAILED if lines else 0
    raise AssertionError("rounds have no end")


def named_in(tracker: Tracker, names: Sequence[str]) -> list[TrackedJob] | None:
    """The jobs that names stand for; None: there is no name, and any may be meant."""
    return chosen(tracker, names, Filters()) if names else None


def told_by_sweeps(session: Session, names: Sequence[str]) -> dict[str, Ending]:
    """What the failed jobs of the named sweeps left, by job."""
    sweeps = session.tracker.sweeps
    found = [find_sweep(session.tracker, name).sweep_id for name in names if sweeps.named(name)]
    points = [point for sweep_id in found for point in sweeps.points(sweep_id)]
    return read_endings(session, [point.job for point in points if point.job and has_failed(point)])


@click.command()
@click.argument("jobs", nargs=-1, metavar="[JOB|SWEEP]...")
@common
def watch(session: Session, jobs: tuple[str, ...], as_json: bool) -> int:
    """Show the states of your jobs until all have ended, as `status --watch` does.

    watch also sends the points of a sweep that wait for room in your queue. Ctrl-C ends the command, not the jobs. At
    the end, watch says why jobs failed.
    """
    names = [name for text in jobs for name in stable_names(session.tracker, text)]
    with goes_on(session.tracker, names or running(session.tracker), "watch"):
        return show_states(session, jobs, View(as_json=as_json), watch=True)


def running(tracker: Tracker) -> list[str]:
    """The names of the jobs that have not ended; a sweep's instead of its jobs'."""
    jobs = [job for job in tracker.jobs(unfinished=True) if job.cluster != LOCAL]
    owners = tracker.sweeps.owners({job.plan_id for job in jobs if "_" in job.job_id})
    return list(dict.fromkeys(owners.get(job.plan_id) or job.key for job in jobs))


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
    jobs: Sequence[TrackedJob],
    names: Sequence[str],
    tracker: Tracker,
    view: View,
    told: Mapping[str, Ending],
    *,
    clear: bool,
) -> None:
    """Print the jobs, or the sweeps that are named, as tables or as JSON; ``told``: what failed jobs left, by job.

    With filters a job is a row always.
    """
    from tfslurm.cli import sweeps

    named = [find_sweep(tracker, name) for name in names if tracker.sweeps.named(name) and not any(view.filters)]
    if named:
        plans = {each.plan.plan_id for sweep in named for each in tracker.sweeps.plans(sweep.sweep_id)}
        jobs = [job for job in jobs if job.plan_id not in plans]
    if view.as_json:
        emit([*(sweeps.as_value(sweep, tracker) for sweep in named), *(as_value(job) for job in jobs)])
        return
    if clear:
        clear_screen()
    for sweep in named:
        sweeps.show_one(sweep, tracker, told, each=view.everything)
    if jobs or not named:
        rows = jobs if names or view.filters.sweep else sweeps.folded(jobs, tracker)
        show_jobs(rows, is_filtered=any(view.filters))


def show_jobs(jobs: Sequence[TrackedJob | list[str]], *, is_filtered: bool) -> None:
    """Print a table with a row for each."""
    rows = [
        job
        if isinstance(job, list)
        else [
            *(job.key, job.name, local_time(job.submitted_at), job.state, elapsed(job)),
            *(",".join(job.status.get("nodes") or ()), why(job, IN_TABLE)),
        ]
        for job in jobs
    ]
    if rows:
        headers = ["JOB", "NAME", "SUBMITTED", "STATE", "TIME", "NODES", "REASON"]
        table(headers, rows, lambda cell: COLOURS.get(cell, ""), DROPS)
    else:
        say("no jobs fit" if is_filtered else "no jobs; `tfslurm submit exp.yaml` makes one")


def as_value(job: TrackedJob) -> dict[str, Any]:
    """One job for --json."""
    status = {key: value for key, value in job.status.items() if key not in ("job_id", "name", "state")}
    is_waiting = job.state == "PENDING"
    expected = {"expected_start_at": status.get("started_at"), "started_at": None} if is_waiting else {}
    limit = {"limit_ends_at": None if is_waiting else status.get("ended_at"), "ended_at": None}
    return {
        "job": job.key,
        "cluster": job.cluster,
        "job_id": job.job_id,
        "name": job.name,
        "state": job.state,
        **({} if status.get("submitted_at") else {"submitted_at": job.submitted_at}),
        **status,
        **(expected | limit if status and not job.final else {}),
    }


def elapsed(job: TrackedJob) -> str:
    """The time that the job has run, as H:MM:SS; empty if it has not, or if that is not known."""
    seconds = job.status.get("elapsed_s")
    return f"{seconds // 3600}:{seconds % 3600 // 60:02d}:{seconds % 60:02d}" if seconds else ""

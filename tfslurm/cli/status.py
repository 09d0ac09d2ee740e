"""tfslurm status, wait and cancel."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import click

from tfslurm import slurm
from tfslurm.cli.console import common, emit, say, table, tracer
from tfslurm.errors import HostError, TfslurmError
from tfslurm.host import Host
from tfslurm.submit.follow import find_job, refresh_all
from tfslurm.submit.pace import Pace
from tfslurm.submit.places import LOCAL, Known, open_tracker
from tfslurm.submit.reach import clusters_for, known_named
from tfslurm.tracker import TrackedJob, Tracker

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
MOST_IDS = 1000
UNFINISHED = "not requeued"  # how node.sh begins to say why a job that has not finished does not go on


def look(tracker: Tracker, clusters: Sequence[Known], verbose: int) -> dict[str, str]:
    """Ask each cluster once, all at once: cluster -> one line, for those that are not up to date."""
    return refresh_all(clusters, tracker, tracer(verbose))


def wanted(tracker: Tracker, names: Sequence[str], everything: bool) -> list[TrackedJob]:
    """The named jobs; without names the unfinished ones and the last few that ended."""
    if names:
        return [find_job(tracker, name) for name in names]
    return tracker.jobs(recent=None if everything else RECENT)


@click.command(short_help="Show the states of your jobs on all clusters.")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option(
    "--all", "everything", is_flag=True, help="Every job of the tracker, not only the unfinished and the last 20."
)
@click.option(
    "--watch", is_flag=True, help="Look again until every job shown has ended (slower and slower, up to a minute)."
)
@click.option(
    "--efficiency",
    "wants_use",
    is_flag=True,
    help="What finished jobs used of the memory, CPUs and GPUs they asked for.",
)
@common
def status(jobs: tuple[str, ...], everything: bool, watch: bool, wants_use: bool, as_json: bool, verbose: int) -> int:
    """Show the states of your jobs on all clusters: one scheduler query per cluster."""
    tracker = open_tracker()
    pace = Pace(first_s=2.0, factor=1.3, most_s=60.0)
    silent: dict[str, str] = {}
    while True:
        before = wanted(tracker, jobs, everything) if jobs or watch else []
        clusters = clusters_to_ask(tracker, before if jobs else None)
        due = pace.due(clusters)
        silent = {**without(silent, due), **look(tracker, due, verbose)}
        shown = wanted(tracker, jobs, everything)
        pace.asked(due, changed=states(shown) != states(before))
        if wants_use:
            show_use(shown, tracker, as_json, verbose)
        else:
            show(shown, as_json, clear=watch and sys.stdout.isatty())
        for line in silent.values():
            say(f"error: {line}; shown is what was last seen there")
        if not watch or all(job.final for job in shown):
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


def clusters_to_ask(tracker: Tracker, jobs: Sequence[TrackedJob] | None) -> list[Known]:
    """The clusters with an unfinished job, among these or at all, and those with a plan that never got its id."""
    if jobs is None:
        asked = {name: known_named(name, plan_id, tracker) for name, plan_id in tracker.unfinished().items()}
    else:
        asked = {known.cluster.name: known for known in clusters_for([job for job in jobs if not job.final], tracker)}
    for left in tracker.plans(stage="planned"):
        name = left.plan.cluster
        if name not in asked and name != LOCAL:
            asked[name] = known_named(name, left.plan.plan_id, tracker)
    return list(asked.values())


def show(jobs: Sequence[TrackedJob], as_json: bool, *, clear: bool) -> None:
    """Print the jobs, as a table or as JSON."""
    if as_json:
        emit([as_value(job) for job in jobs])
        return
    if clear:
        click.clear()
    rows = [
        [job.key, job.name, job.state, elapsed(job), ",".join(job.status.get("nodes") or ()), why(job)] for job in jobs
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
    if job.state == "LOST":
        return "the scheduler does not know it and it left no end file"
    own = str(job.status.get("reason") or "")
    if own.startswith(UNFINISHED):
        return own
    if job.state == "PREEMPTED":
        return "pushed out by another job, and not queued again there; outputs are kept"
    return how_it_failed(int(code), str(job.status.get("reason") or "")) if code else ""


def how_it_failed(code: int, reason: str) -> str:
    """The exit code, and whose it is: the program's own, or that of what stands around it."""
    if code in (75, 78) and not reason:
        return f"exit {code}, the program's own"
    if code == 78:
        return "exit 78: a link of the chain did not hold; `tfslurm logs` says which"
    if code == 75:
        return "exit 75: what runs the program failed, not the program; `tfslurm logs` says what"
    return f"exit {code}: {reason}" if " " in reason else f"exit {code}"


@click.command(short_help="Wait for jobs to end; exit with the job's own exit code.")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@common
def wait(jobs: tuple[str, ...], as_json: bool, verbose: int) -> int:
    """Wait for jobs to end; exit with the job's own exit code (of several: the first that is not 0)."""
    tracker = open_tracker()
    code = wait_for(jobs, tracker, verbose)
    if as_json:
        emit([as_value(find_job(tracker, name)) for name in jobs])
    return code


def wait_for(names: Sequence[str], tracker: Tracker, verbose: int) -> int:
    """Wait until the named jobs have ended; their exit code as `wait` gives it."""
    pace, last = Pace(first_s=0.5, factor=1.2, most_s=30.0), ""
    silent: dict[str, str] = {}
    while True:
        left = [job for job in (find_job(tracker, name) for name in names) if not job.final]
        clusters = clusters_for(left, tracker)
        due = pace.due(clusters)
        silent = {**without(silent, due), **look(tracker, due, verbose)}
        now = [find_job(tracker, name) for name in names]
        line = ", ".join([*(f"{job.key} {job.state}" for job in now), *silent.values()])
        pace.asked(due, changed=line != last)
        if line != last:
            say(line)
            last = line
        if all(job.final or job.state == "LOST" for job in now):
            return next((code for job in now if (code := exit_code(job))), 0)
        pace.wait(clusters)


def exit_code(job: TrackedJob) -> int:
    """A job's own exit code; 128 + n after signal n; 1 where Slurm ended it without one."""
    if job.state == "COMPLETED":
        return 0
    code, signal = job.status.get("exit_code"), job.status.get("signal")
    return int(code) or FAILED if code else 128 + int(signal) if signal else FAILED


@click.command(short_help="Cancel jobs.")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@common
def cancel(jobs: tuple[str, ...], as_json: bool, verbose: int) -> int:
    """Cancel jobs: their programs get TERM, then KILL after the site's KillWait; outputs are kept.

    A cluster that does not answer is told, the jobs of the others are cancelled, and the exit code is 1.
    """
    tracker = open_tracker()
    found = [find_job(tracker, name) for name in jobs]
    here = [job for job in found if job.cluster == LOCAL]
    if here:
        raise TfslurmError(f"{here[0].key}: runs in the terminal that started it; press Ctrl-C there")
    silent = refresh_all(clusters_for(found, tracker), tracker, tracer(verbose), found, partial(cancel_there, found))
    for line in silent.values():
        say(f"error: {line}")
    after = [find_job(tracker, job.key) for job in found if job.cluster not in silent]
    if as_json:
        emit([as_value(job) for job in after])
    else:
        for job in after:
            click.echo(f"{job.key} {job.state}")
    return 1 if silent else 0


def cancel_there(jobs: Sequence[TrackedJob], known: Known, host: Host) -> None:
    """Cancel those of the jobs that are on one cluster; in pieces, as a command's words are limited."""
    ids = [job.job_id for job in jobs if job.cluster == known.cluster.name]
    for start in range(0, len(ids), MOST_IDS):
        answer = host.run(slurm.cancel_argv(ids[start : start + MOST_IDS]))
        if answer.exit_code != 0:
            raise HostError(f"{known.cluster.name}: scancel: {answer.stderr.strip()}", transient=True)

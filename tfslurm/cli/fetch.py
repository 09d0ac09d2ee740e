"""tfslurm fetch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tfslurm.cli.console import emit, progress_bar, say, show
from tfslurm.cli.options import common
from tfslurm.document.sizes import size_text
from tfslurm.document.tree import printable
from tfslurm.monitoring.lookup import one_name
from tfslurm.retrieval.fetch import Fetch, Progress
from tfslurm.retrieval.fetch_jobs import fetch_jobs, folders_for
from tfslurm.retrieval.selection import BAD, Outcome, Selection
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.session import Session

INCOMPLETE = 1


@click.command("fetch")
@click.argument("job", metavar="JOB|SWEEP")
@click.argument("dest", required=False, type=click.Path(path_type=Path))
@click.option(
    "--include", multiple=True, metavar="GLOB", help="Fetch only files that match; `*` also matches `/`. Repeatable."
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Do not fetch files that match; a folder stands for all files in it. Repeatable.",
)
@click.option("--overwrite", is_flag=True, help="Replace local files that have the same name but different content.")
@click.option("--dry-run", is_flag=True, help="Write nothing; show what fetch would do.")
@common
def fetch_command(
    session: Session,
    job: str,
    dest: Path | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Bring a job's outputs to this machine, into DEST (default: ./CLUSTER-ID).

    For a SWEEP, fetch brings the outputs of every point that has begun. Each point gets a folder of DEST (default:
    ./SWEEP) that is named by its parameters. fetch does not transfer again what is already here. If it is interrupted,
    the same command continues. Each file must have the sha256 that the job recorded. fetch deletes nothing, here or
    there. The exit code is 1 if something that you asked for is not here at the end.
    """
    tracker = session.tracker
    job = one_name(tracker, job)
    found = fetch_jobs(
        session, folders_for(tracker, job, dest), Selection(include, exclude, overwrite, dry_run), progress
    )
    for now, folder, done in found:
        report(now, folder, done, as_json)
    if as_json:
        values = [as_value(*each) for each in found]
        emit(values if tracker.sweeps.named(job) else values[0])
    return 0 if all(done.good for _, _, done in found) else INCOMPLETE


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar on stderr where that is a terminal, else nothing but what goes wrong."""
    with progress_bar() as step:
        yield Progress(step, say)


def report(job: TrackedJob, folder: Path, done: Fetch, as_json: bool) -> None:
    """A line for each file that is not as wanted, and one for all."""
    if not job.final:
        say(f"{job.key}: {job.state}: this is what is there now; it is not final")
    for why in done.unread:
        say(f"error: {job.key}: {plain(why)}; its content was not fetched")
    for outcome in done.outcomes:
        if outcome.status in BAD:
            say(f"error: {job.key}: {plain(outcome.path)}: {plain(outcome.why)}")
        elif outcome.status == "skipped" and outcome.why != "excluded":
            say(f"{job.key}: {plain(outcome.path)}: {plain(outcome.why)}")
    if as_json:
        return
    for outcome in sorted(done.outcomes, key=lambda outcome: outcome.path):
        if outcome.status == "wanted":
            show(f"{outcome.bytes:>12}  {printable(plain(outcome.path))}")
    nothing = "left nothing in its outputs" if job.final else "has nothing in its outputs yet"
    show(f"{job.key}: {summary(folder, done) if done.outcomes or done.unread else nothing}")


def summary(folder: Path, done: Fetch) -> str:
    """``12 files, 34.5 MiB in ./alpha-1234, sha256 verified (2 were here already)``; links are not counted."""
    statuses = [each.status for each in done.outcomes]
    here = [each for each in done.outcomes if each.status in ("fetched", "present") and each.sha256]
    where = folder if folder.is_absolute() else f"./{folder}"
    missing = ", ".join(f"{statuses.count(status)} {status}" for status in BAD if status in statuses)
    if done.selection.dry_run:
        wanted = [each for each in done.outcomes if each.status == "wanted" and each.sha256]
        text = f"{amount(wanted)} would be fetched into {where}"
    else:
        text = f"{amount(here)} in {where}, sha256 verified"
    present = sum(each.status == "present" for each in here)
    already = f" ({present} {'was' if present == 1 else 'were'} here already)" if present else ""
    return text + already + (f"; not as wanted: {missing}" if missing else "")


def amount(outcomes: list[Outcome]) -> str:
    """``12 files, 34.5 MiB``."""
    files = f"{len(outcomes)} file{'' if len(outcomes) == 1 else 's'}"
    return f"{files}, {size_text(sum(each.bytes for each in outcomes))}"


def as_value(job: TrackedJob, folder: Path, done: Fetch) -> dict[str, Any]:
    """The transfer for --json; paths as in the record."""
    files = [
        {
            "path": plain(each.path),
            "bytes": each.bytes,
            "sha256": each.sha256 or None,
            "recorded": each.recorded,
            "status": each.status,
            "why": plain(each.why) or None,
        }
        for each in sorted(done.outcomes, key=lambda outcome: outcome.path)
    ]
    statuses = [each.status for each in done.outcomes]
    return {
        "job": job.key,
        "state": job.state,
        "final": job.final,
        "dest": plain(str(folder)),
        "files": files,
        "counts": {status: statuses.count(status) for status in dict.fromkeys(sorted(statuses))},
        "unread": [plain(why) for why in done.unread],
    }


def plain(text: str) -> str:
    """Text that can be encoded: what was not UTF-8 as `\\xff`, as in the record."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

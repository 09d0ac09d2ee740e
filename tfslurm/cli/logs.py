"""tfslurm logs, and following a program that runs here."""

from __future__ import annotations

from contextlib import nullcontext

import click

from tfslurm.cli.console import emit, pour, say
from tfslurm.cli.ctrl_c import goes_on
from tfslurm.cli.options import common
from tfslurm.monitoring.lookup import find_job
from tfslurm.monitoring.reasons import is_kept, reason_of, to_start, why
from tfslurm.monitoring.refresh import refresh
from tfslurm.retrieval.endings import is_the_program_s, report, why_it_failed
from tfslurm.retrieval.logs import Reader
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.session import Session


@click.command()
@click.argument("job", metavar="JOB")
@click.option("-f", "--follow", is_flag=True, help="Continue to print until the job ends.")
@click.option("--attempt", type=click.IntRange(1), help="Which attempt of a requeued job; default: the last.")
@click.option("--rank", type=click.IntRange(0), default=0, help="Which task of a job with several tasks; default: 0.")
@click.option("--batch", is_flag=True, help="Print what the batch script printed, instead of the program.")
@common
def logs(session: Session, job: str, follow: bool, attempt: int | None, rank: int, batch: bool, as_json: bool) -> None:
    """Print what the program wrote: its stdout on stdout, its stderr on stderr.

    If the program never started, logs prints what the batch script printed. If not the program but something else ended
    the job, such as its time limit, the last line on stderr says so. With --follow, logs says on stderr too why the job
    waits, and at the end why it failed.
    """
    found = find_job(session.tracker, job)
    known = known_for(found, session.tracker)
    reader = Reader(found, session.tracker, session.reach(known), attempt, rank, batch)
    if as_json:
        emit(reader.everything())
        return
    with goes_on(session.tracker, [found.key], "logs -f") if follow else nullcontext():
        for stream, text in reader.follow(known, Waiting()) if follow else reader.all():
            pour_stream(stream, text)
    if not (follow or found.final or reader.has_printed):
        refresh(known, session.tracker, session.reach(known), [found])
    tell_the_end(session, find_job(session.tracker, found.key), reader, is_followed=follow)


class Waiting:
    """Says why a job waits, once for each reason."""

    def __init__(self) -> None:
        self.told = ""

    def __call__(self, job: TrackedJob) -> None:
        """Say it of this job, if it waits."""
        reason = reason_of(job) if job.state == "PENDING" else ""
        if reason and reason != self.told:
            self.told = reason
            fix = to_start(job)
            say(f"{job.key} {job.state}: {why(job)}", *([f"{job.key}: {fix}"] if fix else []))


def tell_the_end(session: Session, job: TrackedJob, reader: Reader, *, is_followed: bool) -> None:
    """Say what the logs do not: that there are none, what ended the job, and which work is lost."""
    if not reader.has_printed:
        wrote = "wrote nothing" if job.final else "has written nothing yet"
        reason = why(job) if job.state == "PENDING" else ""
        say(f"{job.key}: {wrote} ({job.state}{': ' if reason else ''}{reason})")
    if is_followed and (job.final or is_kept(job)):
        if reader.has_printed and job.final and job.state != "COMPLETED":
            say(f"{job.key} {job.state}")
        report(session, [job], tails=False)
    elif job.final and job.state != "COMPLETED" and not (reader.has_printed and tells_itself(job)):
        say(f"{job.key}: {why_it_failed(job, None)}")


def tells_itself(job: TrackedJob) -> bool:
    """Whether the logs of a job say why it failed: its program's, or those of what refused it."""
    return is_the_program_s(job) or job.status.get("exit_code") in (75, 78)


def pour_stream(stream: str, text: str) -> None:
    """Print what a program wrote on the stream that it wrote it to."""
    pour(text, err=stream == "stderr")

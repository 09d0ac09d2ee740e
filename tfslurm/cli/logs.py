"""tfslurm logs, and following a program that runs here."""

from __future__ import annotations

import click

from tfslurm.cli.console import common, emit, pour, say
from tfslurm.monitoring.lookup import find_job
from tfslurm.retrieval.logs import Reader
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

    If the program never started, logs prints what the batch script printed.
    """
    found = find_job(session.tracker, job)
    known = known_for(found, session.tracker)
    reader = Reader(found, session.tracker, session.reach(known), attempt, rank, batch)
    if as_json:
        emit(reader.everything())
        return
    for stream, text in reader.follow(known) if follow else reader.all():
        pour_stream(stream, text)
    if not reader.has_printed:
        say(f"{found.key}: {'wrote nothing' if found.final else 'has written nothing yet'} ({found.state})")


def pour_stream(stream: str, text: str) -> None:
    """Print what a program wrote on the stream that it wrote it to."""
    pour(text, err=stream == "stderr")

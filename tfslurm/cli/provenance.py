"""tfslurm provenance."""

from __future__ import annotations

from pathlib import Path

import click

from tfslurm.cli.console import common, deliver, json_text
from tfslurm.export.text import record_text
from tfslurm.monitoring.lookup import find_job, find_sweep, one_name
from tfslurm.record import record_json
from tfslurm.retrieval.records import latest_record
from tfslurm.retrieval.sweep_record import sweep_record, sweep_text
from tfslurm.workspace.session import Session


@click.command()
@click.argument("job", metavar="JOB|SWEEP")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Default: text.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file instead of stdout.")
@common
def provenance(session: Session, job: str, form: str, output: Path | None, as_json: bool) -> None:
    """Print a job's record: what ran, on which node, driver and GPUs, and the verdict on each link.

    For a SWEEP, it prints what you asked for and which Slurm jobs it became. As JSON, it also has every point with its
    job and the id of its record.
    """
    tracker = session.tracker
    job = one_name(tracker, job)
    if tracker.sweeps.named(job):
        whole = sweep_record(find_sweep(tracker, job), tracker)
        deliver(json_text(whole) if as_json or form == "json" else sweep_text(whole), output)
        return
    record = latest_record(session, find_job(tracker, job))
    text = json_text(record_json(record)) if as_json or form == "json" else record_text(record)
    deliver(text, output)

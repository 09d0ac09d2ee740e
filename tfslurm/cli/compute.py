"""tfslurm compute."""

from __future__ import annotations

from pathlib import Path

import click

from tfslurm.cli.console import deliver, json_text
from tfslurm.cli.options import common
from tfslurm.errors import RecordError
from tfslurm.export.compute import VENUES, compute_json, compute_text
from tfslurm.retrieval.runs import runs_of
from tfslurm.workspace.session import Session


@click.command()
@click.argument("names", metavar="JOB|SWEEP...", nargs=-1, required=True)
@click.option("--for", "venue", type=click.Choice(VENUES), default="text", help="Whose form; default: text.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file instead of stdout.")
@common
def compute(session: Session, names: tuple[str, ...], venue: str, output: Path | None, as_json: bool) -> None:
    """Print what your runs took, as a venue asks for it: hardware, hours of each run and in all.

    Named runs that COMPLETED are the reported ones. The others count as failed. Every other job of an experiment with
    the same name that this machine's tracker knows counts as a preliminary or repeated run.
    """
    runs = runs_of(session, names)
    if not runs:
        raise RecordError(f"compute: none of {', '.join(names)} has begun; there is nothing to add up")
    is_json = as_json or venue == "json"
    deliver(json_text(compute_json(runs)) if is_json else compute_text(runs, venue), output)

"""tfslurm verify."""

from __future__ import annotations

import click

from tfslurm.cli.console import common, emit, show
from tfslurm.retrieval.verification import record_named, verified_parts
from tfslurm.workspace.session import Session

COLOURS = {"unchanged": "green", "changed": "red", "missing": "red"}


@click.command()
@click.argument("name", metavar="JOB|RECORD")
@common
def verify(session: Session, name: str, as_json: bool) -> int:
    """Check whether a record is unchanged, and whether the files that it names still are what it says.

    RECORD is a file that `tfslurm provenance --json` wrote. Of a JOB, it is the record that this machine kept. Each
    part is unchanged, changed, missing or not verifiable. The exit code is 1 if one is changed or missing.
    """
    record, values = record_named(session, name)
    parts = verified_parts(session, record, values)
    if as_json:
        emit({"record_id": record.record_id, "parts": [part._asdict() for part in parts]})
    else:
        for part in parts:
            show((f"{part.status:<15}", COLOURS.get(part.status, "")), f"{part.name}: {part.reason}")
    return 1 if any(part.is_bad for part in parts) else 0

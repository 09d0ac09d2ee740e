"""tfslurm verify."""

from __future__ import annotations

from pathlib import Path

import click

from tfslurm.cli.console import common, emit, show
from tfslurm.retrieval.verify import verified
from tfslurm.workspace.session import Session

COLOURS = {"unchanged": "green", "changed": "red", "missing": "red"}


@click.command()
@click.argument("name", metavar="JOB|RECORD|CRATE")
@click.option(
    "--signers",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file of allowed signers, as `ssh-keygen -Y verify` takes it: one of them must have signed the record.",
)
@common
def verify(session: Session, name: str, signers: Path | None, as_json: bool) -> int:
    """Check whether a record is unchanged, and whether the files that it names still are what it says.

    RECORD is a file that `tfslurm provenance --json` wrote. Of a JOB, it is the record that this machine kept. CRATE is
    the folder or the .zip of an RO-Crate, also of one that another tool made. Each part is unchanged, changed, missing
    or not verifiable. The exit code is 1 if one is changed or missing. With --signers, a record that none of them
    signed is missing its signature.
    """
    found = verified(session, name, signers)
    if as_json:
        values = [{"record_id": each.record_id, "parts": [part._asdict() for part in each.parts]} for each in found]
        emit(values[0] if len(values) == 1 else values)
    for each in found if not as_json else ():
        if len(found) > 1:
            show(f"{each.name}:")
        for part in each.parts:
            show((f"{part.status:<15}", COLOURS.get(part.status, "")), f"{part.name}: {part.reason}")
    return 1 if any(part.is_bad for each in found for part in each.parts) else 0

"""tfslurm verify."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click

from tfslurm.cli.console import emit, show
from tfslurm.cli.options import common
from tfslurm.document.tree import printable
from tfslurm.record.verification import Part, Status
from tfslurm.retrieval.verify import Verified, verified
from tfslurm.workspace.session import Session

COLOURS = {"unchanged": "green", "changed": "red", "missing": "red"}


@click.command()
@click.argument("names", metavar="JOB|SWEEP|RECORD|CRATE...", nargs=-1, required=True)
@click.option(
    "--signers",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file of allowed signers, as `ssh-keygen -Y verify` takes it: one of them must have signed the record.",
)
@click.option("--partial", is_flag=True, help="Believe a crate's own list of the files that are not in it.")
@common
def verify(session: Session, names: tuple[str, ...], signers: Path | None, partial: bool, as_json: bool) -> int:
    """Check whether a record is unchanged, and whether the files that it names still are what it says.

    RECORD is a file that `tfslurm provenance --json` wrote. Of a JOB, it is the record that this machine kept. CRATE is
    the folder or the .zip of an RO-Crate, also of one that another tool made. Each part is unchanged, changed, missing
    or not verifiable. The exit code is 1 if one is changed or missing. With --signers, a record that none of them
    signed is missing its signature. A file that a record names and its crate does not hold is missing, whatever the
    crate says of it, unless you add --partial.

    Of several records, verify prints the parts that are changed or missing, then how many parts of each name are what.
    --json has every part.
    """
    found = verified(session, names, signers, partial=partial)
    if as_json:
        values = [{"record_id": each.record_id, "parts": [part._asdict() for part in each.parts]} for each in found]
        emit(values[0] if len(values) == 1 else values)
    elif len(found) == 1:
        show_parts(found[0].parts)
    else:
        show_several(found)
    return 1 if any(part.is_bad for each in found for part in each.parts) else 0


def show_parts(parts: Sequence[Part]) -> None:
    """A line for each."""
    for part in parts:
        show((f"{part.status:<15}", COLOURS.get(part.status, "")), printable(f"{part.name}: {part.reason}"))


def show_several(found: Sequence[Verified]) -> None:
    """What does not hold, by record; then the sums."""
    for each in found:
        if bad := [part for part in each.parts if part.is_bad]:
            show(printable(f"{each.name}:"))
            show_parts(bad)
    counts = Counter((kind_of(part), part.status) for each in found for part in each.parts)
    names = dict.fromkeys(kind_of(part) for each in found for part in each.parts)
    show(f"{len(found)} records:")
    for name in names:
        told = [f"{counts[name, status]} {status}" for status in get_args(Status) if counts[name, status]]
        show(printable(f"{name}: {', '.join(told)}"))


def kind_of(part: Part) -> str:
    """What a part is one of: ``outputs`` of ``output a`` too."""
    word = part.name.partition(" ")[0]
    return f"{word}s" if word in ("output", "log", "input", "file") else word

"""Records in files on this machine, which may be a stranger's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import refuse
from tfslurm.local_files import read_text
from tfslurm.record import Record, record_from_json

LARGEST = 64 * 2**20


def is_file(name: str) -> bool:
    """Whether a word of the command line names a file, and no job: it has a `/`, or ends in `.json` or `.zip`."""
    return "/" in name or name.endswith((".json", ".zip"))


def read_record(path: Path) -> tuple[Record, dict[str, Any]]:
    """The record that a file holds, as `tfslurm provenance --json` writes it, and its JSON values.

    Whether it was changed is not looked at.

    Raises:
        InputError: it cannot be read, or is no record.
    """
    try:
        values = read_json(read_text(path, LARGEST))
        values = values if isinstance(values, dict) else {}
        return record_from_json(values), values
    except ValueError as error:
        fix = "`tfslurm provenance JOB --json` writes one"
        raise refuse(str(path), f"is no record: {error}", fix) from error

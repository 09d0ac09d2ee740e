"""JSON values -> Record: the other way of ``record_json``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfslurm.document.typed import UNKNOWN, build
from tfslurm.record.model import Record
from tfslurm.record.schema import FIRST, SCHEMA

NEWER = "; if a newer tfslurm wrote it, update this one"


def record_from_json(values: Mapping[str, Any]) -> Record:
    """The record that ``record_json`` wrote, in this version or one before.

    Raises:
        ValueError: another schema, a key is missing that always was there, one is too many, or of another kind than a
            record has.
    """
    if values.get("schema") not in (FIRST, SCHEMA):
        raise ValueError(f"its schema {str(values.get('schema'))[:40]!r} is not one that this version reads{NEWER}")
    try:
        return build(Record, values)
    except ValueError as error:
        raise ValueError(f"{error}{NEWER if UNKNOWN in str(error) else ''}") from error

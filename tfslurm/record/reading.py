"""JSON values -> Record: the other way of ``record_json``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from tfslurm.record.model import Record


def record_from_json(values: Mapping[str, Any]) -> Record:
    """The record that ``record_json`` wrote.

    Raises:
        ValueError: a key is missing that always was there, one is too many, or of another kind than a record has.
    """
    try:
        record = build(Record, values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record: {type(error).__name__}: {error}") from error
    assert isinstance(record, Record)  # noqa: S101 - build makes what it is told to
    return record


def build(kind: Any, value: Any) -> Any:
    """A value of a type that the record's fields have."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        unknown = set(value) - set(hints)
        if unknown:
            raise KeyError(", ".join(sorted(unknown)))
        late = {field.name for field in fields(kind) if field.default is not MISSING}  # keys that older records lack
        names = [field.name for field in fields(kind) if field.name in value or field.name not in late]
        return kind(**{name: build(hints[name], value[name]) for name in names})  # type: ignore[operator]
    arguments = get_args(kind)
    if NoneType in arguments:
        return None if value is None else build(next(each for each in arguments if each is not NoneType), value)
    if get_origin(kind) is tuple:
        return tuple(build(arguments[0], each) for each in value)
    return value

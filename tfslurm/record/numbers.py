"""Numbers that no record can hold, such as a size of forty digits in a file that somebody changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from tfslurm.document.scalars import refused_number


def without_unfit(value: Any, unknown: dict[str, str], path: str = "") -> Any:
    """The same record with None in place of each number that JSON does not carry; ``unknown`` then says why."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in fields(value)]
        inner = {name: without_unfit(getattr(value, name), unknown, f"{path}.{name}".lstrip(".")) for name in names}
        return replace(value, **inner)
    if isinstance(value, Mapping):
        return {key: without_unfit(item, unknown, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, tuple | list):
        return tuple(without_unfit(item, unknown, f"{path}[{index}]") for index, item in enumerate(value))
    if refused := refused_number(value, str(value)[:40]):
        unknown[path] = refused[0]
        return None
    return value

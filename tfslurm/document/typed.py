"""JSON values -> a frozen dataclass, each value of exactly the type that its field names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


def build(kind: type[T], values: object) -> T:
    """The dataclass that an object of JSON describes; lists become tuples, and no type is turned into another.

    Raises:
        ValueError: a key that is no field, a field that is missing, or a value of another type; it says which.
    """
    return cast(T, _value(kind, values, ""))


def _value(kind: Any, value: object, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _fields(kind, value, where)
    if origin in (Union, UnionType):
        only = next(each for each in inner if each is not NoneType)
        return None if value is None and NoneType in inner else _value(only, value, where)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(inner[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {_value(inner[0], key, where): _value(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if type(value) is kind:
        return value
    raise ValueError(f"{where or 'it'} is {str(value)[:40]!r}, not of type {getattr(kind, '__name__', kind)}")


def _fields(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'it'} is no object")
    kinds, required = _kinds(kind)
    for key in value:
        if key not in kinds:
            raise ValueError(f"{where}.{str(key)[:40]} is not a field of it".lstrip("."))
    for key in required:
        if key not in value:
            raise ValueError(f"{where}.{key} is missing".lstrip("."))
    return kind(**{key: _value(kinds[key], item, f"{where}.{key}".lstrip(".")) for key, item in value.items()})


@lru_cache
def _kinds(kind: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The type of each field, and the fields that have no default."""
    hints = get_type_hints(kind)
    found = fields(kind)
    required = (each.name for each in found if each.default is MISSING and each.default_factory is MISSING)
    return {each.name: hints[each.name] for each in found}, tuple(required)

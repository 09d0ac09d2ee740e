"""``--set resources.time=01:00:00``: values from the command line in place of those in the file."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tfslurm.document import Document, Path, Refused, closest, key_text, meant, nearest, scan
from tfslurm.errors import Problem

_JSON = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def override(document: Document, overrides: Mapping[str, str], schema: dict[str, Any]) -> Document:
    """The document with the values of the command line; a key that cannot be set becomes a problem of the document.

    A value is read as YAML where its key takes what that gives (``2``, ``true``, ``[a, b]``), else as text.
    """
    value = copy.deepcopy(document.value)
    problems: list[Problem] = []
    given: list[Path] = []
    for key, text in overrides.items():
        path: Path = tuple(key.split("."))
        place = _schema_at(schema, path)
        if place is None:
            problems.append(_unknown(key, schema))
        elif (holder := _holder(value, path[:-1])) is None:
            why = f"`{key_text(path[:-1])}` is not a mapping of keys in {document.file}"
            problems.append(Problem(f"--set {key}", 0, "", why, f"set `{key_text(path[:-1])}` as a whole"))
        else:
            try:
                holder[str(path[-1])] = _value(text, place, schema)
                given.append(path)
            except Refused as refused:
                problems.append(Problem(f"--set {key}", 0, "", refused.why, refused.fix))
    return _replaced(document, value, given, problems)


def _replaced(document: Document, value: object, given: list[Path], problems: list[Problem]) -> Document:
    """The document without what its text said about the keys that were given."""

    def stays(path: Path) -> bool:
        return not any(path[: len(new)] == new for new in given)

    gone = {key_text(path) for path in given}
    return document._replace(
        value=value,
        lines={path: line for path, line in document.lines.items() if stays(path)},
        written={path: text for path, text in document.written.items() if stays(path)},
        problems=(*(problem for problem in document.problems if problem.key not in gone), *problems),
        suspect=frozenset(path for path in document.suspect if stays(path)),
        overridden=tuple(given),
    )


def keys(schema: dict[str, Any]) -> Iterator[str]:
    """Every key that can be set, dotted; ``env.NAME`` stands for free names."""
    for name, place in schema["properties"].items():
        inner = _resolved(place, schema)
        yield name
        yield from (f"{name}.{key}" for key in inner.get("properties", {}))
        if isinstance(inner.get("additionalProperties"), dict):
            yield f"{name}.NAME"


def nearest_setting(name: str, parameters: Iterable[str], schema: dict[str, Any]) -> str:
    """``did you mean `resources.gpus`? `` for a name that neither a key nor a parameter has: `gpu`, `resource.gpus`."""
    every = [*parameters, *(key for key in keys(schema) if not key.endswith(".NAME"))]
    last = name.rpartition(".")[2]
    ends = {key.rpartition(".")[2]: key for key in reversed(every)}
    found = closest(name, every) or [ends[end] for end in closest(last, ends) if end[:1] == last[:1].lower()]
    return meant(found)


def _unknown(key: str, schema: dict[str, Any]) -> Problem:
    known = [name for name in keys(schema) if not name.startswith("sweep.")]
    return Problem(f"--set {key}", 0, "", "is not a known key", f"{nearest(key, known)}keys: {', '.join(known)}")


def _holder(value: Any, path: Path) -> dict[str, Any] | None:
    for part in path:
        value = value.setdefault(part, {})
        if not isinstance(value, dict):
            return None
    return value if isinstance(value, dict) else None


def _value(text: str, place: dict[str, Any], schema: dict[str, Any]) -> object:
    types = set(_types(place, schema))
    read = scan(f"value: {text}\n", "")
    value = read.value.get("value")
    if read.problems and "string" not in types:
        raise Refused(read.problems[0].why, read.problems[0].fix)
    if not read.problems and value is not None and not isinstance(value, str) and _JSON[type(value)] in types:
        return value
    return text if "string" in types or read.problems or value is None else value


def _types(place: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    place = _resolved(place, schema)
    if "enum" in place or "const" in place:
        yield "string"
    kinds = place.get("type", [])
    yield from [kinds] if isinstance(kinds, str) else kinds
    for choice in place.get("anyOf", []):
        yield from _types(choice, schema)


def _schema_at(schema: dict[str, Any], path: Path) -> dict[str, Any] | None:
    place = schema
    for part in path:
        inner = _resolved(place, schema)
        free = inner.get("additionalProperties")
        found = inner.get("properties", {}).get(part, free if isinstance(free, dict) and part else None)
        if not isinstance(found, dict):
            return None
        place = found
    return place


def _resolved(place: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The place with its reference followed; of several choices the mapping, which is what has keys."""
    if "$ref" in place:
        target: dict[str, Any] = schema["$defs"][place["$ref"].rpartition("/")[2]]
        return target
    choices = [_resolved(choice, schema) for choice in place.get("anyOf", [])]
    keyed = next((choice for choice in choices if choice.get("type") == "object"), {})
    return {**keyed, **place} if keyed else place

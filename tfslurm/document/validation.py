"""Document x model -> checked values: what a model does not accept, told in the words of the file's writer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import NoneType
from typing import TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tfslurm.document.tree import Document, NotText, Path, Refused, closest, key_text, kind, meant, nearest
from tfslurm.document.writing import dump
from tfslurm.errors import InputError, Problem

Model = TypeVar("Model", bound=BaseModel)

_MOST = 1000  # problems of one kind that are looked at
_WANTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of `key: value`",
    "model_type": "a mapping of `key: value`",
    "model_attributes_type": "a mapping of `key: value`",
}
_PLAIN_MENDS = {
    "list_type": "write a list such as [a, b]",
    "dict_type": "write `key: value` pairs",
    "string_type": "write a text",
    "int_type": "write a whole number such as 1",
    "bool_type": "write true or false",
}
_BOUNDS = {"greater_than_equal": ("ge", "least"), "less_than_equal": ("le", "most")}


def validate(document: Document, model: type[Model], *checks: Callable[[Document], Iterable[Problem]]) -> Model:
    """The document's value as an instance of the model.

    ``checks`` see the plain values and look at several keys at once; they must bear values of any type.

    Raises:
        InputError: the problems of the text, of the model and of the checks, all at once.
    """
    problems = list(document.problems)
    empty = {path for path in paths_of_nothing(document.value) if not document.is_suspect(path)}
    problems += [_nothing(document, model, path) for path in sorted(empty, key=document.line)[:_MOST]]
    hold = {path[:end] for path in document.suspect for end in range(1, len(path))}  # what is refused inside is enough
    checked = None
    try:
        checked = model.model_validate(document.value)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)[:_MOST]
        misspelt = set(_meant(model, mistakes))
        for found in mistakes:
            problems += _told(document, model, found, empty | hold | misspelt)
    refused = {(problem.line, problem.key) for problem in problems}  # what the model says of a key is enough
    for check in checks:
        more = (problem for problem in check(document) if (problem.line, problem.key) not in refused)
        problems += islice(more, _MOST)
    if problems or checked is None:
        raise InputError(problems)
    return checked


def paths_of_nothing(value: object, path: Path = ()) -> Iterator[Path]:
    """Where a key was written without a value."""
    if value is None:
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from paths_of_nothing(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from paths_of_nothing(item, (*path, index))


def _nothing(document: Document, model: type[BaseModel], path: Path) -> Problem:
    holder = _model_at(model, path[:-1])
    if holder and isinstance(path[-1], str) and path[-1] not in _keys(holder):
        return _unknown(document, holder, path)
    info, example = _field_at(model, path), _example(model, path)
    fixes = [f"write {example}"] if example else []
    fixes += [] if info and info.is_required() else ["remove the key" if isinstance(path[-1], str) else "remove it"]
    return document.problem(path, "has no value", ", or ".join(fixes))


def _told(document: Document, model: type[BaseModel], found: ErrorDetails, told: set[Path]) -> Iterator[Problem]:
    path: Path = tuple(part for part in found["loc"] if part != "[key]")
    if document.is_suspect(path) or path in told:
        return
    kind_of_error, context = str(found["type"]), found.get("ctx", {})
    if kind_of_error == "missing":
        yield _missing(document, model, path)
    elif kind_of_error == "extra_forbidden":
        yield _unknown(document, _model_at(model, path[:-1]) or model, path)
    elif isinstance(context.get("error"), Refused):
        for refused in context["error"].all:
            here = (*path, *refused.at)
            if not document.is_suspect(here) and here not in told:
                why, fix = _not_text(document, here) if isinstance(refused, NotText) else (refused.why, refused.fix)
                yield document.problem(here, why, fix)
    else:
        yield document.problem(path, *_not_accepted(document, model, path, kind_of_error, context))


def _meant(model: type[BaseModel], mistakes: Iterable[ErrorDetails]) -> Iterator[Path]:
    """The keys that are missing because they are misspelt: what is said of the misspelt ones is enough."""
    missing = {tuple(found["loc"]) for found in mistakes if found["type"] == "missing"}
    for found in mistakes:
        *place, name = found["loc"]
        holder = _model_at(model, tuple(place)) if found["type"] == "extra_forbidden" else None
        if holder and (near := closest(str(name), _keys(holder))):
            yield from {(*place, near[0])} & missing


def _missing(document: Document, model: type[BaseModel], path: Path) -> Problem:
    example = _example(model, path)
    return document.problem(path, "is missing", f"add {example}" if example else "add it")


def _unknown(document: Document, holder: type[BaseModel], path: Path) -> Problem:
    """The problem of a key that its mapping does not have; all that it may hold only where nothing else helps.

    A model may say with a method ``elsewhere`` where such a key belongs.
    """
    accepted, name = _keys(holder), str(path[-1])
    way_out: Callable[[str, str], str] = getattr(holder, "elsewhere", lambda *_: "")
    value = document.at(path)
    found = way_out(name, _flow(value) if isinstance(value, str | int | float) else "…")
    near, where = meant(closest(name, accepted)).strip(), f"`{key_text(path[:-1])}`" if path[:-1] else "the file"
    fix = (near or found) if path[:-1] else (found or near)
    return document.problem(path, "is not a known key", fix or f"{where} may hold: {', '.join(accepted)}")


def _not_accepted(
    document: Document, model: type[BaseModel], path: Path, error: str, bounds: Mapping[str, object]
) -> tuple[str, str]:
    shown, value, example = document.shown(path), document.at(path), _example(model, path)
    fix = f"write {example}" if example else _PLAIN_MENDS.get(error, "write another value")
    if error == "string_type":
        return _not_text(document, path)
    if error in _WANTED:
        return f"{shown} is {kind(value)}; {_WANTED[error]} is wanted", fix
    if error in _BOUNDS:
        bound, word = _BOUNDS[error]
        return f"{shown} is out of range: the {word} is {bounds[bound]}", fix
    if error == "literal_error":
        accepted = _literals(model, path)
        return f"{shown} is not accepted", f"{nearest(str(value), accepted)}write one of: {', '.join(accepted)}"
    if error == "too_long":
        return f"holds more than {bounds['max_length']} items", "write fewer"
    if error == "too_short":
        return f"{shown} holds too little", fix
    return f"{shown} is not accepted here", fix


def _not_text(document: Document, path: Path) -> tuple[str, str]:
    shown, value = document.shown(path), document.at(path)
    scalar = isinstance(value, int | float)
    return f"{shown} is {kind(value)}, not a text", f'write "{shown}" in quotes' if scalar else "write a text"


def _example(model: type[BaseModel], path: Path) -> str:
    info = _field_at(model, path)
    if info is None or not info.examples or not path:
        return ""
    example = info.examples[0]
    if isinstance(path[-1], int):
        return f"`{_flow(example[0])}`" if isinstance(example, list) else ""
    return f"`{path[-1]}: {_flow(example)}`"


def _flow(value: object) -> str:
    """A value as one would type it: flow style, quoted where a plain text would be read as something else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return dump(value).removesuffix("\n").removesuffix("\n...")


def _keys(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(info.alias or name for name, info in model.model_fields.items())


def _field_at(model: type[BaseModel], path: Path) -> FieldInfo | None:
    """The field of the key at a path; of a list's item the field of the list."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    holder = _model_at(model, path[:-1]) if path else None
    fields = holder.model_fields.items() if holder else ()
    return next((info for name, info in fields if (info.alias or name) == path[-1]), None)


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The model of the mapping at a path: list items and lists share one; None where keys are free."""
    current: type[BaseModel] | None = model
    is_free = False  # the next key
    for part in path:
        if is_free or isinstance(part, int):
            is_free = False
            continue
        info = _field_at(current, (part,)) if current else None
        current = _model_in(info.annotation) if info else None
        is_free = info is not None and get_origin(info.annotation) is dict
    return None if is_free else current


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not get_args(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := _model_in(part))), None)


def _literals(model: type[BaseModel], path: Path) -> Sequence[str]:
    info = _field_at(model, path)
    return list(_words_of(info.annotation)) if info else []


def _words_of(annotation: object) -> Iterator[str]:
    for item in get_args(annotation):
        if get_args(item):
            yield from _words_of(item)
        elif item is not NoneType:
            yield str(item)

"""Read YAML text strictly into plain values that remember their lines; find every problem at once. Pure.

The only user of yaml, which is loaded when a text is read or written, not when this is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from tfslurm.document.tree import Document, NotText, Path, Refused, closest, key_text, locate, meant, nearest, show
from tfslurm.errors import InputError, Problem

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = [
    "Document",
    "NotText",
    "Path",
    "Refused",
    "closest",
    "dump",
    "key_text",
    "locate",
    "meant",
    "nearest",
    "read",
    "scan",
    "show",
    "validate",
]

Model = TypeVar("Model", bound="BaseModel")


def read(text: str, file: str) -> Document:
    """The mapping that a YAML text holds, read strictly.

    Refused, all of them at once: duplicate and non-text keys, anchors, aliases, merge keys, tags, several documents,
    control characters, and plain scalars that YAML readers disagree about (``12:30:00``, ``yes``, ``010``, ``1_000``).

    Raises:
        InputError: every problem of the text; a syntax error ends the reading where it stands.
    """
    document = scan(text, file)
    if document.problems:
        raise InputError(document.problems)
    return document


def scan(text: str, file: str) -> Document:
    """The same without raising: the document carries its problems, so that ``validate`` can tell them with its own."""
    import yaml

    from tfslurm.document.reading import scan

    return scan(text, file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def validate(document: Document, model: type[Model], *checks: Callable[[Document], Iterable[Problem]]) -> Model:
    """The document's value as an instance of the model.

    ``checks`` look at several keys of the plain values at once; they must bear values of any type.

    Raises:
        InputError: the problems of the text, of the model and of the checks, all at once.
    """
    from tfslurm.document.validation import validate

    return validate(document, model, *checks)


def dump(value: object) -> str:
    """YAML text in block style, keys in the order given, that ``read`` reads back equal.

    Raises:
        TypeError: the value holds something other than dict, list, tuple, str, int, float, bool and None.
    """
    from tfslurm.document.writing import dump

    return dump(value)

"""JSON values -> a frozen dataclass, each value of exactly the type that its field names. Pure.

By pydantic, which is loaded when a value is read, not when this is imported. The way back (``plan.to_json``,
``record_json``) is a few lines of our own: every `submit` goes it, and the adapter of a plan takes 15 ms to make.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, TypeVar, cast

from tfslurm.document.tree import key_text

T = TypeVar("T")

UNKNOWN = "is not a field of it"
_TOLD = {
    "missing": "is missing",
    "unexpected_keyword_argument": UNKNOWN,
    "dataclass_type": "is no object",
}


def build(kind: type[T], values: object) -> T:
    """The dataclass that an object of JSON describes; lists become tuples, and no type is turned into another.

    Raises:
        ValueError: a key that is no field, a field that is missing, or a value of another type; it says which.
    """
    from pydantic import ValidationError

    try:
        made: T = _adapter(cast(Any, kind)).validate_json(json.dumps(values), strict=True, extra="forbid")
        return made
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        why = f"is {str(found['input'])[:40]!r}: {found['msg']}"
        raise ValueError(f"{key_text(found['loc']) or 'it'} {_TOLD.get(found['type'], why)}") from None


@lru_cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)

"""``--set lr=0.1,0.01``: the text of one setting -> the values that a parameter takes, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfslurm.document import Refused, show
from tfslurm.document.bounded_json import read_json
from tfslurm.document.scalars import refused_number
from tfslurm.sweeps.values import Scalar

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,299})(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,4})?")  # source: RFC 8259, 6
_COMMA = re.compile(r"(?<!\\),")


def values_given(text: str) -> tuple[Scalar, ...]:
    """One value, or those between commas, as texts; ``\\,`` is a comma and every other backslash is itself.

    A text in brackets is a JSON list, whose values keep their types: ``["a,b", 1, true]``.

    Raises:
        Refused: nothing between two commas; brackets that hold no JSON list of texts, numbers, true and false.
    """
    if text.startswith("[") and text.endswith("]"):
        return _listed(text)
    values = [value.replace("\\,", ",") for value in _COMMA.split(text)]
    if len(values) > 1 and "" in values:
        fix = 'remove a comma; write a comma of the value as \\, and an empty value in a JSON list: ["a", ""]'
        raise Refused(f"{show(text)} has nothing between two commas", fix)
    return tuple(values)


def _listed(text: str) -> tuple[Scalar, ...]:
    try:
        values = read_json(text)
    except ValueError:
        values = None
    if not values or not all(isinstance(value, int | float) or _carried(value) for value in values):
        fix = f'write texts in double quotes, such as ["a", "b"]; the text itself is {json.dumps([text])}'
        raise Refused(f"{show(text)} is not a JSON list of values", fix)
    for value in values:
        if refused := refused_number(value, str(value)):
            raise Refused(*refused)
    return tuple(values)


def _carried(value: object) -> bool:
    """Whether it is a text that an argument can carry: no NUL, no half of a character."""
    return isinstance(value, str) and not re.search("[\0\ud800-\udfff]", value)


def like(value: Scalar, default: Scalar | None) -> Scalar:
    """The value of one setting, as the kind of a parameter's default: `3` where that is a number, else the text."""
    if not isinstance(value, str) or not isinstance(default, bool | int | float):
        return value
    is_one = value in ("true", "false") if isinstance(default, bool) else _NUMBER.fullmatch(value)
    if not is_one:
        return value
    try:
        read: Scalar = read_json(value)
    except ValueError:  # more digits than any number has
        return value
    return value if refused_number(read, value) else read


def with_given(sweep: Mapping[str, Any], given: Mapping[str, Sequence[Scalar]]) -> dict[str, Any]:
    """The plain value of ``sweep`` with the command line's values for its axes, or as axes more: they join the grid.

    Raises:
        Refused: the sweep has blocks, or the axis advances together with others.
    """
    if not given:
        return dict(sweep)
    if sweep.get("blocks"):
        raise Refused("the sweep has blocks, and it is not said which of them is meant", "change the file")
    for group in sweep.get("zip") or ():
        if together := sorted(set(group) & set(given)):
            raise Refused(f"{together[0]} advances together with others in `sweep.zip`", "change the file")
    random = {name: value for name, value in (sweep.get("random") or {}).items() if name not in given}
    grid = {**(sweep.get("grid") or {}), **{name: list(values) for name, values in given.items()}}
    kept = {key: value for key, value in sweep.items() if key != "random"}
    return {**kept, "grid": grid, **({"random": random} if set(random) - {"samples", "seed"} else {})}

"""A document: plain values, the line of each key, and what was wrong with the text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple

from tfslurm.document.visible import visible
from tfslurm.errors import Problem

Path = tuple[str | int, ...]

_SHOWN = 72
_TOLD = 2_000
_COMPARED = 300
_KINDS = {str: "text", int: "a whole number", float: "a number", bool: "a yes-or-no value", list: "a list"}


class Document(NamedTuple):
    """One YAML text as plain values: dict, list, str, int, float, bool, None.

    lines       where each key and list item stands; the first line is 1
    written     plain (unquoted) scalars as they were typed
    problems    what is wrong with the text itself; ``read`` raises them, ``scan`` leaves them to ``validate``
    suspect     values that are part of a problem already, so that nothing more is said about them
    overridden  keys that ``--set`` replaced
    """

    file: str
    value: Any
    lines: Mapping[Path, int] = MappingProxyType({})
    written: Mapping[Path, str] = MappingProxyType({})
    problems: tuple[Problem, ...] = ()
    suspect: frozenset[Path] = frozenset()
    overridden: tuple[Path, ...] = ()

    def line(self, path: Path) -> int:
        """The line of a key, else of the nearest key that holds it; 0 where neither was written."""
        return locate(self.file, self.lines, (), path, "").line

    def problem(self, path: Path, why: str, fix: str = "") -> Problem:
        """A problem at a key: its line in the file, or the ``--set`` that replaced it."""
        return locate(self.file, self.lines, self.overridden, path, why, fix)

    def is_suspect(self, path: Path) -> bool:
        """Whether the value there, or one that holds it, was refused when the text was read."""
        return any(path[:end] in self.suspect for end in range(len(path) + 1))

    def at(self, path: Path) -> Any:
        """The value at a path; None where there is none."""
        value = self.value
        for part in path:
            inside = part < len(value) if isinstance(value, list) and isinstance(part, int) else False
            if not inside and not (isinstance(value, dict) and part in value):
                return None
            value = value[part]
        return value

    def shown(self, path: Path) -> str:
        """The value as a message shows it: as it was typed where that is known."""
        value = self.at(path)
        return show(value) if isinstance(value, str) else self.written.get(path, show(value))


class Refused(ValueError):
    """A value that a rule does not accept: why, the fix, where inside the value; ``all`` were found together."""

    def __init__(self, why: str, fix: str = "", at: Path = ()) -> None:
        super().__init__(why)
        self.why, self.fix, self.at = why, fix, at
        self.all: tuple[Refused, ...] = (self,)

    @classmethod
    def together(cls, refusals: Sequence[Refused]) -> Refused:
        """One refusal that carries them all."""
        first = refusals[0]
        first.all = tuple(refusals)
        return first


class NotText(Refused):
    """A value that should be a text; the document knows how it was typed, and so what to put in quotes."""

    def __init__(self, value: object, at: Path = ()) -> None:
        super().__init__(f"{show(value)} is {kind(value)}, not a text", "write a text", at)


def locate(
    file: str, lines: Mapping[Path, int], overridden: Sequence[Path], path: Path, why: str, fix: str = ""
) -> Problem:
    """A problem at the nearest key that was written: ``path`` itself, else a key that holds it."""
    for given in overridden:
        if path[: len(given)] == given:
            inner = key_text(path) if path != given else ""
            return Problem(f"--set {key_text(given)}", 0, inner, told(why), told(fix))
    held_by = next((path[:end] for end in range(len(path), 0, -1) if path[:end] in lines), ())
    return Problem(file, lines.get(held_by, 0), key_text(path), told(why), told(fix))


def key_text(path: Path) -> str:
    """A key path as a reader writes it: ``mounts[0].source``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return told(text)


def show(value: object) -> str:
    """A value on one short line, without characters that could disturb a terminal."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = printable(text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def printable(text: str) -> str:
    """The text on one line, with escapes in place of characters that could disturb a terminal or break the line."""
    return visible(text, keep="")


def told(text: str) -> str:
    """The same for a part of a message, which stays readable: the middle of a very long text is left out."""
    text = text if len(text) <= _TOLD else f"{text[: _TOLD // 2]} … {text[-_TOLD // 2 :]}"
    return printable(text)


def kind(value: object) -> str:
    """The kind of a value, in a reader's words."""
    return "nothing" if value is None else _KINDS.get(type(value), "a mapping")


def nearest(name: str, names: Iterable[str]) -> str:
    """``did you mean `x` or `y`? `` for the names that look like this one; empty where none does."""
    return meant(closest(name, names))


def closest(name: str, names: Iterable[str]) -> list[str]:
    """At most two of the names, which look like this one; the most alike comes first."""
    import difflib

    by_fold = {known.lower().replace("_", "-"): known for known in islice(names, _COMPARED)}
    close = difflib.get_close_matches(name.lower().replace("_", "-"), by_fold, n=2, cutoff=0.6)
    return [by_fold[found] for found in close]


def meant(names: Sequence[str]) -> str:
    """``did you mean `x` or `y`? ``; empty where there is no name."""
    return f"did you mean {' or '.join(f'`{each}`' for each in names)}? " if names else ""

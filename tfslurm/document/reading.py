"""YAML text -> Document. Reads the parser's events, which keep anchors, tags, styles, duplicate keys and lines.

Nothing is expanded: a text with aliases cannot grow, and one that nests deeply is refused before it is built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import yaml

from tfslurm.document.scalars import scalar, trap
from tfslurm.document.syntax import MAX_DEPTH, characters, syntax_problem
from tfslurm.document.tree import Document, Path, key_text, show, told
from tfslurm.errors import Problem

MAX_BYTES = 1 << 20
MAX_KEYS = 2_000  # of one mapping
MAX_VALUES = 50_000  # of a file, keys apart

_PLACEHOLDER = ("{{ … }} outside quotes is read as a mapping", "write the value in quotes")
_TEXT_KEY = ("a key must be a text, not a list or mapping", "write a plain name before the colon")

Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]


if TYPE_CHECKING:
    Loader = type[yaml.SafeLoader] | type[yaml.CSafeLoader]


def scan(text: str, file: str, loader: Loader) -> Document:
    """The document with its problems; a syntax error ends the reading where it stands."""
    text = text.removeprefix("\ufeff")
    problems = list(_whole_text(text, file))
    if problems:
        return Document(file, {}, problems=tuple(problems), suspect=frozenset({()}))
    tree = _Tree(file, yaml.parse(text, Loader=loader))
    try:
        tree.document()
    except yaml.MarkedYAMLError as error:
        tree.refuse((), *syntax_problem(error, text))
    except yaml.YAMLError as error:
        tree.refuse((), 0, f"cannot be read as YAML: {show(str(error))}")
    except _TooMuch as error:
        tree.refuse((), error.line, error.why)
    value = tree.value if isinstance(tree.value, dict) else {}
    return Document(file, value, tree.lines, tree.written, tuple(tree.problems), frozenset(tree.suspect))


def _whole_text(text: str, file: str) -> Iterator[Problem]:
    if len(text) > MAX_BYTES:
        yield Problem(file, 0, "", f"has {len(text)} characters; {MAX_BYTES} is the most", "is it the right file?")
        return
    yield from characters(text, file)


class _TooMuch(Exception):
    def __init__(self, line: int, why: str = f"is nested deeper than {MAX_DEPTH} levels") -> None:
        self.line, self.why = line, why


class _Tree:
    """Builds values out of parser events and notes what is wrong on the way."""

    def __init__(self, file: str, events: Iterator[yaml.Event]) -> None:
        self.file = file
        self.events = events
        self.value: Value = None
        self.lines: dict[Path, int] = {}
        self.written: dict[Path, str] = {}
        self.problems: list[Problem] = []
        self.suspect: set[Path] = set()
        self.values = 0

    def document(self) -> None:
        """Read the stream's only document."""
        next(self.events)
        if isinstance(next(self.events), yaml.StreamEndEvent):
            self.refuse((), 0, "is empty", "write at least the required keys")
            return
        first = next(self.events)
        self.value = self.node(first, ())
        next(self.events)
        after = next(self.events)
        if isinstance(first, yaml.ScalarEvent) and self.value is None:
            self.refuse((), 0, "is empty", "write at least the required keys")
        elif not isinstance(self.value, dict):
            what = "a list" if isinstance(self.value, list) else "a single value"
            self.refuse((), _line(first), f"is {what}, not keys with values", "write `key: value` lines")
        if not isinstance(after, yaml.StreamEndEvent):
            self.note((), _line(after), "a second document begins here", "keep one document; remove the line `---`")

    def note(self, path: Path, line: int, why: str, fix: str = "") -> None:
        """A problem that leaves the value usable."""
        self.problems.append(Problem(self.file, line, key_text(path), told(why), told(fix)))

    def refuse(self, path: Path, line: int, why: str, fix: str = "") -> None:
        """A problem after which nothing more needs to be said about the value."""
        self.note(path, line, why, fix)
        self.suspect.add(path)

    def node(self, event: yaml.Event, path: Path) -> Value:
        """The value that begins with this event."""
        self.values += 1
        if len(path) > MAX_DEPTH:
            raise _TooMuch(_line(event))
        if self.values > MAX_VALUES:
            raise _TooMuch(_line(event), f"has more than {MAX_VALUES} values; is it the right file?")
        if isinstance(event, yaml.AliasEvent):
            self.refuse(path, _line(event), f"the alias *{event.anchor} is not accepted", "write the value out here")
            return None
        self.marked(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(path)
        return self.leaf(event, path) if isinstance(event, yaml.ScalarEvent) else self.mapping(path)

    def marked(self, event: yaml.Event, path: Path) -> None:
        """Note an anchor and a tag."""
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor is not None:
            self.note(path, _line(event), f"the anchor &{anchor} is not accepted", "write each value where it is used")
        if tag is not None:
            short = str(tag).replace("tag:yaml.org,2002:", "!!")[:60]
            self.note(path, _line(event), f"the tag {short} is not accepted", "write the plain value")

    def sequence(self, path: Path) -> list[Value]:
        """The items up to the end of this list."""
        items: list[Value] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*path, len(items))
            self.lines[here] = _line(event)
            items.append(self.node(event, here))
        return items

    def mapping(self, path: Path) -> dict[str, Value]:
        """The keys and values up to the end of this mapping; of a key written twice the first one stays."""
        values: dict[str, Value] = {}
        count = 0
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            count += 1
            if count > MAX_KEYS:
                raise _TooMuch(_line(event), f"has a mapping of more than {MAX_KEYS} keys; is it the right file?")
            key = self.key(event, path)
            if key is None or key in values:
                self.skip(len(path))
                continue
            here = (*path, key)
            self.lines[here] = _line(event)
            values[key] = self.node(next(self.events), here)
        return values

    def key(self, event: yaml.Event, path: Path) -> str | None:
        """The text of a key; None after a problem that leaves no key to speak of."""
        if not isinstance(event, yaml.ScalarEvent):
            braces = isinstance(event, yaml.MappingStartEvent) and event.flow_style
            self.refuse(path, _line(event), *(_PLACEHOLDER if braces else _TEXT_KEY))
            self.skip(len(path), event)
            return None
        text, here = str(event.value), (*path, str(event.value))
        self.marked(event, here)
        plain = event.implicit[0]
        if plain and text == "<<":
            self.note(here, _line(event), "the merge key << is not accepted", "write the keys out here")
            return None
        if plain and (trap(text) or not isinstance(scalar(text), str)):
            self.note(here, _line(event), "a key must be a text", f'write "{text}" in quotes')
        if here in self.lines:
            self.note(here, _line(event), f"is written twice, first on line {self.lines[here]}", "remove one of them")
        return text

    def leaf(self, event: yaml.ScalarEvent, path: Path) -> str | int | float | bool | None:
        """The value of one scalar."""
        text = str(event.value)
        if bad := re.search("[\0\ud800-\udfff]", text):
            self.refuse(path, _line(event), f"holds the character {bad[0]!a}, which no value can carry", "remove it")
        if not event.implicit[0] or event.style not in (None, ""):
            return text
        self.written[path] = text
        if found := trap(text):
            self.refuse(path, _line(event), *found)
            return text
        return scalar(text)

    def skip(self, depth: int, event: yaml.Event | None = None) -> None:
        """Read past one value, which may have begun with ``event``; ``depth`` is that of the mapping that holds it."""
        level = 0
        while True:
            event = event or next(self.events)
            if depth + level > MAX_DEPTH:
                raise _TooMuch(_line(event))
            level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if not level:
                return
            event = None


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 0

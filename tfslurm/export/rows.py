"""Rows of a label, a status and a text, as lines of a terminal of any width. Pure; no colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from unicodedata import combining, east_asian_width

WIDTH = 9
"The columns of a label, or of a status in its place."
LEAST = 20
"The columns of a text, however narrow the terminal is."


class Row(NamedTuple):
    """A label and a text, whose further lines stand under the first; or a status, which stands in the label's place."""

    label: str
    text: str
    status: str = ""

    @property
    def head(self) -> str:
        """What stands in front of the text."""
        return f" {self.status:<{WIDTH - 1}}" if self.status else f"{self.label:<{WIDTH}}"


class Line(NamedTuple):
    """One line of a row; ``status`` is that of its row, on its first line alone."""

    head: str
    text: str
    status: str


def rows_text(rows: Iterable[Row]) -> str:
    """The rows as a text, no line of which is broken."""
    return "".join(f"{line.head}{line.text}".rstrip() + "\n" for line in lines_of(rows))


def lines_of(rows: Iterable[Row], width: int = 0) -> Iterator[Line]:
    """The lines of rows, broken at words to a terminal's width; 0: none is. No control character is left."""
    for row in rows:
        head, status = row.head, row.status
        for line in clean(row.text).split("\n"):
            for part in folded(line, max(LEAST, width - WIDTH)) if width else (line,):
                yield Line(head, part, status)
                head, status = " " * WIDTH, ""


def clean(text: str) -> str:
    """The text without what would act on a terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)


def columns(text: str) -> int:
    """The columns that a printable text takes on a terminal. Source: Unicode, UAX 11 (East Asian Width)."""
    return sum(0 if combining(sign) else 1 + (east_asian_width(sign) in "WF") for sign in text)


def folded(text: str, width: int) -> Iterator[str]:
    """The text in lines of so many columns, broken at its blanks; a word that is longer is broken where it must be."""
    line = ""
    for word in text.split(" "):
        joined = f"{line} {word}" if line else word
        if columns(joined) <= width:
            line = joined
            continue
        if line:
            yield line
        line = word
        while columns(line) > width:
            end = next(place for place in range(len(line), 0, -1) if columns(line[:place]) <= width or place == 1)
            yield line[:end]
            line = line[end:]
    yield line

"""What the check found: rows, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

SAME, SEEN, DIFFERS, FAILED, NOT_RUN = "same", "seen", "differs", "failed", "not run"
WIDTH = 13  # of the column of steps
MOST, SHORT = 400, 150  # characters of one value; of one that is as expected, in the table


@dataclass(frozen=True)
class Row:
    """One thing that was compared: what the test bed has (or what must hold), and what is here."""

    step: str
    what: str
    expected: str
    found: str
    verdict: str

    @property
    def holds(self) -> bool:
        """Whether nothing is to be done about it."""
        return self.verdict in (SAME, SEEN, NOT_RUN)


def compared(step: str, what: str, expected: object, found: object) -> Row:
    """A row of two values that should be equal."""
    return Row(step, what, visible(expected), visible(found), SAME if expected == found else DIFFERS)


def held(step: str, what: str, expected: str, found: object, *, holds: bool) -> Row:
    """A row of something that must hold."""
    return Row(step, what, expected, visible(found), SAME if holds else DIFFERS)


def seen(step: str, what: str, found: object) -> Row:
    """A row that only says how it is here."""
    return Row(step, what, "", visible(found), SEEN)


def failed(step: str, what: str, why: object) -> Row:
    """A row of something that could not be asked although it should have answered."""
    return Row(step, what, "an answer", visible(why), FAILED)


def not_run(step: str, what: str, why: object) -> Row:
    """A row of something that this machine lacks."""
    return Row(step, what, "", visible(why), NOT_RUN)


def visible(value: object) -> str:
    """One short line of any text: what a terminal would obey is escaped."""
    if isinstance(value, (list, tuple)):
        value = "; ".join(str(each) for each in value) or "none"
    text = value if isinstance(value, str) else repr(value)
    return shortened("".join(char if char.isprintable() else ascii(char)[1:-1] for char in text), MOST)


def shortened(line: str, most: int) -> str:
    """The beginning of a line that is too long."""
    return line if len(line) <= most else f"{line[: most - 1]}…"


def as_value(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows as JSON has them."""
    return [asdict(row) for row in rows]


def table(rows: Sequence[Row]) -> str:
    """The rows as lines: what differs has what the test bed has below it."""
    first = WIDTH
    lines = []
    for row in rows:
        found = shortened(row.found, SHORT) if row.holds else row.found
        lines.append(f"{row.verdict:<8} {row.step:<{first}}  {row.what}: {found}")
        if not row.holds and row.expected:
            lines.append(f"{'':<8} {'':<{first}}  expected: {row.expected}")
    return "\n".join(lines)

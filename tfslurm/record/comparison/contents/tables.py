"""CSV and TSV by their cells, without the columns that name a time. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from tfslurm.record.comparison.contents.findings import Content, Tally, Tolerance
from tfslurm.record.comparison.contents.times import is_time

RULE = "table by cell, without columns of times"
SEPARATORS = ",;\t"


def same_table(a: bytes, b: bytes, tolerance: Tolerance) -> Content:
    """Two tables, row by row. The first row names the columns, unless a number stands in it.

    Raises:
        ValueError: one is no table: bytes that are no UTF-8, a cell of more than 128 KiB.
    """
    tally, times, times_differ = Tally(tolerance), set[int](), set[str]()
    names: Sequence[str] = ()
    try:
        for number, (one, other) in enumerate(zip_longest(rows(a), rows(b))):
            if one is None or other is None:
                tally.unlike("rows", f"{'A' if other is None else 'B'} has more than {number}")
                break
            if number == 0 and not any(number_in(cell) is not None for cell in (*one, *other)):
                names = one
                times = times_among(names) if one == other else set()
            if len(one) != len(other):
                tally.unlike(f"row {number + 1}", f"{len(one)} / {len(other)} cells")
                continue
            times_differ |= {names[at] for at in times if at < len(one) and one[at] != other[at]}
            for at in range(len(one)):
                if at not in times:
                    name = names[at] if at < len(names) else f"column {at + 1}"
                    compare_cells(f"{name}, row {number + 1}", one[at], other[at], tally)
    except csv.Error as error:
        raise ValueError(f"it is no table: {error}") from error
    return tally.content(RULE, ", ".join(sorted(times_differ)) or "the layout of its text")


def times_among(names: Sequence[str]) -> set[int]:
    """The columns that hold times. A name with a separator in it may be that of several columns."""
    return {at for at, name in enumerate(names) if is_time(name) and not set(SEPARATORS) & set(name)}


def rows(content: bytes) -> Iterator[list[str]]:
    """The rows of a table; its separator is a comma, or that of `;` and a tab which the first line has instead."""
    text = content.decode("utf-8-sig")
    first = text[: text.find("\n") if "\n" in text else len(text)]
    separator = next((each for each in SEPARATORS if each in first), ",")
    if "\0" in text:
        raise ValueError("it is no table: a byte in it is 0")
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)


def compare_cells(name: str, a: str, b: str, tally: Tally) -> None:
    """Two cells: the same text, or two numbers."""
    if a == b:
        tally.compared += 1
        return
    one, other = number_in(a), number_in(b)
    if one is None or other is None or one == other or (one != one and other != other):  # 1.0 and 1.00: another text
        tally.unlike(name, f"{a[:40]!r} / {b[:40]!r}")
    else:
        tally.numbers(name, (one,), (other,))


def number_in(cell: str) -> float | None:
    """The number that a cell holds."""
    try:
        return float(cell) if len(cell) < 400 and "_" not in cell else None
    except ValueError:
        return None

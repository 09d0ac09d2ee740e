"""Rows of a sweep -> the parameters whose effects cannot be separated from those of where the points ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from tfslurm.sweeps.binning import levels_of
from tfslurm.sweeps.values import Scalar

LARGE = 0.5
_FEWEST = 4  # rows; fewer are not judged
_ELSEWHERE = 1.5  # how many of a level's rows would have to be expected elsewhere, for their absence to mean anything


@dataclass(frozen=True, slots=True)
class Row:
    """One point that ran: its parameters, and what was observed of the place ({"cluster": …, "gpu": …, "driver": …}).

    None, or a name that is absent: not observed.
    """

    parameters: Mapping[str, Scalar]
    place: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Confounded:
    """A parameter and a property of the place that go together. ``strength`` is Cramér's V: 0 unrelated, 1 the same.

    ``alone`` are levels that occur with one value of the property only, while other levels occur elsewhere too.
    """

    parameter: str
    place: str
    strength: float
    rows: int
    alone: Mapping[str, str]

    def __str__(self) -> str:
        only = ", ".join(f"{self.parameter}={level} only with {value}" for level, value in self.alone.items())
        return (
            f"{self.parameter} is confounded with {self.place} (Cramér's V {self.strength:.2f}, {self.rows} points)"
            f"{f': {only}' if only else ''}"
        )


def confounded(rows: Sequence[Row]) -> tuple[Confounded, ...]:
    """The pairs of parameter and place of which an effect of the one would look like an effect of the other.

    That is: Cramér's V of their table is 0.5 or more, or a level stands with one value alone although 1.5 or more of
    its rows were to be expected elsewhere. What differs by chance confounds all the same, so no test of significance is
    made. Rows whose place was not observed are left out; parameters and places with one value are confounded with
    nothing. Numbers with many values are compared in up to four groups of equal size.

    Source: H. Cramér, Mathematical Methods of Statistics, 1946, 21.9; "large" from 0.5: J. Cohen, Statistical Power
    Analysis for the Behavioral Sciences, 1988, 7.2 (w, which is V where one side has two values).
    """
    names = dict.fromkeys(name for row in rows for name in row.parameters)
    places = dict.fromkeys(name for row in rows for name in row.place)
    pairs = ((parameter, place) for parameter in sorted(names) for place in places)
    return tuple(found for parameter, place in pairs if (found := _pair(rows, parameter, place)))


def _pair(rows: Sequence[Row], parameter: str, place: str) -> Confounded | None:
    known = [row for row in rows if row.place.get(place) is not None and parameter in row.parameters]
    levels = levels_of([row.parameters[parameter] for row in known])
    if levels is None or len(known) < _FEWEST:
        return None
    values = [str(row.place[place]) for row in known]
    cells = Counter(zip(levels, values, strict=True))
    by_level, by_value = Counter(levels), Counter(values)
    if len(by_level) < 2 or len(by_value) < 2:
        return None
    strength = _cramers_v(cells, by_level, by_value)
    alone = {
        level: value
        for (level, value), count in cells.items()
        if count == by_level[level] and count * (1 - by_value[value] / len(known)) >= _ELSEWHERE
    }
    if round(strength, 6) < LARGE and not alone:
        return None
    return Confounded(parameter, place, strength, len(known), alone)


def _cramers_v(cells: Counter[tuple[str, str]], by_level: Counter[str], by_value: Counter[str]) -> float:
    total = by_level.total()
    squares = 0.0
    for level, of_level in by_level.items():
        for value, of_value in by_value.items():
            expected = of_level * of_value / total
            squares += (cells[level, value] - expected) ** 2 / expected
    return sqrt(squares / total / (min(len(by_level), len(by_value)) - 1))

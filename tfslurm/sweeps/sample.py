"""A stratified sample of points: every level of every parameter as often as in the whole, as far as that goes. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfslurm.spec.words import as_json
from tfslurm.sweeps.binning import levels_of
from tfslurm.sweeps.values import Scalar

MOST_SHOWN = 40
"Characters of a value."


class Sample(NamedTuple):
    """The places of the points that were chosen, in order, and how they were, in a sentence."""

    places: tuple[int, ...]
    said: str


def stratified(points: Sequence[Mapping[str, Scalar]], count: int) -> Sample:
    """So many of the points, the same ones whenever and wherever they are asked for; all where there are no more.

    Point by point, the next is one whose levels lack most of the share that they have in the whole; where several do,
    the one with the lowest SHA-256 of its values, which no value decides. Source: minimisation (S. Pocock, R. Simon,
    Biometrics 31, 1975) without its chance.
    """
    total = len(points)
    if count >= total:
        return Sample(tuple(range(total)), f"all {total} points")
    names = dict.fromkeys(name for point in points for name in point)
    factors = {name: levels for name in names if (levels := levels_of([point.get(name, "") for point in points]))}
    rows = [tuple(levels[place] for levels in factors.values()) for place in range(total)]
    hashes = [hashlib.sha256(as_json(point).encode("utf-8", "surrogatepass")).hexdigest() for point in points]
    chosen = _chosen(rows, hashes, count)
    by = "; ".join(f"{name} {_spread(levels, chosen)}" for name, levels in factors.items())
    how = f"so that each value is there as often as it can be: {by}" if by else "none of its parameters repeats a value"
    return Sample(tuple(chosen), f"{count} of {total} points, {how}; where several would do, by the SHA-256 of values")


def _chosen(rows: Sequence[tuple[str, ...]], hashes: Sequence[str], count: int) -> list[int]:
    """The places, in order. Points of equal levels wait in one queue, so that a sweep of any size is soon done."""
    queues: dict[tuple[str, ...], list[int]] = {}
    for place in sorted(range(len(rows)), key=hashes.__getitem__, reverse=True):
        queues.setdefault(rows[place], []).append(place)
    sizes = Counter(level for row in rows for level in enumerate(row))
    had: Counter[tuple[int, str]] = Counter()
    chosen: list[int] = []
    for _ in range(count):
        best = min(
            queues,
            key=lambda row: (
                sum(had[level] * len(rows) - sizes[level] * count for level in enumerate(row)),
                hashes[queues[row][-1]],
            ),
        )
        chosen.append(queues[best].pop())
        had.update(enumerate(best))
        if not queues[best]:
            del queues[best]
    return sorted(chosen)


def _spread(levels: Sequence[str], chosen: Sequence[int]) -> str:
    """How many of the chosen points each level has: ``0.1 x 2, 0.01 x 3``."""
    counts = Counter(levels[place] for place in chosen)
    missing = len(set(levels)) - len(counts)
    said = ", ".join(f"{level[:MOST_SHOWN]} x {counts[level]}" for level in dict.fromkeys(levels) if level in counts)
    return f"({said}{f', {missing} others not' if missing else ''})"

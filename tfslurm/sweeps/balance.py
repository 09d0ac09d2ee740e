"""Points -> clusters such that no parameter is confounded with the cluster: every level as often on each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest

from tfslurm.sweeps.binning import levels_of
from tfslurm.sweeps.points import Point

_ROUNDS = 200  # exchanges at most
_TRIED = 40  # points of each side that are compared for one of them


def balanced(points: Sequence[Point], clusters: Sequence[str], fixed: Sequence[str | None]) -> tuple[str, ...]:
    """The cluster of each point: for every level of every parameter the counts per cluster differ by one at most where
    such an assignment is found, and else rarely by more than two. ``fixed`` points count, and stay.

    Source: minimisation (S. Pocock, R. Simon, Biometrics 31, 1975) without its chance, then exchanges of pairs.
    """
    table = _Table(points, clusters)
    table.begin(fixed)
    free = [row for row, cluster in enumerate(fixed) if cluster is None]
    for _ in range(_ROUNDS):
        if not table.exchange(free):
            break
    return tuple(clusters[number] for number in table.chosen)


class _Table:
    """The count of each level on each cluster. The first factor has one level, so the totals are even too."""

    def __init__(self, points: Sequence[Point], clusters: Sequence[str]) -> None:
        names = list(points[0].parameters) if points else []
        found = [levels_of([point.parameters[name] for point in points]) for name in names]
        columns = [["all"] * len(points), *(column for column in found if column)]
        number: dict[tuple[int, str], int] = {}
        self.rows = [
            [number.setdefault((factor, column[row]), len(number)) for factor, column in enumerate(columns)]
            for row in range(len(points))
        ]
        self.clusters = clusters
        self.counts = [[0] * len(clusters) for _ in number]
        self.chosen = [0] * len(points)

    def put(self, row: int, cluster: int, by: int = 1) -> None:
        """Count a point on a cluster, or take it away."""
        for level in self.rows[row]:
            self.counts[level][cluster] += by

    def begin(self, fixed: Sequence[str | None]) -> None:
        """Every point in turn to the cluster that has its levels least."""
        for row, cluster in enumerate(fixed):
            if cluster is not None:
                self.chosen[row] = self.clusters.index(cluster)
                self.put(row, self.chosen[row])
        for row, cluster in enumerate(fixed):
            if cluster is None:
                self.chosen[row] = min(range(len(self.clusters)), key=lambda number: self.had(row, number))
                self.put(row, self.chosen[row])

    def had(self, row: int, cluster: int) -> tuple[int, int]:
        """The sum of a cluster's counts of a point's levels, and the number of its points."""
        counts = [self.counts[level][cluster] for level in self.rows[row]]
        return sum(counts), counts[0]

    def exchange(self, free: Sequence[int]) -> bool:
        """Move a point, or two against each other, so that a level is spread better and all together not worse."""
        for level, counts in enumerate(self.counts):
            most, least = counts.index(max(counts)), counts.index(min(counts))
            if counts[most] - counts[least] < 2:
                continue
            here = [row for row in free if self.chosen[row] == most and level in self.rows[row]]
            there = [row for row in free if self.chosen[row] == least and level not in self.rows[row]]
            best = self.best(self.first(here, most, least), self.first(there, least, most), most, least)
            if best:
                self.move(best[0], least)
                if best[1] is not None:
                    self.move(best[1], most)
                return True
        return False

    def first(self, rows: Iterable[int], source: int, target: int) -> list[int]:
        """Those whose move does most good."""
        return nsmallest(_TRIED, rows, key=lambda row: (self.change(row, source, target), row))

    def best(self, here: Sequence[int], there: Sequence[int], most: int, least: int) -> tuple[int, int | None] | None:
        """The move or exchange that lowers the sum of squares of all counts most; None where none does."""
        best = 0
        found: tuple[int, int | None] | None = None
        for row in here:
            moved = self.change(row, most, least)
            if moved < best:
                best, found = moved, (row, None)
            for other in there:
                # what both have stays where it is; each of the two counted 2 for it
                alike = sum(one == two for one, two in zip(self.rows[row], self.rows[other], strict=True))
                both = moved + self.change(other, least, most) - 4 * alike
                if both < best:
                    best, found = both, (row, other)
        return found

    def change(self, row: int, source: int, target: int) -> int:
        """By how much a move changes the sum of squares of the counts."""
        return sum(2 * (self.counts[level][target] - self.counts[level][source] + 1) for level in self.rows[row])

    def move(self, row: int, target: int) -> None:
        """Put a point on another cluster."""
        self.put(row, self.chosen[row], -1)
        self.put(row, target)
        self.chosen[row] = target

"""Medians of commands that take turns."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.cluster.bed import BedError

ROUND_TRIP_S = 0.05  # on the line that is made slow


@dataclass(frozen=True)
class Row:
    """One line of the table: ours beside something else, in seconds, and the bound on what is made of the two.

    With the unit ``MB`` ours is that many, and nothing stands beside it.
    """

    what: str
    ours_s: float
    peer: str
    peer_s: float
    at_most: float = math.inf
    unit: str = "x"
    "'x': their ratio; 's': their difference; 'round trips': that many of ROUND_TRIP_S in the difference; 'MB'"

    @property
    def result(self) -> float:
        """Ours over the peer's, or ours less the peer's."""
        if self.unit == "x":
            return self.ours_s / self.peer_s
        return (self.ours_s - self.peer_s) / (ROUND_TRIP_S if self.unit == "round trips" else 1.0)

    @property
    def holds(self) -> bool:
        """Whether the bound holds."""
        return self.result <= self.at_most

    def as_markdown(self) -> str:
        """One line of the table."""

        def form(value: float) -> str:
            if self.unit == "s":
                return f"{value * 1000:+.0f} ms"
            return f"{value:.2f}x" if self.unit == "x" else f"{value:.1f} {self.unit}"

        bound = ("none", "")
        if self.at_most != math.inf:
            bound = (f"<= {form(self.at_most)}", "yes" if self.holds else "NO")
        seconds = ("", "") if self.unit == "MB" else (f"{self.ours_s:.3f}", f"{self.peer_s:.3f}")
        cells = (self.what, seconds[0], self.peer, seconds[1], form(self.result), *bound)
        return f"| {' | '.join(cells)} |"

    def as_value(self) -> dict[str, Any]:
        """The line for --json."""
        at_most = None if self.at_most == math.inf else self.at_most
        return {**self.__dict__, "at_most": at_most, "result": self.result, "holds": self.holds}


def turns(
    rounds: int, commands: Mapping[str, Callable[[], int]], before: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """The median seconds of each command, after one round that is not counted; a command gives its exit code.

    ``before`` is called before each command, outside the measured time.

    Raises:
        BedError: a command failed: its time would mean nothing.
    """
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in [*commands.items()][:: 1 if turn % 2 else -1]:  # who comes first is not the same each time
            before()
            started = time.perf_counter()
            code = command()
            if code:
                raise BedError(f"{name} ended with exit code {code}")
            if turn:
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}

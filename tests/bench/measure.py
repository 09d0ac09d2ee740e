"""Medians of commands that take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.cluster.bed import BedError


@dataclass(frozen=True)
class Row:
    """One line of the table: ours beside a peer, in seconds, and the bound on their ratio or on their difference."""

    what: str
    ours_s: float
    peer: str
    peer_s: float
    at_most: float
    difference: bool = False

    @property
    def result(self) -> float:
        """Ours over the peer's, or ours less the peer's in seconds."""
        return self.ours_s - self.peer_s if self.difference else self.ours_s / self.peer_s

    @property
    def holds(self) -> bool:
        """Whether the bound holds."""
        return self.result <= self.at_most

    def as_markdown(self) -> str:
        """One line of the table."""

        def form(value: float) -> str:
            return f"{value * 1000:+.0f} ms" if self.difference else f"{value:.2f}x"

        bound = ("none", "")
        if self.at_most != float("inf"):
            bound = (f"<= {form(self.at_most)}", "yes" if self.holds else "NO")
        cells = (self.what, f"{self.ours_s:.3f}", self.peer, f"{self.peer_s:.3f}", form(self.result), *bound)
        return f"| {' | '.join(cells)} |"

    def as_value(self) -> dict[str, Any]:
        """The line for --json."""
        return {**self.__dict__, "result": self.result, "holds": self.holds}


def turns(rounds: int, commands: Mapping[str, Callable[[], int]]) -> dict[str, float]:
    """The median seconds of each command, after one round that is not counted; a command gives its exit code.

    Raises:
        BedError: a command failed: its time would mean nothing.
    """
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            code = command()
            if code:
                raise BedError(f"{name} ended with exit code {code}")
            if turn:
                taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}

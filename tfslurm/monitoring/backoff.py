"""The pauses of a command that watches: longer while nothing changes, never shorter than a cluster allows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tfslurm.workspace.config import Known


@dataclass(slots=True)
class Pace:
    """The pause after a change, by which factor it grows while there is none, and its most; seconds.

    A cluster's own ``min_interval`` overrides all three.
    """

    first_s: float
    factor: float
    most_s: float
    _pause_s: dict[str, float] = field(default_factory=dict)
    _due_at: dict[str, float] = field(default_factory=dict)

    def due(self, clusters: Sequence[Known]) -> list[Known]:
        """Those that may be asked now; all of them at first."""
        now = time.monotonic()
        return [known for known in clusters if self._due_at.get(known.cluster.name, now) <= now]

    def asked(self, clusters: Sequence[Known], *, changed: bool) -> None:
        """These have just answered, and something had changed or not."""
        for known in clusters:
            name = known.cluster.name
            before = self._pause_s.get(name)
            pause = self.first_s if changed or before is None else min(before * self.factor, self.most_s)
            self._pause_s[name] = pause
            self._due_at[name] = time.monotonic() + max(pause, known.cluster.min_interval_s)

    def wait(self, clusters: Sequence[Known]) -> None:
        """Return when the first of them may be asked again; after a first pause where there is none to ask."""
        due = [self._due_at.get(known.cluster.name, 0.0) for known in clusters]
        now = time.monotonic()
        time.sleep(max(0.0, min(due, default=now + self.first_s) - now))

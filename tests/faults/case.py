"""A fault, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.faults.engine import Engine
from tests.faults.job import Job

WAITS = "echo kept >/out/kept; touch /out/here; until [ -e /out/go ]; do sleep 0.05; done"
DEAF = f"trap '' TERM; {WAITS}"


@dataclass(frozen=True)
class Expected:
    """What the record and the commands have to say of the job in the end."""

    state: str  # of the job, Slurm's word
    code: int  # the job's exit code in the record, and what `tfslurm wait` ends with
    container: int  # the exit code of the container of the attempt that was struck
    ended_by: str  # in the attempt that was struck
    words: str = ""  # among the words of `tfslurm status`
    oom: bool = False
    attempts: int = 1


@dataclass(frozen=True)
class Case:
    """One way in which a job ends."""

    name: str
    strike: Callable[[Job], None]
    expected: Expected
    script: str = WAITS
    keys: Mapping[str, object] = field(default_factory=dict)
    slurm: Mapping[str, object] = field(default_factory=dict)
    quick: bool = False  # part of `make test`
    alone: bool = False  # disturbs every job of the node, or of the bed
    others: Mapping[tuple[str, str], Expected] = field(default_factory=dict)  # engines and clusters that differ
    unseen: frozenset[tuple[str, str]] = frozenset()  # engines and clusters whose container's code may be unknown
    never: frozenset[tuple[str, str]] = frozenset()  # engines and clusters to which it does not apply

    def expects(self, engine: Engine, cluster: str) -> Expected:
        """What has to come of it with this engine on this cluster."""
        return self.others.get((engine.name, cluster), self.expected)

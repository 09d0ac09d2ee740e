"""Jobs that end by themselves."""

from __future__ import annotations

from tests.faults.case import WAITS, Case, Expected
from tests.faults.job import Job


def goes(job: Job) -> None:
    """The program is let go."""
    job.struck()
    job.go()


CASES = (
    Case("normal", goes, Expected("COMPLETED", 0, 0, "program"), quick=True),
    Case("failure", goes, Expected("FAILED", 7, 7, "program", "exit 7"), f"{WAITS}; exit 7", quick=True),
    Case(
        "failure with 75",
        goes,
        Expected("FAILED", 75, 75, "program", "exit 75, the program's own"),
        f"{WAITS}; exit 75",
    ),
    Case(
        "out of memory",
        goes,
        Expected("FAILED", 137, 137, "memory", ") used up; ask for more `memory`", oom=True),
        f"{WAITS}; exec tail /dev/zero",
        quick=True,
        others={("podman", "alpha"): Expected("FAILED", 137, 137, "program", "exit 137")},  # it cannot see why
        never=frozenset({("podman", "beta")}),  # where nothing holds it to its memory
    ),
)

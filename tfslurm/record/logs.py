"""What the program of an attempt printed: the hashes that each task made of its two logs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfslurm.record import facts
from tfslurm.record.folder import Folder
from tfslurm.record.model import Log
from tfslurm.record.verified import Observed
from tfslurm.run_folder import paths


def read_logs(attempt: Folder, observed: Sequence[Observed]) -> tuple[Log, ...] | None:
    """The logs of the tasks that had a container, by rank; None, with the reason, where none of them was hashed."""
    found: list[Log] = []
    reasons: dict[int, str] = {}
    for one in (each for each in observed if each.task.container):
        files = one.files.quiet()
        sums = files.fact("logs", paths.LOG_SUMS, facts.parse_log_sums)
        if sums is None:
            reasons[len(found)] = files.why("logs")
        found += logs_of(one.task.rank, sums)
    if reasons and all(log.sha256 is None for log in found):
        attempt.note("logs", "; ".join(dict.fromkeys(reasons.values())))
        return None
    for place, why in reasons.items():
        attempt.note(f"logs[{place}].sha256", why)
        attempt.note(f"logs[{place + 1}].sha256", why)
    return tuple(found)


def logs_of(rank: int, sums: Mapping[str, tuple[int, str]] | None) -> list[Log]:
    """The logs of one task; where they were not hashed, their names alone."""
    names = paths.logs(rank)
    if sums is None:
        return [Log(name, None, None) for name in names]
    return [Log(name, *sums[name]) for name in names if name in sums]

"""Which jobs a user wants to see: those named, or the recent ones, and of these the ones that fit some filters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, time, timedelta, timezone
from fnmatch import fnmatchcase
from typing import NamedTuple

from tfslurm.document import nearest
from tfslurm.document.moments import datetime_of
from tfslurm.errors import refuse
from tfslurm.monitoring.lookup import find_sweep
from tfslurm.monitoring.sweep_states import LOST
from tfslurm.monitoring.wait import sent_of
from tfslurm.slurm import STATES
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clock import stamp

RECENT = 20  # submissions, of which a sweep is one
CODES = {  # source: squeue(1), JOB STATE CODES
    "BF": "BOOT_FAIL",
    "CA": "CANCELLED",
    "CD": "COMPLETED",
    "CF": "CONFIGURING",
    "CG": "COMPLETING",
    "DL": "DEADLINE",
    "F": "FAILED",
    "NF": "NODE_FAIL",
    "OOM": "OUT_OF_MEMORY",
    "PD": "PENDING",
    "PR": "PREEMPTED",
    "R": "RUNNING",
    "S": "SUSPENDED",
    "TO": "TIMEOUT",
}
_AGO = re.compile(r"([0-9]{1,6}) ?(m|min|h|d|w)")
_UNITS = {"m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Filters(NamedTuple):
    """What jobs must be to be meant; empty: anything. ``name`` may hold * and ?, ``since`` is RFC 3339 in UTC."""

    name: str = ""
    since: str = ""
    states: tuple[str, ...] = ()
    sweep: str = ""

    def fit(self, job: TrackedJob) -> bool:
        """Whether a job is so; of which sweep it is was looked at before."""
        return self.fit_name(job.name, job.submitted_at) and (not self.states or job.state in self.states)

    def fit_name(self, name: str, submitted_at: str) -> bool:
        """Whether a job of this name and moment may be so."""
        return (not self.name or fnmatchcase(name, self.name)) and (not self.since or submitted_at >= self.since)


def chosen(
    tracker: Tracker, names: Sequence[str], filters: Filters, *, everything: bool = False, unfinished: bool = False
) -> list[TrackedJob]:
    """The named jobs, each once; without names the unfinished ones and those of the last few submissions, with filters
    every one that fits. ``unfinished``: of all these those that have not ended.

    Raises:
        InputError: a name is none.
    """
    names = [filters.sweep] if filters.sweep and not names else names
    if names:
        found = list({job.key: job for name in names for job in sent_of(tracker, name)}.values())
    else:
        found = tracker.jobs(
            recent=None if everything or any(filters) else RECENT,
            unfinished=unfinished,
            name=filters.name or None,
            since=filters.since,
            states=filters.states,
        )
    if filters.sweep:
        mine = {each.plan.plan_id for each in tracker.sweeps.plans(find_sweep(tracker, filters.sweep).sweep_id)}
        found = [job for job in found if job.plan_id in mine]
    return [job for job in found if filters.fit(job) and not (unfinished and job.final)]


def states_given(texts: Sequence[str]) -> tuple[str, ...]:
    """States as squeue takes them: ``running``, ``PD,R``.

    Raises:
        InputError: one is none of Slurm's.
    """
    found = []
    for text in ",".join(texts).split(",") if texts else ():
        state = CODES.get(text.strip().upper(), text.strip().upper().replace(" ", "_"))
        if state not in STATES and state != LOST:
            fix = f"{nearest(state, [*STATES, LOST])}write for example FAILED or PENDING"
            raise refuse(f"--state {text}", "is not one of Slurm's states", fix)
        found.append(state)
    return tuple(found)


def since_given(text: str) -> str:
    """The moment that ``2d``, ``2026-11-28`` or ``2026-11-28T05:00`` stands for, on this machine's clock; '': none.

    Raises:
        InputError: it is no moment.
    """
    try:
        return stamp(moment_of(text).astimezone(timezone.utc)) if text else ""
    except (ValueError, OverflowError):
        fix = "write 30m, 12h, 2d, 1w, today, yesterday, 2026-11-28 or 2026-11-28T05:00"
        raise refuse(f"--since {text}", "is not a time", fix) from None


def moment_of(text: str) -> datetime:
    """The moment; without a zone it is of this machine's clock.

    Raises:
        ValueError, OverflowError: the text is none.
    """
    if ago := _AGO.fullmatch(text):
        return datetime.now(timezone.utc) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    if text in ("today", "yesterday"):
        day = datetime.now().date() - timedelta(days=int(text == "yesterday"))
        return datetime.combine(day, time.min)
    return datetime_of(text)

"""The states of the points of a sweep, and how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone

from tfslurm.document.moments import datetime_of
from tfslurm.tracker import PlacedPoint, TrackedJob

CANCELLED = "cancelled"
"The key in the status of a job that `tfslurm cancel` has cancelled, until it has ended."
NOT_SENT = "NOT SENT"
LOST = "LOST"
COMPLETING = "COMPLETING"
BAR = 30


def state_of(point: PlacedPoint) -> str:
    """The state of a point's last job; NOT SENT where it has none."""
    return point.job.state if point.job else NOT_SENT


def has_ended(point: PlacedPoint) -> bool:
    """Whether nothing more will come of its job."""
    return bool(point.job and (point.job.final or point.job.state == LOST or is_given_up(point.job)))


def is_given_up(job: TrackedJob, *, requeues: bool = True) -> bool:
    """Whether a job that Slurm is still cleaning up will do no more work.

    That is so of one that was cancelled, and of any that Slurm does not queue again (``requeues`` is false).
    """
    return job.state == COMPLETING and (not requeues or bool(job.status.get(CANCELLED)))


def has_failed(point: PlacedPoint) -> bool:
    """Whether its job ended, and not well."""
    return has_ended(point) and state_of(point) != "COMPLETED"


def progress(points: Sequence[PlacedPoint]) -> str:
    """``[####------] 40 of 100 points ended, about 12 min left``."""
    ended = sum(map(has_ended, points))
    full = BAR * ended // len(points) if points else BAR
    left = left_min(points, datetime.now(timezone.utc))
    rest = f", about {left} min left at this pace" if left is not None else ""
    return f"[{'#' * full}{'-' * (BAR - full)}] {ended} of {len(points)} points ended{rest}"


def left_min(points: Sequence[PlacedPoint], now: datetime) -> int | None:
    """Minutes until all have ended, if as many end in a minute as did since the first began; None: none has, or all."""
    ended = sum(map(has_ended, points))
    began = [point.job.status.get("started_at") for point in points if point.job and has_ended(point)]
    known = [datetime_of(moment) for moment in began if moment]
    if not known or ended == len(points):
        return None
    spent_s = max(0.0, (now - min(known)).total_seconds())
    return round(spent_s / ended * (len(points) - ended) / 60 + 0.5)


def counts(points: Sequence[PlacedPoint]) -> str:
    """``36 COMPLETED, 4 FAILED``."""
    found = Counter(map(state_of, points))
    return ", ".join(f"{count} {state}" for state, count in sorted(found.items()))

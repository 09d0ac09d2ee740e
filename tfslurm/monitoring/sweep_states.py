"""The states of the points of a sweep. Pure."""

from __future__ import annotations

from tfslurm.tracker import PlacedPoint

NOT_SENT = "NOT SENT"
LOST = "LOST"


def state_of(point: PlacedPoint) -> str:
    """The state of a point's last job; NOT SENT where it has none."""
    return point.job.state if point.job else NOT_SENT


def has_ended(point: PlacedPoint) -> bool:
    """Whether nothing more will come of its job."""
    return bool(point.job and (point.job.final or point.job.state == LOST))


def has_failed(point: PlacedPoint) -> bool:
    """Whether its job ended, and not well."""
    return has_ended(point) and state_of(point) != "COMPLETED"

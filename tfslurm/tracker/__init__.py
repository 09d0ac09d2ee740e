"""The tracker: an index of plans, jobs and records in one SQLite file on the user's machine."""

from __future__ import annotations

from tfslurm.tracker.index import Tracker
from tfslurm.tracker.rows import Place, Seen, SeenDriver, TrackedJob, TrackedPlan
from tfslurm.tracker.sweeps import PlacedPoint, TrackedSweep, WaitingPlan

__all__ = [
    "Place",
    "PlacedPoint",
    "Seen",
    "SeenDriver",
    "TrackedJob",
    "TrackedPlan",
    "TrackedSweep",
    "Tracker",
    "WaitingPlan",
]

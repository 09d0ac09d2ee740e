"""The tracker: an index of plans, jobs and records in one SQLite file on the user's machine."""

from __future__ import annotations

from tfslurm.tracker.index import Tracker
from tfslurm.tracker.rows import JobUpdate, Place, SeenDriver, TrackedJob, TrackedPlan
from tfslurm.tracker.sweeps import PlacedPoint, TrackedSweep, WaitingPlan

__all__ = [
    "JobUpdate",
    "Place",
    "PlacedPoint",
    "SeenDriver",
    "TrackedJob",
    "TrackedPlan",
    "TrackedSweep",
    "Tracker",
    "WaitingPlan",
]

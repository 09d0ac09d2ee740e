"""The index of plans, jobs and records: one SQLite file on the user's machine."""

from __future__ import annotations

from tfslurm.tracker.index import Tracker
from tfslurm.tracker.rows import Place, Seen, SeenDriver, TrackedJob, TrackedPlan

__all__ = ["Place", "Seen", "SeenDriver", "TrackedJob", "TrackedPlan", "Tracker"]

"""Axes -> points, points -> clusters, points -> arrays of jobs and the file that their tasks read. Pure."""

from __future__ import annotations

from tfslurm.sweep.points import Point, Sweep, matches, point_of, sweep_of, wrong_sweep
from tfslurm.sweep.values import Scalar

__all__ = ["Point", "Scalar", "Sweep", "matches", "point_of", "sweep_of", "wrong_sweep"]

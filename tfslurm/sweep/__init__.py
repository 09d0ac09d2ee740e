"""Axes -> points, points -> clusters, points -> arrays of jobs and the file that their tasks read. Pure."""

"""Bring what jobs left: records, results, logs and outputs."""

"""A sweep and where its points go -> the lines that a person reads, and the plain values that a program does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfslurm.document.tree import printable
from tfslurm.sweeps.points import Sweep

SAMPLE = 5


def summary(name: str, sweep: Sweep, placed: Sequence[str] | None, clusters: Sequence[str]) -> list[tuple[str, str]]:
    """Name and points of a sweep, line by line; ``placed`` None: the clusters are chosen at submission."""
    count = len(sweep.points)
    gone = [f"{sweep.excluded} left out"] if sweep.excluded else []
    gone += [f"{sweep.repeated} met twice"] if sweep.repeated else []
    lines = [("sweep", f"{name}: {_points(count)}" + (f" ({', '.join(gone)})" if gone else ""))]
    for block in sweep.blocks:
        axes = [f"{', '.join(axis.names)}: {axis.count}" for axis in block.axes]
        axes += [f"included: {len(block.include)}"] if block.include else []
        lines.append(("axes", "; ".join(axes)))
    if placed is None:
        lines.append(("where", f"{' or '.join(clusters)}, where a point begins soonest when it is submitted"))
    else:
        lines += [("where", f"{cluster}: {_points(placed.count(cluster))}") for cluster in clusters]
    for place in _sample(count):
        point = sweep.points[place]
        lines.append(("point", f"{point.id}{f'  {placed[place]}' if placed else ''}  {printable(point.text)}"))
    return [*lines, *(("note", note) for note in sweep.notes)]


def to_json(name: str, sweep: Sweep, placed: Sequence[str] | None) -> dict[str, Any]:
    """All of it: every point with its id, its parameters and its cluster (None: chosen at submission)."""
    return {
        "name": name,
        "count": len(sweep.points),
        "excluded": sweep.excluded,
        "repeated": sweep.repeated,
        "notes": list(sweep.notes),
        "points": [
            {"id": point.id, "cluster": placed[place] if placed else None, "parameters": dict(point.parameters)}
            for place, point in enumerate(sweep.points)
        ],
    }


def _points(count: int) -> str:
    return f"{count} point{'' if count == 1 else 's'}"


def _sample(count: int) -> list[int]:
    """The places of some points from the first to the last, evenly apart."""
    if count <= SAMPLE:
        return list(range(count))
    return [number * (count - 1) // (SAMPLE - 1) for number in range(SAMPLE)]

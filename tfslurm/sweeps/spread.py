"""Points x clusters -> the cluster of each point. The same points and estimates give the same answer."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tfslurm.errors import refuse
from tfslurm.sweeps.balance import balanced
from tfslurm.sweeps.points import First, Point
from tfslurm.sweeps.values import Scalar


@dataclass(frozen=True, slots=True)
class Room:
    """A cluster's room for points.

    free         how many could begin now
    most         how many may run at once
    starts_in_s  when one more than ``free`` would begin; None: nobody knows, and no point waits there
    """

    free: int
    most: int
    starts_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Points with these values stay on this cluster."""

    values: Mapping[str, Scalar]
    cluster: str


def spread(
    points: Sequence[Point],
    clusters: Sequence[str],
    how: str | Mapping[str, int],
    *,
    where: Sequence[Rule] = (),
    rooms: Mapping[str, Room] | None = None,
    point_s: float = 3600,
) -> tuple[str, ...]:
    """The cluster of each point; those that ``where`` fixes count for their cluster's share.

    even     as many on each; a mapping gives shares instead: {alpha: 3, beta: 1}
    blocked  as even, and every value of every parameter as often on each, within one where that can be
    idle     where it would begin soonest by ``rooms``, each point taken to last ``point_s``; even if nothing is known

    Shares of none of these clusters are as if even.

    Raises:
        InputError: a point is fixed to a cluster that is not among them.
    """
    first = First(rule.values for rule in where)
    fixed = [_fixed(point, first, where, clusters) for point in points]
    if how == "blocked":
        return balanced(points, clusters, fixed)
    if how == "idle" and rooms and (found := _soonest(fixed, clusters, rooms, point_s)):
        return found
    shares = {name: how[name] for name in clusters if name in how} if isinstance(how, Mapping) else {}
    return _shared(fixed, shares or dict.fromkeys(clusters, 1))


def _fixed(point: Point, first: First, where: Sequence[Rule], clusters: Sequence[str]) -> str | None:
    index = first.of(point.parameters)
    rule = None if index is None else where[index]
    if rule and rule.cluster not in clusters:
        why = f"point {point.id} stays on {rule.cluster}, which is not among {', '.join(clusters)}"
        raise refuse("sweep.where", why, f"add --cluster {rule.cluster}, or remove the rule")
    return rule.cluster if rule else None


def _shared(fixed: Sequence[str | None], weights: Mapping[str, int]) -> tuple[str, ...]:
    """One after the other to whoever is furthest below its share.

    Source: A. Sainte-Laguë, 1910; also known as Webster's method.
    """
    count = {name: fixed.count(name) for name in weights}

    def share(name: str) -> Fraction:
        return Fraction(2 * count[name] + 1, weights[name])

    chosen: list[str] = []
    for own in fixed:
        cluster = own or min(weights, key=share)
        if not own:
            count[cluster] += 1
        chosen.append(cluster)
    return tuple(chosen)


def _soonest(
    fixed: Sequence[str | None], clusters: Sequence[str], rooms: Mapping[str, Room], point_s: float
) -> tuple[str, ...] | None:
    """Every point to the slot that is free first; None where no slot is known.

    Source: list scheduling, R. Graham, 1966.
    """
    slots = {name: _slots(rooms[name], len(fixed)) for name in clusters if name in rooms}
    known = [name for name in slots if slots[name]]
    if not known:
        return None
    for name in filter(None, fixed):
        if slots.get(name):
            heapq.heapreplace(slots[name], slots[name][0] + point_s)
    chosen: list[str] = []
    for own in fixed:
        cluster = own or min(known, key=lambda name: slots[name][0])
        if not own:
            heapq.heapreplace(slots[cluster], slots[cluster][0] + point_s)
        chosen.append(cluster)
    return tuple(chosen)


def _slots(room: Room, points: int) -> list[float]:
    """When each slot of a cluster is free, as a heap."""
    most = min(room.most, points)
    free = min(room.free, most)
    return [0.0] * free + ([] if room.starts_in_s is None else [room.starts_in_s] * (most - free))

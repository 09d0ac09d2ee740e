"""Does a crate of a sweep have a record for each point that its plans, and its sweep.json, name?

A plan has the hash of its points, and each record the hash of its plan. So a point that somebody took out of the crate,
with its record, its files and all that the metadata say of it, is missed as long as one record of the same array stays.
A plan of an array that is not the whole sweep says how many points that has, so an array is missed as long as one of
another stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RecordError
from tfslurm.export.crate.contents import RECORD, SWEEP
from tfslurm.job_plan import from_json
from tfslurm.record.verification import Part
from tfslurm.retrieval.crate_verification import CheckedCrate, base_of
from tfslurm.retrieval.evidence import Evidence
from tfslurm.run_folder import paths
from tfslurm.run_folder.plan_file import read_points
from tfslurm.sweeps.arrays import place_in_array

MOST_POINTS = 2**27
FEW = 5
PARTIAL = "a crate of a sweep that had not ended lacks them too (--partial believes that)"


def point_parts(checked: CheckedCrate, evidences: Mapping[str, Evidence]) -> Iterator[Part]:
    """Whether each point has its record; nothing of a crate with one record, or of one without points."""
    if not evidences or RECORD in evidences:
        return
    ids: dict[str, str] = {}
    there: set[str] = set()
    bases: dict[str, list[Evidence]] = {}
    whole = 0
    for each in evidences.values():
        bases.setdefault(base_of(each, checked.crate), []).append(each)
    for base, mine in bases.items():
        try:
            points, of_sweep = points_of(checked, base)
        except (RecordError, ValueError, KeyError, TypeError) as error:
            yield Part("points", "not verifiable", str(error).splitlines()[0])
            return
        whole = max(whole, of_sweep)
        places = {place_in_array(each.record.job.job_id) for each in mine}
        for place, point in enumerate(points):
            ids.setdefault(point, f"{array_of(mine)}_{place}")
            there |= {point} if place in places else set()
    for point, named in named_in_sweep(checked):
        ids.setdefault(point, named)
    if ids:
        yield judged(checked, ids, [point for point in ids if point not in there])
    if whole > len(ids):
        yield cut_out(checked, whole, len(ids))


def cut_out(checked: CheckedCrate, whole: int, named: int) -> Part:
    """That the sweep had more points than the arrays in the crate; one of a single array says nothing of a sweep."""
    why = f"a plan says that its sweep has {whole} points, and the crate names {named}"
    if SWEEP not in checked.crate.files:
        return Part("sweep", "not verifiable", f"{why}: it is of a part of the sweep, or a part was taken out")
    if checked.partial:
        return Part("sweep", "not verifiable", f"{why}; so it is in a crate of a part of a sweep (--partial)")
    return Part("sweep", "missing", f"{why}: an array of it was taken out")


def points_of(checked: CheckedCrate, base: str) -> tuple[list[str], int]:
    """The ids of the points of a run folder's plan, by their places, and how many its sweep has, if that is more.

    [] if it is no array.

    Raises:
        RecordError, ValueError, KeyError, TypeError: the plan is not in the crate, or is none, or the points are not
            those of the plan.
    """
    text = checked.text(base + paths.PLAN)
    if text is None:
        raise RecordError(f"{base}{paths.PLAN} is not in the crate: which points there were is not shown")
    plan = from_json(read_json(text))
    if plan.points is None:
        return [], 0
    read = read_points(plan, checked.text(base + paths.POINTS, MOST_POINTS) or b"")
    return [entry.id for entry in read], plan.points.of_sweep


def array_of(mine: list[Evidence]) -> str:
    """The name of the array that these are of: ``alpha:1234``."""
    job = mine[0].record.job
    return f"{job.cluster}:{job.job_id.partition('_')[0]}"


def named_in_sweep(checked: CheckedCrate) -> Iterator[tuple[str, str]]:
    """The points that sweep.json names, each with its job; () where it is not there, or is none."""
    try:
        value: Any = read_json(checked.text(SWEEP) or b"{}")
        for each in value.get("points") or ():
            if isinstance(point := each.get("point"), str):
                yield point, f"{each.get('cluster')}:{each.get('job_id')}" if each.get("job_id") else f"point {point}"
    except (ValueError, AttributeError, TypeError):
        return


def judged(checked: CheckedCrate, ids: Mapping[str, str], lacking: list[str]) -> Part:
    """All points, and those that have no record."""
    if not lacking:
        return Part("points", "unchanged", f"each of the {len(ids)} points that the plans name has its record")
    names = ", ".join(ids[point] for point in lacking[:FEW]) + (" …" if len(lacking) > FEW else "")
    why = f"{len(lacking)} of the {len(ids)} points that the plans name have no record here: {names}"
    if checked.partial:
        return Part("points", "not verifiable", f"{why}; so it is in a crate of a sweep that had not ended (--partial)")
    return Part("points", "missing", f"{why}; {PARTIAL}")

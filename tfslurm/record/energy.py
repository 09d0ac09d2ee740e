"""The energy of a job's GPUs, from the power that nvidia-smi told while the programs ran. Pure.

nvidia-smi shows no counter of energy: ``--query-gpu`` has no such field. What it has is ``power.draw``, in W: since
Ampere the mean of the last second, before that the power of the moment. Source: ``nvidia-smi --help-query-gpu``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tfslurm.document.moments import datetime_of
from tfslurm.record import facts
from tfslurm.record.folder import Folder
from tfslurm.record.model import Energy
from tfslurm.record.task_model import Container
from tfslurm.record.usage import is_number
from tfslurm.record.verified import Observed

WATTS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
HOW = "nvidia-smi power.draw"


class Reading(NamedTuple):
    """The power of one GPU at a second since 1970."""

    second: int
    watts: float


class Use(NamedTuple):
    """The energy of one GPU over the seconds that its readings cover."""

    joules: float
    seconds: int
    readings: int
    longest: int  # between two readings, in s


def read_energy(observed: Sequence[Observed], root: Folder) -> Energy | None:
    """The energy of every GPU of every task that had a container, of all attempts; None, with the reason."""
    found: dict[tuple[int, str | None, str], Use] = {}
    ran = [one for one in observed if one.task.container]
    for one in ran:
        try:
            uses = dict(uses_of(one))
        except ValueError as error:
            root.note("energy", f"{one.where}: {error}" if len(observed) > 1 else str(error))
            return None
        for uuid, use in uses.items():  # tasks that share a GPU all read it
            key = (one.attempt, one.task.node, uuid)
            found[key] = max(found.get(key, use), use, key=lambda each: each.seconds)
    if not found:
        why = "the job had no GPU, and tfslurm reads no other meter" if ran else "no program of the job was started"
        root.note("energy", why)
        return None
    return Energy(round(sum(use.joules for use in found.values()), 1), told(list(found.values())))


def told(uses: Sequence[Use]) -> str:
    """How the number came about, with what it does not cover."""
    readings, seconds = sum(use.readings for use in uses), sum(use.seconds for use in uses)
    apart = max(use.longest for use in uses)
    gpus = f"{len(uses)} GPUs" if len(uses) > 1 else "1 GPU"
    many = f"{readings} readings" if readings > 1 else "1 reading"
    return (
        f"{HOW} of {gpus}: {many}, at most {apart} s apart, summed over the {seconds} s from each start "
        "to its last reading; what came after that is not in it"
    )


def uses_of(one: Observed) -> Iterator[tuple[str, Use]]:
    """Each GPU of one task.

    Raises:
        ValueError: of one there is no reading.
    """
    if one.task.gpus is None:
        raise ValueError("the GPUs that the task was given could not be told")
    if not one.task.gpus:
        return
    if any(gpu.uuid.startswith("MIG-") for gpu in one.task.gpus):
        raise ValueError("nvidia-smi tells the power of a whole GPU, and the task had a part of one (MIG)")
    files = one.files.quiet()
    rows = files.fact("energy", "gpu-usage.csv", facts.parse_query)
    if rows is None:
        if one.files.raw("gpu-usage.csv") is not None:
            raise ValueError(files.why("energy"))
        raise ValueError("the program ended before nvidia-smi was asked, 5 s after its start")
    for gpu in one.task.gpus:
        yield gpu.uuid, use_of(gpu.uuid, [row for row in rows if row["uuid"] == gpu.uuid], one.task.container)


def use_of(uuid: str, rows: Sequence[Mapping[str, str]], container: Container | None) -> Use:
    """The readings of one GPU, each of which stands for the time since the one before it, as those of its use do.

    Raises:
        ValueError: there is none, or the container's start is not known.
    """
    if rows and "power.draw" not in rows[0]:
        raise ValueError("an older tfslurm ran the job, which did not ask for the power")
    words = [(row.get("seconds", ""), row["power.draw"]) for row in rows]
    readings = [Reading(int(at), float(watts)) for at, watts in words if is_number(at) and WATTS.fullmatch(watts)]
    if not readings:
        said = f"says {words[0][1]!r} for the power of" if words else "said nothing of"
        raise ValueError(f"nvidia-smi {said} {uuid}")
    if len(readings) < len(words):
        raise ValueError(f"nvidia-smi told the power of {uuid} {len(readings)} times of {len(words)}")
    if container is None or container.started_at is None:
        raise ValueError("when the container started is not known")
    start = Reading(int(datetime_of(container.started_at).timestamp()), readings[0].watts)
    spans = [(max(after.second - before.second, 0), after.watts) for before, after in pairwise([start, *readings])]
    return Use(
        sum(seconds * watts for seconds, watts in spans),
        sum(seconds for seconds, _ in spans),
        len(readings),
        max(seconds for seconds, _ in spans),
    )

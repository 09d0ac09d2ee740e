"""What a rerun will be compared by, and how long the original took: said before it starts. Values alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from tfslurm.record import Record
from tfslurm.record.asked import SEED
from tfslurm.record.comparison import Run, measure_of
from tfslurm.record.comparison.contents import unit_of, why_not_compared
from tfslurm.record.comparison.seeds import seeds_of
from tfslurm.reruns.loss import Loss

ENVIRONMENT = frozenset(("engine", "driver", "GPU kind", "CPU model", "schedulable CPUs", "processor"))
"Losses after which the environment is another one."


class Compared(NamedTuple):
    """The outputs whose contents count, those that cannot be compared with the reason, the metric, and the rule."""

    outputs: tuple[str, ...] = ()
    not_comparable: tuple[tuple[str, str], ...] = ()
    metric: str = ""
    tolerance: float | None = None
    rule: str = ""
    why_nothing: str = ""  # '': something can be compared


class Took(NamedTuple):
    """How long the original ran, and waited in the queue; None: its record does not say it."""

    ran_s: int | None
    queued_s: int | None
    attempts: int


def compared(record: Record, settings: Mapping[str, Any], losses: Sequence[Loss]) -> Compared:
    """What the rerun will be compared by. ``settings`` are those of --set."""
    measured = measure_of(Run(record), Run(record)).asked
    outputs = record.experiment.outputs
    paths = dict.fromkeys(each.path for each in outputs or ())
    named = list(measured.files or paths)
    never = [(path, why_not_compared(unit_of(path, paths), paths)) for path in named]
    why = ""
    if record.job.state != "COMPLETED":
        why = f"the original is {record.job.state or 'in a state that is not known'}: it has no results to compare"
    elif outputs is None:
        why = "the outputs of the original are not known"
    elif not paths:
        why = "the original left no file in its outputs"
    missing = [(path, "the original did not leave it") for path in named if path not in paths]
    unlike = dict([(path, why) for path, why in never if why] + missing)
    return Compared(
        tuple(path for path in named if path not in unlike),
        tuple(unlike.items()),
        measured.metric or "",
        measured.tolerance,
        rule(record, settings, {loss.what for loss in losses} & ENVIRONMENT, measured.tolerance),
        why,
    )


def rule(record: Record, settings: Mapping[str, Any], others: Collection[str], tolerance: float | None) -> str:
    """The rule that will decide, as far as it can be known before."""
    seeds = seeds_of(record)
    changed = [name for name in settings if SEED.fullmatch(name.removeprefix("parameters."))]
    if changed:
        return f"another seed ({', '.join(changed)}): the 95 % prediction interval of a sweep over seeds, with `diff`"
    same = "same seed (" + ", ".join(f"{name} {value}" for name, value in seeds.items()) + ")" if seeds else "no seed"
    then = f"within {tolerance} of the metric" if tolerance is not None else "no tolerance is declared"
    if others:
        alone = "" if tolerance is not None else ": only equal bits would agree"
        return f"{same}, another environment ({', '.join(sorted(others))}): {then}{alone}"
    return f"{same}: bits, if the environment is the same; else {then}"


def took(record: Record) -> Took:
    """How long the original took."""
    job = record.job
    return Took(job.elapsed_s, between(job.submitted_at, first_start(record)), len(record.attempts))


def first_start(record: Record) -> str | None:
    """When its first attempt began."""
    return next((each.started_at for each in record.attempts if each.started_at), record.job.started_at)


def between(begin: str | None, end: str | None) -> int | None:
    """Seconds between two moments of a record; None where one is not known, or is no moment."""
    try:
        one, other = (datetime.fromisoformat((moment or "").replace("Z", "+00:00")) for moment in (begin, end))
        seconds = int((other - one).total_seconds())
    except (ValueError, TypeError):
        return None
    return seconds if seconds >= 0 else None

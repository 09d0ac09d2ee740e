"""The points of sweeps: matched by their parameters, or as the seeds that one run is held against. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tfslurm.record.comparison.answers import Answer, Comparison, Run
from tfslurm.record.comparison.seeds import other_parameters, seeds_of, text_of
from tfslurm.record.model import Record

Key = tuple[tuple[str, str], ...]


class Matched(NamedTuple):
    """Points with the same parameters in pairs, and those that only one side has."""

    pairs: tuple[tuple[Run, Run], ...]
    only_in_a: tuple[Run, ...]
    only_in_b: tuple[Run, ...]


def key_of(record: Record) -> Key:
    """The parameters of a point."""
    return tuple(sorted((name, text_of(value)) for name, value in record.experiment.parameters.items()))


def matched(a: Sequence[Run], b: Sequence[Run]) -> Matched:
    """The points of two sweeps; where one has a point twice, its last run counts."""
    one, other = ({key_of(run.record): run for run in runs} for runs in (a, b))
    pairs = tuple((one[key], other[key]) for key in one if key in other)
    only_a, only_b = (
        tuple(mine[key] for key in mine if key not in others) for mine, others in ((one, other), (other, one))
    )
    return Matched(pairs, only_a, only_b)


def seeds_beside(group: Sequence[Run], run: Run) -> list[Run]:
    """The runs of a sweep that differ from one by their seeds alone, each seed once."""
    same = [each for each in group if other_parameters(each.record) == other_parameters(run.record)]
    return list({tuple(sorted(seeds_of(each.record).items())): each for each in same}.values())


def with_its_seed(group: Sequence[Run], run: Run) -> Run | None:
    """The one among them that has the same seed."""
    return next((each for each in group if seeds_of(each.record) == seeds_of(run.record)), None)


def counts(answers: Sequence[str]) -> str:
    """How often each answer was given: ``3 identical, 1 other image``; without a number where all are the same."""
    found = Counter(answers)
    return next(iter(found)) if len(found) == 1 else ", ".join(f"{n} {answer}" for answer, n in found.most_common())


def environment_text(answer: Answer) -> str:
    """The answer about the environment in words: ``same image, other: driver, GPU``."""
    names = ", ".join(answer.differs or tuple(name for name, _ in answer.unknown))
    if answer.differs:
        return f"{answer.answer}, other: {names}"
    return f"{answer.answer}: {names}" if names else answer.answer


def inputs_text(answer: Answer) -> str:
    """The answer about the inputs in words: ``code differs, parameters differ``."""
    if answer.differs:
        return ", ".join(f"{name} differ{'' if name.endswith('s') else 's'}" for name in answer.differs)
    names = ", ".join(name for name, _ in answer.unknown)
    return f"{answer.answer}: {names}" if names else answer.answer


def agreement(compared: Sequence[Comparison], unmatched: int) -> bool | None:
    """Whether the results of all points agree; None: not of all can that be said, and none is known not to."""
    found = {each.results.agree for each in compared}
    if False in found:
        return False
    return None if None in found or unmatched or not compared else True

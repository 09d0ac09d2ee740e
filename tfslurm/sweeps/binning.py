"""The levels of a factor, as a comparison of groups wants them: few, each with several points."""

from __future__ import annotations

from collections.abc import Sequence

from tfslurm.sweeps.values import Scalar

MOST_LEVELS = 12
_GROUPS = 4


def levels_of(values: Sequence[Scalar]) -> list[str] | None:
    """The level of each value. Numbers with many values, or few of them twice, are cut into up to four groups of equal
    size by rank; texts like that have no levels: None, for one point each says nothing."""
    distinct = list(dict.fromkeys((type(value) is bool, value) for value in values))
    if len(distinct) <= MOST_LEVELS and len(distinct) * 2 <= len(values):
        return [str(value) for value in values]
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    groups = min(_GROUPS, len(values) // 2)
    if len(numbers) < len(values) or groups < 2:
        return None
    ranked = sorted(set(numbers))
    rank = {value: number for number, value in enumerate(ranked)}
    groups = min(groups, len(ranked))
    bounds = [ranked[-(-number * len(ranked) // groups)] for number in range(groups)] + [ranked[-1]]
    labels = [f"{bounds[number]} to {bounds[number + 1]}" for number in range(groups)]
    return [labels[rank[value] * groups // len(ranked)] for value in numbers]

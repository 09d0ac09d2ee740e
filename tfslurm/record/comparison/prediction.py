"""The prediction interval for one more run, from the runs of a sweep that differ by their seeds alone. Pure.

For a normal sample of N values the next one lies within ``mean ± t(.975, N-1) · s · sqrt(1 + 1/N)`` in 95 of 100 cases.
Student's distribution with a whole number of degrees of freedom is a finite sum. Source: Abramowitz and Stegun, 26.7.3,
26.7.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import atan, cos, isfinite, pi, sin, sqrt
from statistics import mean, stdev

from tfslurm.record.comparison.answers import Interval

FEWEST = 5
"Of fewer seeds the interval is too wide to say anything: 3 give 5.0 standard deviations to each side, 5 give 3.0."


def interval(values: Sequence[float]) -> Interval | None:
    """The interval; None of fewer values than FEWEST, or where it is beyond what a number holds.

    Mean and deviation are those of the exact decimals, so that equal values have a deviation of 0.
    """
    count = len(values)
    if count < FEWEST:
        return None
    try:
        middle, deviation = mean(values), stdev(values)
        half = quantile(count - 1) * deviation * sqrt(1 + 1 / count)
    except OverflowError:
        return None
    low, high = middle - half, middle + half
    return Interval(count, middle, deviation, low, high) if isfinite(low) and isfinite(high) else None


@lru_cache
def quantile(degrees: int) -> float:
    """The number that Student's t is within of 0 with a probability of .95."""
    low, high = 0.0, 16.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, degrees) < 0.95 else (low, middle)
    return (low + high) / 2


def within(t: float, degrees: int) -> float:
    """The probability that Student's t is at most so far from 0."""
    angle = atan(t / sqrt(degrees))
    square, is_odd = cos(angle) ** 2, degrees % 2
    term, total = (cos(angle) if is_odd else 1.0), 0.0
    for step in range(2 + is_odd, degrees + 1, 2):
        total += term
        term *= square * (step - 1) / step
    return 2 / pi * (angle + sin(angle) * total) if is_odd else sin(angle) * total

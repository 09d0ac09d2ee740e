"""The values of one axis, by their number: listed, counted through a range, or drawn. Nothing is held but the rule.

A draw is a function of (seed, parameter, number) alone, so it is the same on every machine and in every version:
SHA-256 of `tfslurm.draw/1 SEED PARAMETER NUMBER` (UTF-8) is taken as a whole number below 2**256, big end first.
Neither the random module, whose algorithms belong to a version of Python, nor the platform's logarithm is used.
Source: FIPS 180-4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from tfslurm.document import Refused, show

Scalar = str | int | float | bool

_ALL = 1 << 256
_EXACT = Context(prec=40)  # its ln and exp are correctly rounded. Source: General Decimal Arithmetic 1.70, exp and ln


@dataclass(frozen=True, slots=True)
class Values:
    """``count`` values; ``at(0)`` is the first. The count of a range may be larger than what can be held."""

    count: int
    at: Callable[[int], Scalar]


def values_of(axis: Any) -> Values:
    """The values of a list, or of ``{range: [first, end, step]}``, in the order that they were written.

    Raises:
        Refused: a range without a value, or with a step of 0.
    """
    if isinstance(axis, Mapping):
        return _range(axis["range"])
    listed: Sequence[Scalar] = axis
    return Values(len(listed), listed.__getitem__)


def _range(given: Sequence[int | float]) -> Values:
    """Ends before ``end``, as Python's. Whole numbers if all three are; else each value is the nearest to the exact
    decimal ``first + number * step``, so that nothing drifts: 0.1, 0.2, 0.3."""
    first, end, step = (0, given[0], 1) if len(given) == 1 else (given[0], given[1], given[2] if given[2:] else 1)
    start, stride = _fraction(first), _fraction(step)
    if not stride:
        raise Refused(f"the range {show(list(given))} has a step of 0", "write a step above or below 0")
    count = max(0, -((start - _fraction(end)) // stride))
    if not count:
        fix = "write [first, end] with the end after the first; the end itself is left out"
        raise Refused(f"the range {show(list(given))} holds no value", fix)
    if all(isinstance(number, int) for number in given):
        return Values(count, lambda number: int(first + number * step))
    return Values(count, lambda number: float(start + number * stride))


def _fraction(number: int | float) -> Fraction:
    """The decimal number that was meant: 1/10 for 0.1."""
    return Fraction(Decimal(repr(number)))


def drawn_from(name: str, distribution: Mapping[str, Any], samples: int, seed: int) -> Values:
    """The ``samples`` values that a parameter's distribution gives.

    Raises:
        Refused: bounds that hold nothing.
    """
    ((kind, given),) = distribution.items()
    if kind == "choice":
        return Values(samples, lambda number: given[_whole(len(given), seed, name, number)])
    low, high = given
    _refuse_bounds(kind, low, high)
    if kind == "int":
        return Values(samples, lambda number: int(low + _whole(high - low + 1, seed, name, number)))
    draw = _between if kind == "uniform" else _between_logarithms
    return Values(samples, lambda number: draw(low, high, Fraction(_drawn(seed, name, number), _ALL)))


def _refuse_bounds(kind: str, low: int | float, high: int | float) -> None:
    shown = f"{kind}: [{show(low)}, {show(high)}]"
    if kind == "int" and not (isinstance(low, int) and isinstance(high, int)):
        raise Refused(f"{shown} draws whole numbers", "write whole numbers, or use uniform")
    if not (low <= high if kind == "int" else low < high):
        raise Refused(f"{shown} holds no value: the first number is the lower bound", "write [lower, higher]")
    if kind == "log_uniform" and low <= 0:
        raise Refused(f"{shown} has no logarithm at {show(low)}", "write a lower bound above 0, or use uniform")


def _drawn(seed: int, name: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"tfslurm.draw/1 {seed} {name} {number}".encode()).digest(), "big")


def _whole(count: int, seed: int, name: str, number: int) -> int:
    """One of 0 … count-1."""
    return _drawn(seed, name, number) * count // _ALL


def _between(low: int | float, high: int | float, share: Fraction) -> float:
    return float(_fraction(low) + (_fraction(high) - _fraction(low)) * share)


def _between_logarithms(low: int | float, high: int | float, share: Fraction) -> float:
    part = _EXACT.divide(Decimal(share.numerator), Decimal(share.denominator))
    bottom, top = (_EXACT.ln(Decimal(repr(bound))) for bound in (low, high))
    return float(_EXACT.exp(_EXACT.fma(_EXACT.subtract(top, bottom), part, bottom)))

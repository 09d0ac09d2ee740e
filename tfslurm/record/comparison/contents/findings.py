"""What the comparison of two contents found: how many values there are, how many differ, and by how much. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import copysign, inf
from typing import Any, Literal, NamedTuple

Answer = Literal["same", "within", "differs", "unread"]
NAMED = 3
"Values that differ are named so often."
LONGEST = 120
"Characters of the name of a value in a line of evidence."


class Tolerance(NamedTuple):
    """How far two numbers may be apart: by ``absolute``, or by ``relative`` times the larger of the two."""

    absolute: float = 0.0
    relative: float = 0.0


EXACT = Tolerance()


class Content(NamedTuple):
    """How two contents compare.

    ``answer`` is 'same' (the values are), 'within' the tolerance, 'differs', or 'unread': they cannot be compared.
    ``rule`` says by what they were compared, ``why`` what was found. ``max_abs`` and ``max_rel`` are the largest
    differences of two numbers; None: no number differs.
    """

    answer: Answer
    rule: str
    why: str = ""
    max_abs: float | None = None
    max_rel: float | None = None


@dataclass(slots=True)
class Tally:
    """Counts values that are held beside each other."""

    tolerance: Tolerance = EXACT
    compared: int = 0
    differing: int = 0
    max_abs: float | None = None
    max_rel: float | None = None
    named: list[str] = field(default_factory=list)
    is_beyond: bool = False  # one of them is out of the tolerance, or none applies to it

    def numbers(self, name: str, a: Sequence[float], b: Sequence[float]) -> None:
        """Numbers that stand at the same places, as many on both sides. NaN is equal to NaN, and 0.0 is not -0.0."""
        self.compared += len(a)
        absolute, relative = self.tolerance
        differing, max_abs, max_rel, beyond = 0, self.max_abs or 0.0, self.max_rel or 0.0, False
        is_exact = self.tolerance == EXACT
        for one, other in zip(a, b, strict=True):  # of millions, so nothing is called that need not be
            if one == other:
                if one or copysign(1.0, one) == copysign(1.0, other):
                    continue
            elif one != one and other != other:  # NaN
                continue
            off = abs(one - other)
            if not off < inf:  # infinite, or NaN in one of them
                off = part = inf
            else:
                part = off and off / max(abs(one), abs(other))
            if not differing:
                self.name(name, one, other)
            differing += 1
            max_abs = off if off > max_abs else max_abs
            max_rel = part if part > max_rel else max_rel
            beyond = beyond or is_exact or off == inf or (off > absolute and part > relative)
        if differing:
            self.differing += differing
            self.max_abs, self.max_rel, self.is_beyond = max_abs, max_rel, self.is_beyond or beyond

    def name(self, name: str, one: float, other: float) -> None:
        """Names two numbers that differ, the first ones of each array."""
        shown = name[:LONGEST] or "the value"
        if len(self.named) < NAMED and not any(each.startswith(f"{shown}: ") for each in self.named):
            self.named.append(f"{shown}: {one!r} / {other!r}")

    def unlike(self, name: str, how: str) -> None:
        """A value that differs in another way than a number does: no tolerance applies to it."""
        self.compared += 1
        self.differing += 1
        self.is_beyond = True
        if len(self.named) < NAMED:
            self.named.append(f"{name[:LONGEST] or 'the value'}: {how}"[: 2 * LONGEST])

    def only_in_one(self, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
        """Notes the names that only one side has; those of both, sorted."""
        for name in sorted(a.keys() ^ b.keys()):
            self.unlike(name, f"only in {'A' if name in a else 'B'}")
        return sorted(a.keys() & b.keys())

    def take(self, other: Tally) -> None:
        """Adds what another found."""
        self.compared += other.compared
        self.differing += other.differing
        self.named = [*self.named, *other.named][:NAMED]
        self.is_beyond = self.is_beyond or other.is_beyond
        for name in ("max_abs", "max_rel"):
            seen = [each for each in (getattr(self, name), getattr(other, name)) if each is not None]
            setattr(self, name, max(seen, default=None))

    def content(self, rule: str, apart: str) -> Content:
        """The answer; ``apart`` says where equal values leave the bytes to differ."""
        if not self.differing:
            return Content("same", rule, apart)
        shown = "; ".join(self.named)
        more = "" if self.differing == 1 else f"; {self.differing} of {self.compared} values differ"
        if self.max_abs is not None:
            more += f", by at most {self.max_abs:.6g} (relative: {self.max_rel:.3g})"
        within: Answer = "differs" if self.is_beyond else "within"
        return Content(within, rule, shown + more, self.max_abs, self.max_rel)

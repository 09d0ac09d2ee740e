"""One fact about a cluster. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Status = Literal["ok", "warn", "FAIL", "unknown"]


@dataclass(frozen=True, slots=True)
class Fact:
    """``fact`` is its name; ``do`` what to do about it, '' where there is nothing to do.

    warn: works, but not as one would think, or not as well; FAIL: a job would not work; unknown: it could not be
    observed, and ``value`` says why.
    """

    fact: str
    status: Status
    value: str
    do: str = ""

    def of(self, place: str) -> Fact:
        """The same fact of one of several places: ``gpu/driver``."""
        return replace(self, fact=f"{place}/{self.fact}")


def unknown(names: Iterable[str], why: str, do: str = "") -> list[Fact]:
    """Facts that could not be observed, all for the same reason."""
    return [Fact(name, "unknown", why, do) for name in names]


def failed(facts: Iterable[Fact]) -> bool:
    """Whether one of the facts keeps jobs from working."""
    return any(fact.status == "FAIL" for fact in facts)


def one_line(text: str, limit: int = 300) -> str:
    """The words of a program as one line of a readable length."""
    words = " ".join(text[: 20 * limit].split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version: (20, 10) of 20.10.24+dfsg1."""
    return tuple(int(part) for part in re.findall(r"[0-9]{1,9}", version)[:2])


def gib(mib: int) -> str:
    """A size for a reader: 900 MiB, 41 GiB, 3.1 TiB."""
    if mib < 1024:
        return f"{mib} MiB"
    return f"{mib // 1024} GiB" if mib < 1024**2 else f"{mib / 1024**2:.1f} TiB"

"""One thing that a rerun cannot have in the same way. A value alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tfslurm.errors import InputError, Problem, TfslurmError

YOURS = ("account", "data", "partition", "qos", "secret")
"The first words of what the user can set right; anything else is the place's."


class Loss(NamedTuple):
    """``what`` it is, ``asked``: how the original had it, ``here``: how it is at the place of the rerun.

    ``stops``: the rerun does not start with it. ``fix``: what to do about it; '': nothing.
    """

    what: str
    asked: str
    here: str
    stops: bool = False
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.asked} / {self.here}" + (f"; {self.fix}" if self.fix else "")


def refuse_stops(name: str, losses: Iterable[Loss]) -> None:
    """End a rerun that cannot start as it is.

    Raises:
        InputError: one of the losses that stop is for the user to set right.
        TfslurmError: none is: the place does not have what the job needs.
    """
    stops = [loss for loss in losses if loss.stops]
    if any(loss.what.partition(" ")[0] in YOURS for loss in stops):
        raise InputError(
            [Problem(name, 0, loss.what, f"was {loss.asked}, here: {loss.here}", loss.fix) for loss in stops]
        )
    if stops:
        raise TfslurmError("\n".join(f"{name}: {loss}" for loss in stops))

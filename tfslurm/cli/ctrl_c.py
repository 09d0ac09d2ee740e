"""What a command that follows jobs says at Ctrl-C: which of them go on, and how to come back to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from tfslurm.cli.console import say
from tfslurm.errors import TfslurmError
from tfslurm.monitoring.wait import sent_of
from tfslurm.tracker import Tracker

FEW = 5
"Names in a line."


@contextmanager
def goes_on(tracker: Tracker, names: Sequence[str], command: str) -> Iterator[None]:
    """At Ctrl-C within this, say which of the jobs go on and how to come back to them.

    Raises:
        Abort: Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        say("")
        going = [name for name in names if is_going(tracker, name)]
        if going:
            verb = "goes" if len(going) == 1 else "go"
            subject = ", ".join(going) if len(going) <= FEW else f"{len(going)} jobs"
            words = " ".join(going)
            say(f"{subject} {verb} on; `tfslurm {command} {words}`, `tfslurm cancel {words}`")
        raise click.Abort from None


def is_going(tracker: Tracker, name: str) -> bool:
    """Whether a job of this name has not ended, as far as is known here."""
    try:
        return any(not job.final for job in sent_of(tracker, name))
    except TfslurmError:
        return False

"""What a rerun cannot have as the original had it, found before anything starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from tfslurm.reruns.original import Original
from tfslurm.workspace.config import Known


class Loss(NamedTuple):
    """One thing that is not to be had the same way; ``stops``: without it nothing is started."""

    what: str
    asked: str
    here: str
    stops: bool
    fix: str


def losses(original: Original, known: Known) -> Iterator[Loss]:
    """What is not to be had on a cluster, or on this machine."""
    asked = original.record.asked
    for name in asked.secrets if asked else ():
        if not os.environ.get(name):
            yield Loss(f"secret {name}", "set", "not set in this shell", True, f"export {name}=…")

"""The one session of a process that uses tfslurm from Python, and the logger of its messages."""

from __future__ import annotations

import atexit
import logging
import os
from functools import cache

from tfslurm.document.tree import printable
from tfslurm.workspace.session import Session

LOG = logging.getLogger("tfslurm")


def session() -> Session:
    """The one session of this process: one that was forked neither speaks on its parent's lines nor ends them."""
    return session_of(os.getpid())


@cache
def session_of(process: int) -> Session:
    """The session of a process."""
    made = Session(lambda *lines: LOG.info("%s", "\n".join(map(printable, lines))), LOG.debug)
    atexit.register(made.__exit__, None, None, None)
    return made

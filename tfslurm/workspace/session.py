"""One command, from its beginning to its end: how it speaks, its tracker, and the connections that it keeps open."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from threading import Lock
from types import TracebackType
from typing import TypeVar

from tfslurm.host import Host, open_host
from tfslurm.tracker import Tracker
from tfslurm.workspace.config import Known, has_tracker
from tfslurm.workspace.folders import tracker_file

T = TypeVar("T")
Say = Callable[..., None]
"Called with the lines of a message."


def refuse_all(question: str) -> bool:
    """The answer where nobody can be asked."""
    return False


class Session:
    """A context manager: each cluster is logged in to once, when it is first reached, and left when the block ends.

    ``say`` is called with messages and progress, ``trace`` with each command line that is run on a cluster (None:
    nobody wants to see them), ``agree`` with a question that stands before what cannot be taken back.
    """

    def __init__(
        self, say: Say, trace: Callable[[str], None] | None = None, agree: Callable[[str], bool] = refuse_all
    ) -> None:
        self.say, self.trace, self.agree = say, trace, agree
        self._open, self._process = ExitStack(), os.getpid()
        self._hosts: dict[tuple[str, str], Host] = {}
        self._locks: dict[tuple[str, str], Lock] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() == self._process:  # a process that was forked within it ends nothing of its parent's
            self._open.close()

    @cached_property
    def tracker(self) -> Tracker:
        """The index of jobs and records, for the thread that asks first."""
        return Tracker(tracker_file())

    @property
    def has_tracker(self) -> bool:
        """Whether there is one already; to ask for it makes one."""
        return "tracker" in vars(self) or has_tracker()

    def keep(self, thing: AbstractContextManager[T]) -> T:
        """Enter a context, such as a folder of this command's own, that is left when the command ends."""
        return self._open.enter_context(thing)

    def reach(self, known: Known) -> Host:
        """The connection to a cluster. A host takes up a line that was lost by itself; one that could not be reached is
        tried again at the next call. Any thread may ask.

        Raises:
            HostError: the cluster cannot be reached, or does not let the user in.
        """
        place = known.cluster.name, known.text
        with self._locks.setdefault(place, Lock()):
            if place not in self._hosts:
                self._hosts[place] = self._open.enter_context(open_host(known.cluster, trace=self.trace))
            return self._hosts[place]

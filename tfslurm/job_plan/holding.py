"""The words that stand for a program in plans whose program is typed by hand: of a shell, and of a service. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

HOLD = "tfslurm-hold"
"entry.sh in the container knows it, in front of the words of the command, if there is one."
SERVICE = "/run/tfslurm-service.py"
"Where job_templates/inside/service.py is in the container."

LONGEST_KEPT_S = 7 * 86400
"The container of a program that failed is kept no longer."


class Service(NamedTuple):
    """A job that is a service: what listens there (``jupyter``), and after how long without use it ends (0: never).

    ``words`` are for its program: of ``tensorboard`` one for each run.
    """

    kind: str
    idle_after_s: int
    words: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the program."""
        return ("python3", SERVICE, self.kind, str(self.idle_after_s), *self.words)


def service_in(command: Sequence[str]) -> Service | None:
    """The service that a plan's command is; None: it is another program."""
    if SERVICE not in command:
        return None
    kind, idle, *words = [*command[command.index(SERVICE) + 1 :], "", ""]
    idle_s = int(idle) if re.fullmatch("[0-9]{1,12}", idle) else 0
    return Service(kind, idle_s, tuple(words[:-2])) if kind else None

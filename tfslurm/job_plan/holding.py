"""The words that stand for a program in plans whose program is typed by hand: of a shell, and of a service. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from tfslurm.document.bounded_json import read_json

HOLD = "tfslurm-hold"
"entry.sh in the container knows it, in front of the words of the command, if there is one."
SERVICE = "/run/tfslurm-service.py"
"Where job_templates/inside/service.py is in the container."
LONGEST = 2**16
"Bytes of a word that says which model is served."

LONGEST_KEPT_S = 7 * 86400
"The container of a program that failed is kept no longer."


class Service(NamedTuple):
    """A job that is a service: what listens there (``jupyter``), and after how long without use it ends (0: never).

    ``words`` are for its program: of ``tensorboard`` one for each run, of ``serve`` one, which says which model it is.
    """

    kind: str
    idle_after_s: int
    words: tuple[str, ...] = ()

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the program."""
        return ("python3", SERVICE, self.kind, str(self.idle_after_s), *self.words)


class Served(NamedTuple):
    """The model that a service answers for: where a run left it, and what it is.

    ``sha256`` is the file's; of a folder that of a line ``SHA256  PATH`` for each file, sorted by the paths' bytes.
    """

    name: str
    version: int
    run: str
    path: str
    files: int
    bytes: int
    sha256: str

    @property
    def word(self) -> str:
        """As model_server.py reads it."""
        return json.dumps(self._asdict())


def served_by(service: Service) -> Served | None:
    """The model that a service answers for; None: it is for something else."""
    if service.kind != "serve" or not service.words:
        return None
    try:
        return Served(**read_json(service.words[0].encode("utf-8", "replace"), most=LONGEST))
    except (TypeError, ValueError):
        return None


def service_in(command: Sequence[str]) -> Service | None:
    """The service that a plan's command is; None: it is another program."""
    if SERVICE not in command:
        return None
    kind, idle, *words = [*command[command.index(SERVICE) + 1 :], "", ""]
    idle_s = int(idle) if re.fullmatch("[0-9]{1,12}", idle) else 0
    return Service(kind, idle_s, tuple(words[:-2])) if kind else None

"""Who may change what a job will run: the folders that hold it are the user's alone, and those above them too."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import NamedTuple

from tfslurm.errors import CommandFailed, Completed
from tfslurm.host.protocol import Host
from tfslurm.remote_programs import program


class Sharing(NamedTuple):
    """The cluster file on other people, as the programs take it: the group that may read what runs leave, and `accept`
    where folders are accepted in which others can replace it; '' for neither."""

    group: str = ""
    accept: str = ""


ALONE = Sharing()


class SharedFolder(NamedTuple):
    """A folder on the way to a root in which somebody else can replace what lies there."""

    folder: str
    mode: str
    uid: str


def shared_above(host: Host, root: PurePosixPath) -> tuple[SharedFolder, ...]:
    """The folders above ``root`` in which others can replace what lies there; () where only the user and root can.

    Raises:
        CommandFailed: the machine does not say.
        HostError: it cannot be reached.
    """
    done = host.run(program("shared-above", str(root)))
    if done.exit_code:
        raise CommandFailed(Completed(("look above", str(root)), done.exit_code, "", done.stderr, done.host))
    rows = (line.split(" ", 3) for line in done.stdout.splitlines() if line)
    return tuple(SharedFolder(row[3], row[0], row[1]) for row in rows if len(row) == 4)

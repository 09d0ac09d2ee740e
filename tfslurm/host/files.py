"""Files on a machine, as tar streams through one command each: they arrive whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tfslurm.host.protocol import Host


@dataclass(frozen=True, slots=True)
class File:
    """What a file holds and its permission bits."""

    content: bytes
    mode: int = 0o644


def put(host: Host, folder: PurePosixPath, files: Mapping[str, File], *, mode: int = 0o700) -> None:
    """Write a new folder with these files, whole or not at all.

    Keys are relative names (``secrets/WANDB_API_KEY``); folders below get ``mode`` too. Missing parents are made.

    Raises:
        CommandFailed: the folder exists already, or the machine refused (permissions, quota, no space).
        HostError: the machine could not be reached; nothing was written.
    """
    raise NotImplementedError


def put_tree(host: Host, folder: PurePosixPath, *, files: int, bytes: int, stream: Iterable[bytes]) -> bool:
    """Write a code snapshot once: True where it was sent, False where the folder was there already.

    ``put_tree(host, plan.code_dir, files=snapshot.files, bytes=snapshot.bytes, stream=snapshot.stream())``. The tree is
    checked on the far side against the snapshot's SHA-256 list before it appears, and nobody can write in it after.

    Raises:
        CommandFailed: the machine refused, or other bytes arrived than were sent.
        HostError: the folder is there but not whole (a purge of old files), or the machine could not be reached.
    """
    raise NotImplementedError


def get(
    host: Host, folder: PurePosixPath, *, exclude: Sequence[str] = (), max_bytes: int = 64 * 2**20
) -> Mapping[str, bytes]:
    """Return the regular files below a folder, relative name -> content; nothing where the folder does not exist.

    ``exclude`` are shell patterns against the whole relative name (``*`` crosses ``/``; a folder takes all below along):
    ``("*/out", "secrets")``. Files that grow while they are read are kept as far as they were read.

    Raises:
        HostError: the files together hold more than ``max_bytes``.
        CommandFailed: a file could not be read.
    """
    raise NotImplementedError


def read_from(host: Host, path: PurePosixPath, offset: int, max_bytes: int = 2**20) -> bytes:
    """Return at most ``max_bytes`` of a file from byte ``offset`` on; empty at its end or where it does not exist."""
    raise NotImplementedError

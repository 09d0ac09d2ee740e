"""The wheels that `pip` asks for, locked with their hashes before anything is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tfslurm.image import BuildLock, PackageLock, Pin
from tfslurm.packages.wheels import WheelFiles
from tfslurm.submission.build_inputs import named_pip, of_build
from tfslurm.submission.packages import resolve_packages
from tfslurm.submission.prepare import Asked
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session


class Locked(NamedTuple):
    """The lock of the wheels, None where there are none; and the file of each by its name."""

    lock: PackageLock | None
    wheels: Mapping[str, Path]


def locked(
    session: Session, asked: Asked, lines: Sequence[str], base: Pin, clusters: Sequence[Known], before: BuildLock | None
) -> Locked:
    """The wheels for the base, of the requirements ``lines``; those of the last build, where both are the same.

    Raises:
        InputError: a requirement cannot be met.
        TfslurmError: the base, an index or a program did not answer.
    """
    if not lines:
        return Locked(None, {})
    lock = before.packages if before and sorted(before.pip) == sorted(lines) else None
    if lock is None or lock.image != base.digest:
        with named_pip():
            lock = resolve_packages(session, of_build(asked.experiment), asked.file, base, clusters)
    return Locked(lock, WheelFiles(lock))

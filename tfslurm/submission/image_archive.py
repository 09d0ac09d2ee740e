"""The archive of an image that goes with a job whose registry may be gone: once to each cluster, by its sha256."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tfslurm.errors import CommandFailed, Completed
from tfslurm.handoff.protocol import sharing
from tfslurm.host import Host
from tfslurm.host.files import patience_s
from tfslurm.image import Pin
from tfslurm.job_plan import JobPlan
from tfslurm.remote_programs import program


class ImageArchive(NamedTuple):
    """An archive whose every byte was compared with a pinned digest.

    ``pin`` has what the image itself says; ``sha256`` and ``size_bytes`` are of the bytes that ``stream`` gives.
    """

    pin: Pin
    sha256: str
    size_bytes: int
    stream: Callable[[], Iterator[bytes]]


def send_archive(archive: ImageArchive, plan: JobPlan, host: Host) -> None:
    """Put it below ROOT/images, where the nodes find it; one that is there already, and whole, stays.

    Raises:
        CommandFailed: the machine refused (no space), or other bytes arrived: the file was changed after it was read.
        HostError: the machine could not be reached.
    """
    argv = program("put-image", str(plan.images_dir), archive.sha256, *sharing(plan))
    done = host.run(argv, input=archive.stream(), timeout_s=patience_s(archive.size_bytes))
    if done.exit_code:
        what = ("write", str(plan.images_dir / f"{archive.sha256}.tar"))
        raise CommandFailed(Completed(what, done.exit_code, "", done.stderr, done.host))

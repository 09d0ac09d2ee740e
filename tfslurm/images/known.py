"""What is known of an image, by what its config and our records say, and by the names of official images. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tfslurm.image import Pin
from tfslurm.image.driver import names_cuda
from tfslurm.registry.documents import Details
from tfslurm.submission.preflight import sees_no_gpu
from tfslurm.workspace.known_images import known_images

UBUNTU = ("org.opencontainers.image.ref.name", "org.opencontainers.image.version")
"The labels by which Ubuntu's base images say what they are; what is built on them keeps these."


def known_of(pin: Pin, details: Details, inside: Mapping[str, Any], month: str) -> Iterator[str]:
    """What a user should know before a job, each as ``what; what to do``.

    ``inside``: see Tracker.image. ``month``: as ``2026-11``.
    """
    if why := sees_no_gpu(pin, inside):
        yield why
    if is_jupyter(details):
        how = "as root" if details.user in ("", "0", "root") else f"as {details.user}"
        yield f"its own command starts Jupyter, {how}; a job gives its own command, and the plain variant is smaller"
    if not names_cuda(details.environment):
        yield "its variables name no CUDA: on a GPU TensorFlow may run on the CPU; the -gpu variants name it"
    if end := ubuntu_end(details.labels, month):
        yield end


def is_jupyter(details: Details) -> bool:
    """Whether the image starts Jupyter where a job gives no command."""
    return any("jupyter" in word for word in (*details.entrypoint, *details.command))


def ubuntu_end(labels: Mapping[str, str], month: str) -> str:
    """That the Ubuntu in the image gets no security updates any more; '' where it does, or is not known."""
    name, version = (labels.get(label, "") for label in UBUNTU)
    end = known_images().ubuntu_ends.get(version, "") if name == "ubuntu" else ""
    if not end or end >= month:
        return ""
    return f"its Ubuntu {version} has had no standard security updates since {end}; use a newer TensorFlow's image"

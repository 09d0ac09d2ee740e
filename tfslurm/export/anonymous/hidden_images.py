"""The images whose names tell who used them: the run's own, and the base that it was built on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tfslurm.record import Record


def hidden_images(record: Record, publishers: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Registry and repository of each image that is by none of these publishers."""
    image, made = record.image, record.asked.build if record.asked else None
    names = [] if image.digest_kind == "config" else [f"{image.registry}/{image.repository}"]
    if image.digest_kind == "config":
        yield image.registry, image.repository
    for name in [*names, *([made.base.name] if made else [])]:
        if not any(name.startswith(prefix) for prefix in publishers):
            registry, _, repository = name.partition("/")
            yield registry, repository

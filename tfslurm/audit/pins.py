"""The pin that a record holds."""

from __future__ import annotations

from functools import lru_cache

from tfslurm.errors import InputError
from tfslurm.image import Pin, parse_lock
from tfslurm.record import Record
from tfslurm.record.model import Image


def pin_in(record: Record) -> Pin:
    """The pin by the lock file's text in the record; in an older record, or where the two differ, by its image."""
    if record.asked:
        try:
            found = of_lock(record.asked.lock)
        except InputError:
            return of_image(record.image)
        if found.digest == record.image.digest:
            return found
    return of_image(record.image)


@lru_cache(maxsize=256)
def of_lock(text: str) -> Pin:
    """The pin in the text of a lock file.

    Raises:
        InputError: it holds none.
    """
    return parse_lock(text, "the lock file in the record")


def of_image(image: Image) -> Pin:
    """The same of what an older record says."""
    return Pin(
        reference=image.reference,
        registry=image.registry,
        repository=image.repository,
        tag=image.tag or "",
        digest=image.digest,
        digest_kind=image.digest_kind,
        pin_kind="image-id" if image.digest_kind == "config" else "registry",
        platform=image.platform or "linux/amd64",
        manifest_digest="",
        config_digest=image.config_digest or "",
        size_bytes=0,
        media_type="",
        created="",
        served_by=image.served_by or "",
        pinned_at=image.pinned_at or "",
        entrypoint=(),
        environment={},
    )

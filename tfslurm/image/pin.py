"""A pin: the tag that was asked for, the digest it stood for, and the lock file that keeps the two together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LOCK_SCHEMA = "tfslurm.lock/1"


@dataclass(frozen=True, slots=True)
class Pin:
    """An image held fast. Every field is a JSON value; ``""`` and ``None`` say that it was not there to observe.

    reference        as typed in the experiment
    registry, repository, tag
                     read from it, with docker's defaults; ``tag`` is empty when only a digest was typed
    digest           what is run: ``sha256:<64 hex>``
    digest_kind      index | manifest | config
    pin_kind         registry | image-id (the image is only on one docker daemon; its id is the pin)
    platform         os/architecture[/variant], such as linux/amd64
    manifest_digest  the manifest of that platform (equal to ``digest`` for a single-platform image); empty: not known
    config_digest    the config that manifest names; empty: not known
    size_bytes       layers and config as they travel (compressed); for image-id pins, unpacked as docker counts them
    media_type       of the document that ``digest`` names; empty: not known
    created          RFC 3339, as the image says of itself; empty: it does not say
    served_by        registry/repository that answered, or ``docker daemon NAME``
    pinned_at        RFC 3339, UTC
    entrypoint       of the image; empty: it has none
    environment      the variables of the image that matter to a run (``kept_environment``)
    """

    reference: str
    registry: str
    repository: str
    tag: str
    digest: str
    digest_kind: str
    pin_kind: str
    platform: str
    manifest_digest: str
    config_digest: str
    size_bytes: int
    media_type: str
    created: str
    served_by: str
    pinned_at: str
    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]

    @property
    def name(self) -> str:
        """``registry/repository``."""
        return f"{self.registry}/{self.repository}"


def pin_to_json(pin: Pin) -> dict[str, object]:
    """The pin as a JSON object with exactly its fields."""
    raise NotImplementedError


def pin_from_json(value: Mapping[str, object]) -> Pin:
    """The pin that ``pin_to_json`` wrote. Raises ValueError when the object is not one."""
    raise NotImplementedError


def lock_text(pin: Pin) -> str:
    """The text of EXP.lock.yaml."""
    raise NotImplementedError


def parse_lock(text: str, file: str, image: str = "") -> Pin:
    """The pin that a lock file holds; ``image`` is what the experiment names, and must be what was pinned.

    Raises InputError with every problem and its line.
    """
    raise NotImplementedError


def mirror_names(name: str, mirrors: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Where ``registry/repository`` may be found: its mirrors in order, then itself."""
    raise NotImplementedError


def sources(pin: Pin, mirrors: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What a node may pull, in order: ``name@sha256:…``; for image-id pins only ``sha256:…``."""
    raise NotImplementedError


def kept_environment(entries: Sequence[str]) -> dict[str, str]:
    """The variables of an image's config (``NAME=value``) that say which CUDA, TensorFlow and Python it runs."""
    raise NotImplementedError

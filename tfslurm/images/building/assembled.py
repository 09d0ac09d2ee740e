"""From the archive that an engine saved to the image as it is pushed: new layers, config and manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import TfslurmError
from tfslurm.image import Pin
from tfslurm.image.build_lock import DebianPackage
from tfslurm.images.building.layers import Archive, NewLayer, added, opened, relaid
from tfslurm.images.building.result import (
    Built,
    Step,
    annotations_of,
    config_of,
    diff_ids,
    is_noise,
    manifest_of,
    new_steps,
)
from tfslurm.registry.documents import Blob, read_details
from tfslurm.registry.image_source import Contents, ImageSource


class BaseImage(NamedTuple):
    """The base as its registry serves it: its pin, its documents, its config, and the user that it runs as."""

    pin: Pin
    contents: Contents
    config: Mapping[str, Any]
    user: str

    @property
    def layers(self) -> list[tuple[Blob, str]]:
        """Each layer with its media type."""
        kinds = [str(each.get("mediaType")) for each in self.contents.manifest.value["layers"]]  # type: ignore[attr-defined]
        return list(zip(self.contents.blobs[1:], kinds, strict=True))


class Assembled(NamedTuple):
    """The image that is pushed: its documents, its new layers, and the packages that apt brought."""

    built: Built
    layers: tuple[NewLayer, ...]
    apt: tuple[DebianPackage, ...]


class Origin(NamedTuple):
    """What the image says of itself beside its base: the time, the commit, and the repository."""

    epoch: int
    revision: str
    source: str


def base_image(pin: Pin, source: ImageSource) -> BaseImage:
    """The base, by the first place that serves it.

    Raises:
        RegistryError: no place does.
    """
    contents = source.contents()
    body = source.config(contents)
    config = read_json(body)
    if not isinstance(config, dict):
        raise TfslurmError(f"{pin.reference}: its config is no object")
    user = read_details(body, len(contents.blobs) - 1).user
    return BaseImage(pin, contents, config, "" if user in ("root", "0", "0:0", "root:root") else user)


def assembled(archive: BinaryIO, base: BaseImage, origin: Origin, folder: Path) -> Assembled:
    """The image that is in the archive; its new layers are written into ``folder``.

    Raises:
        TfslurmError: it does not begin with the base's layers, or cannot be read, or the disk refuses.
    """
    saved = opened(archive)
    with saved.tar:
        above = diff_ids(base.config)
        if diff_ids(saved.config)[: len(above)] != above or len(saved.layers) != len(diff_ids(saved.config)):
            why = "the image that was built does not begin with the layers of its base"
            raise TfslurmError(f"{base.pin.reference}: {why}; build with another builder, without squashing")
        kept, notes = relaid_steps(saved, base, origin.epoch, folder)
    new = [layer for _, layer in kept if layer]
    annotations = annotations_of(base.pin.reference, base.pin.digest, *origin)
    config = config_of(saved.config, base.config, kept, annotations, origin.epoch)
    built = Built(config, manifest_of(config, base.layers, new, annotations))
    return Assembled(built, tuple(new), tuple(DebianPackage(*each) for each in added(notes)))


def relaid_steps(
    saved: Archive, base: BaseImage, epoch: int, folder: Path
) -> tuple[Sequence[tuple[Step, NewLayer | None]], Mapping[str, bytes]]:
    """The steps that stay, each with its layer if it has one, and what the build noted on its way."""
    kept: list[tuple[Step, NewLayer | None]] = []
    notes: dict[str, bytes] = {}
    for step in new_steps(saved.config, base.config):
        layer = None
        if step.layer is not None:
            target = folder / f"layer-{step.layer}"
            layer, noted = relaid(saved, saved.layers[step.layer], step.command, target, epoch)
            notes |= noted.notes
            layer = layer if noted.entries else None
        if not is_noise(step, layer):
            kept.append((step, layer))
    return kept, notes

"""The built image as documents: its config and its manifest, which depend on what is in it alone.

Source: OCI image specification: config.md, manifest.md, annotations.md (org.opencontainers.image.*).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from tfslurm.errors import TfslurmError
from tfslurm.image.build_lock import LONGEST
from tfslurm.image.dockerfile import FOLDER
from tfslurm.images.building.engine import LABEL
from tfslurm.images.building.layers import NewLayer
from tfslurm.registry.documents import CONFIG_TYPES, MANIFEST_TYPES, Blob, sha256_of

SETTINGS = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal"),
    *("Healthcheck", "Shell", "OnBuild"),
)
OCI = "org.opencontainers.image."
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_TYPES = {
    f"{LAYER}+gzip": f"{LAYER}+gzip",
    f"{LAYER}+zstd": f"{LAYER}+zstd",
    LAYER: LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{LAYER}+gzip",
}
OF_BUILDERS = ("io.buildah.version",)


class Built(NamedTuple):
    """The documents of the image, as they are pushed."""

    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return sha256_of(self.manifest)


class Step(NamedTuple):
    """One entry of the history of what was built: its command; ``layer``: its place among the layers, None for none."""

    command: str
    layer: int | None


def new_steps(config: Mapping[str, Any], base: Mapping[str, Any]) -> list[Step]:
    """The steps above the base, in order; without their commands where the history does not fit the layers."""
    history, own = config.get("history") or [], base.get("history") or []
    before, place = len(diff_ids(base)), 0
    found = []
    for entry in history:
        empty = bool(entry.get("empty_layer"))
        found.append(Step(str(entry.get("created_by", ""))[:LONGEST], None if empty else place))
        place += not empty
    held = sum(step.layer is not None for step in found[: len(own)])
    if place != len(diff_ids(config)) or held != before:
        return [Step("", number) for number in range(before, len(diff_ids(config)))]
    return found[len(own) :]


def diff_ids(config: Mapping[str, Any]) -> list[str]:
    """The digests of the layers' tars.

    Raises:
        TfslurmError: it has none.
    """
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise TfslurmError("the config of the image names no layers")
    return found


def config_of(
    config: Mapping[str, Any], base: Mapping[str, Any], kept: Sequence[tuple[Step, NewLayer | None]],
    annotations: Mapping[str, str], epoch: int,
) -> bytes:  # fmt: skip
    """The config of the image: what the engine set, without what is of this build alone."""
    settings = dict(config.get("config") or {})
    labels = {key: value for key, value in (settings.get("Labels") or {}).items() if key not in (LABEL, *OF_BUILDERS)}
    settings["Labels"] = {**labels, **annotations}
    moment = moment_of(epoch)
    own: list[dict[str, Any]] = []
    for step, layer in kept:
        entry: dict[str, Any] = {"created": moment, "created_by": step.command}
        own.append(entry if layer else {**entry, "empty_layer": True})
    value: dict[str, Any] = {
        "architecture": config.get("architecture"), "os": config.get("os"), "created": moment,
        "config": {key: settings[key] for key in SETTINGS if settings.get(key)},
        "rootfs": {"type": "layers", "diff_ids": [
            *diff_ids(base), *(layer.about.diff_id for _, layer in kept if layer)]},
        "history": [*(base.get("history") or []), *own],
    }  # fmt: skip
    if config.get("variant"):
        value["variant"] = config["variant"]
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogateescape"
    )


def manifest_of(
    config: bytes, base: Sequence[tuple[Blob, str]], new: Sequence[NewLayer], annotations: Mapping[str, str]
) -> bytes:
    """The manifest: the base's layers as they are served, then the new ones; ``base`` has their media types.

    Raises:
        TfslurmError: a layer of the base is of a kind that is not pushed.
    """
    layers = []
    for blob, media_type in base:
        if media_type not in LAYER_TYPES:
            raise TfslurmError(
                f"the base has a layer of type {media_type[:80]!r}, which cannot be pushed; name another base"
            )
        layers.append({"mediaType": LAYER_TYPES[media_type], "digest": blob.digest, "size": blob.size})
    layers += [{"mediaType": f"{LAYER}+gzip", "digest": each.about.digest, "size": each.about.bytes} for each in new]
    about = {"mediaType": CONFIG_TYPES[0], "digest": sha256_of(config), "size": len(config)}
    value = {"schemaVersion": 2, "mediaType": MANIFEST_TYPES[0], "config": about, "layers": layers,
             "annotations": dict(annotations)}  # fmt: skip
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def annotations_of(base: str, digest: str, epoch: int, revision: str, source: str) -> dict[str, str]:
    """What the image says of where it comes from; the same as labels and as annotations."""
    found = {"base.name": base, "base.digest": digest, "created": moment_of(epoch)}
    found |= {"revision": revision} if revision else {}
    found |= {"source": source} if source else {}
    return {f"{OCI}{key}": value for key, value in sorted(found.items())}


def moment_of(epoch: int) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_noise(step: Step, layer: NewLayer | None) -> bool:
    """Whether a step is of the build alone: our own folder, or the label by which leftovers are found."""
    return layer is None and (FOLDER in step.command or LABEL in step.command or step.layer is not None)

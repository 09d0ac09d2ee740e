"""Manifests and image configs: bytes in, checked values out.

Sources: OCI image specification (manifest.md, image-index.md, config.md), docker "Image Manifest V 2, Schema 2",
and docs.docker.com/build/metadata/attestations/attestation-storage (the unknown/unknown entries of an index).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RegistryError
from tfslurm.image import PLATFORM, check_digest, kept_environment

INDEX_TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST_TYPES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
MOST_TEXT = 2**17  # of an entrypoint, or of all variables: Linux gives a program no longer word
LARGEST = 2**50
MOST_LAYERS = 1000
CONFIG_TYPES = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")


@dataclass(frozen=True, slots=True)
class Manifest:
    """An index or a manifest as received. ``kind``: index | manifest; ``digest`` is the sha256 of ``body``."""

    kind: str
    digest: str
    media_type: str
    value: Mapping[str, object]
    body: bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """The parts of an image's config that a run depends on."""

    platform: str
    created: str
    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Details:
    """What an image's config says for a reader; '' and empty: it does not say. ``steps``: the command that made each
    layer, from the first one; () where the history does not fit the layers."""

    created: str
    user: str
    working_dir: str
    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    labels: Mapping[str, str]
    ports: tuple[str, ...]
    volumes: tuple[str, ...]
    steps: tuple[str, ...]


class Unreadable(RegistryError):
    """A reason why a document cannot be used; whoever asked for it puts the name in front."""


def sha256_of(body: bytes) -> str:
    """``sha256:…`` of bytes."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def read_manifest(body: bytes, content_type: str) -> Manifest:
    """The index or manifest in a body, by the body's own ``mediaType`` where it has one, else by its header.

    A body that could be read as both kinds is refused (CVE-2021-41190), and so is schema 1: its digest covers
    signatures, and docker no longer pulls it.
    """
    value = _mapping(body)
    header = content_type.partition(";")[0].strip().lower()
    media_type = str(value.get("mediaType") or header)
    if value.get("schemaVersion") == 1 or "docker.distribution.manifest.v1+" in media_type:
        raise Unreadable(
            "it is a schema 1 manifest, which docker no longer pulls; push the image again, or build it again"
        )
    lists, layers = isinstance(value.get("manifests"), list), isinstance(value.get("layers"), list)
    kind = "index" if media_type in INDEX_TYPES else "manifest" if media_type in MANIFEST_TYPES else ""
    if not kind:
        raise Unreadable(f"it is of type {media_type[:80]!r}, which is no image; name an image")
    if (lists, layers) != (kind == "index", kind == "manifest") or header in {*INDEX_TYPES, *MANIFEST_TYPES} - {
        media_type
    }:
        raise Unreadable("it can be read as two kinds of manifest; do not use it, and tell who pushed it")
    return Manifest(kind, sha256_of(body), media_type, value, body)


def platforms(index: Manifest) -> dict[str, str]:
    """``os/architecture[/variant]`` to manifest digest, in the index's order; attestations are left out."""
    found: dict[str, str] = {}
    for entry in objects(index.value, "manifests"):
        about = entry.get("platform")
        if isinstance(about, Mapping) and about.get("os") != "unknown" and entry.get("mediaType") not in INDEX_TYPES:
            found.setdefault(platform_name(about), checked_digest(entry))
    return found


def choose(available: Mapping[str, str], platform: str) -> tuple[str, str]:
    """The platform and digest that ``platform`` means. Raises Unreadable, listing what there is."""
    if platform in available:
        return platform, available[platform]
    fitting = [name for name in available if name.startswith(f"{platform}/") and PLATFORM.fullmatch(name)]
    same = [name for name in available if normal_platform(name) == normal_platform(platform)]
    if len(fitting) == 1 or same:
        name = same[0] if same else fitting[0]
        return (name if name in fitting else platform), available[name]
    known = _listed(list(available))
    why = f"there is no {platform} in it"
    if fitting:
        digests = ", ".join(f"{name[:60]} {available[name]}" for name in fitting[:5])
        why = f"{platform} may be {_listed(fitting)}; name the digest of the one that is meant (NAME@DIGEST): {digests}"
    raise Unreadable(f"{why}; its platforms are: {known}")


# What a name of an architecture means by itself: docker takes either for the other. Source: containerd, platforms,
# normalizeArch and normalizeOS.
SAME_ARCHITECTURES = {
    "amd64": ("x86_64", "x86-64", "amd64/v1", "x86_64/v1", "x86-64/v1"),
    "arm64": ("aarch64", "arm64/8", "arm64/v8", "aarch64/8", "aarch64/v8"),
    "arm/v7": ("arm", "arm/7", "armhf", "armhf/v7"),
    "arm/v6": ("arm/6", "armel", "armel/v6"),
    "386": ("i386",),
}
NORMAL = {name: normal for normal, names in SAME_ARCHITECTURES.items() for name in names}


def normal_platform(name: str) -> str:
    """``linux/amd64`` of ``linux/amd64/v1`` and of ``linux/x86_64``."""
    system, _, rest = name.lower().partition("/")
    return f"{system}/{NORMAL.get(rest, rest)}"


def is_same_machine(one: str, other: str) -> bool:
    """Whether two platforms have one system and architecture, whatever their variants; '' may be any."""
    first, second = ("/".join(normal_platform(name).split("/")[:2]) for name in (one, other))
    return first == second or not other


def size_in(index: Manifest, digest: str) -> object:
    """The size that an index says a manifest has; None where it says nothing."""
    entries = (entry for entry in objects(index.value, "manifests") if entry.get("digest") == digest)
    return next((entry.get("size") for entry in entries), None)


def refuse_size(what: str, size: object, body: bytes) -> None:
    """Raises Unreadable where a document has another size than its descriptor says: an engine would not pull it."""
    if size is not None and size != len(body):
        raise Unreadable(f"{what} is said to have {str(size)[:30]} bytes, and has {len(body)}; do not use it")


def _listed(names: list[str]) -> str:
    """Some names for a reader: an index may have any number of any length."""
    shown = ", ".join(name[:60] for name in names[:20]) or "none"
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"


def platform_name(about: Mapping[str, object]) -> str:
    """``linux/arm64/v8`` of an index entry or a config; parts that are not there are left out."""
    parts = (about.get(part) for part in ("os", "architecture", "variant"))
    return "/".join(part for part in parts if isinstance(part, str) and part)


def config_digest(manifest: Manifest) -> str:
    """The digest of the config that a manifest names; an artifact that is no image is refused."""
    config = manifest.value.get("config")
    if not isinstance(config, Mapping):
        raise Unreadable("it names no config; it is no image that docker could run")
    if config.get("mediaType") not in CONFIG_TYPES:
        raise Unreadable(f"it holds {str(config.get('mediaType'))[:80]!r} rather than an image; name an image")
    return checked_digest(config)


class Blob(NamedTuple):
    """A config or a layer, as the manifest names it."""

    digest: str
    size: int


def blobs(manifest: Manifest) -> tuple[Blob, ...]:
    """The config of a manifest, then its layers. Raises Unreadable for a layer that no registry has to have."""
    config_digest(manifest)
    size_bytes(manifest)
    layers = objects(manifest.value, "layers")
    if len(layers) > MOST_LAYERS:
        raise Unreadable(f"it has {len(layers)} layers; it is no image that docker could run")
    for layer in layers:
        kind = str(layer.get("mediaType"))
        if layer.get("urls") or "foreign" in kind or "nondistributable" in kind:
            raise Unreadable(f"its layer {checked_digest(layer)} lies elsewhere than in a registry ({kind[:80]})")
    config = manifest.value["config"]
    parts = [*([config] if isinstance(config, dict) else []), *layers]
    return tuple(Blob(checked_digest(part), int(str(part["size"]))) for part in parts)


def size_bytes(manifest: Manifest) -> int:
    """Layers and config as they travel."""
    config = manifest.value["config"]
    parts = [*objects(manifest.value, "layers"), *([config] if isinstance(config, Mapping) else [])]
    sizes = [part.get("size") for part in parts]
    if not all(type(size) is int and 0 <= size <= LARGEST for size in sizes):
        raise Unreadable("a layer has no size that could be; it is no image that docker could run")
    return sum(size for size in sizes if isinstance(size, int))


def read_config(body: bytes) -> Facts:
    """The parts of an image's config that a run depends on; Unreadable if it is none."""
    value = _mapping(body)
    runtime = value.get("config")
    runtime = runtime if isinstance(runtime, Mapping) else {}
    created = value.get("created")
    return Facts(
        platform=platform_name(value),
        created=created if isinstance(created, str) and len(created) < 100 and created.isascii() else "",
        entrypoint=texts(runtime.get("Entrypoint"), "Entrypoint"),
        environment=kept_environment(texts(runtime.get("Env"), "Env")),
    )


def read_details(body: bytes, layers: int) -> Details:
    """What a config says of an image with so many layers; Unreadable if it is none.

    Source: OCI image specification, config.md (a step of the history with ``empty_layer`` made none).
    """
    value = _mapping(body)
    runtime = value.get("config")
    runtime = runtime if isinstance(runtime, Mapping) else {}
    history = value.get("history")
    made = [step for step in history if isinstance(step, Mapping)] if isinstance(history, list) else []
    steps = tuple(_word(step.get("created_by")) for step in made if step.get("empty_layer") is not True)
    pairs = (entry.partition("=") for entry in texts(runtime.get("Env"), "Env"))
    return Details(
        created=read_config(body).created,
        user=_word(runtime.get("User")),
        working_dir=_word(runtime.get("WorkingDir")),
        entrypoint=texts(runtime.get("Entrypoint"), "Entrypoint"),
        command=texts(runtime.get("Cmd"), "Cmd"),
        environment={name: text for name, _, text in pairs},
        labels={str(name): _word(text) for name, text in _object(runtime.get("Labels")).items()},
        ports=tuple(_object(runtime.get("ExposedPorts"))),
        volumes=tuple(_object(runtime.get("Volumes"))),
        steps=steps if len(steps) == layers else (),
    )


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _mapping(body: bytes) -> Mapping[str, object]:
    try:
        value = read_json(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Unreadable("it is not the JSON object that a registry serves; check that the host is a registry")
    return value


def objects(value: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    """A list of objects in a document. Raises Unreadable where it is none."""
    entries = value.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Unreadable(f"its {key} is not a list of objects; it is no image that docker could run")
    return entries


def checked_digest(entry: Mapping[str, object]) -> str:
    """The digest that a descriptor names. Raises Unreadable where it is none of sha256."""
    digest = str(entry.get("digest"))
    if why := check_digest(digest):
        raise Unreadable(f"it names {digest[:80]!r}: {why}; it cannot be pinned")
    return digest


def texts(value: object, name: str) -> tuple[str, ...]:
    """The texts of an image's config, if a program can be given them. Raises Unreadable, which says why not."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise Unreadable(f"its config's {name} is not a list of texts; it is no image that docker could run")
    together = "\n".join(value)
    if len(together) > MOST_TEXT:
        raise Unreadable(f"its config's {name} has {len(together)} characters; {MOST_TEXT} are the most")
    if "\0" in together or any("\ud800" <= char <= "\udfff" for char in together):
        raise Unreadable(
            f"its config's {name} holds what no program can be given; it is no image that docker could run"
        )
    return tuple(value)

"""A pin: the tag that was asked for and the digest it stood for, with what a node needs to get the same bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import NamedTuple

from tfslurm.errors import InputError
from tfslurm.image.reference import Reference, check_digest, parse_reference

_KINDS = {"registry": ("index", "manifest"), "image-id": ("config", "manifest", "index")}
PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|\+00:00)")
_KEPT = r"_?CUDA_.*|CUDNN_.*|NVIDIA_.*|NV_.*|NVARCH|TF_.*|XLA_FLAGS|PYTHON.*|LD_LIBRARY_PATH|LD_PRELOAD|PATH"
_HIDDEN = r".*(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)"


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


def pin_by_digest(reference: Reference, now: str) -> Pin:
    """What is known of an image that is named by its digest while no registry answers: only for showing a plan."""
    return Pin(
        reference=reference.typed or str(reference),
        registry=reference.registry,
        repository=reference.repository,
        tag=reference.tag,
        digest=reference.digest,
        digest_kind="unknown",
        pin_kind="registry",
        platform="linux/amd64",
        manifest_digest="",
        config_digest="",
        size_bytes=0,
        media_type="",
        created="",
        served_by="",
        pinned_at=now,
        entrypoint=(),
        environment={},
    )


class Mistake(NamedTuple):
    """One thing that keeps a JSON object from being a pin: the field (empty: the object), why, and perhaps a fix."""

    field: str
    why: str
    fix: str = ""


def pin_to_json(pin: Pin) -> dict[str, object]:
    """The pin as a JSON object with exactly its fields, in their order."""
    value: dict[str, object] = {field.name: getattr(pin, field.name) for field in fields(Pin)}
    return {**value, "entrypoint": list(pin.entrypoint), "environment": dict(pin.environment)}


def pin_from_json(value: Mapping[str, object]) -> Pin:
    """The pin that ``pin_to_json`` wrote; ``pin_mistakes`` has found nothing in it."""
    return Pin(**{**value, "entrypoint": tuple(value["entrypoint"]), "environment": dict(value["environment"])})  # type: ignore[arg-type, call-overload]


def pin_mistakes(value: object) -> tuple[Mistake, ...]:
    """Everything that keeps a JSON object from being a pin: absent, unknown and wrongly typed fields first."""
    if not isinstance(value, Mapping):
        return (Mistake("", "an image is a mapping of fields"),)
    return tuple(_shape(value)) or (*_words(value), *_agreement(value))


# By hand, not by pydantic: whoever edits a lock file reads these words, and all of them at once. An adapter of Pin
# would take as many lines to say the same.
def _shape(value: Mapping[str, object]) -> Iterator[Mistake]:
    names = [field.name for field in fields(Pin)]
    yield from (Mistake(name, "is missing") for name in names if name not in value)
    yield from (Mistake(str(name), "is not a field of a pinned image") for name in value if name not in names)
    for name in names:
        if name in value and (wanted := _wrong_type(name, value[name])):
            yield Mistake(name, f"is not {wanted}")


def _wrong_type(name: str, value: object) -> str:
    if name == "size_bytes":
        return "" if type(value) is int and value >= 0 else "a number of bytes"
    if name == "entrypoint":
        texts = isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)
        return "" if texts else "a list of words"
    if name == "environment":
        texts = isinstance(value, Mapping) and all(isinstance(word, str) for pair in value.items() for word in pair)
        return "" if texts else "a mapping of names to texts"
    return "" if isinstance(value, str) else "a text"


def _agreement(value: Mapping[str, object]) -> Iterator[Mistake]:
    """The digests are such; the reference as typed, and what was read from it, say the same."""
    for name in ("digest", "manifest_digest", "config_digest"):
        text = str(value[name])
        if (text or name == "digest") and (why := check_digest(text)):
            yield Mistake(name, f"{text!r}: {why}")
    for kind in ("manifest", "config"):
        if value["digest_kind"] == kind and value[f"{kind}_digest"] != value["digest"]:
            yield Mistake(f"{kind}_digest", f"differs from digest, though digest_kind is {kind}")
    try:
        reference = parse_reference(str(value["reference"]))
    except InputError as bad:
        yield Mistake("reference", bad.problems[0].why, bad.problems[0].fix)
        return
    for name in ("registry", "repository", "tag"):
        if value[name] != (means := getattr(reference, name)):
            yield Mistake(name, f"is {value[name]!r}, but reference {value['reference']!r} means {means!r}")
    if reference.digest and value["pin_kind"] == "registry" and reference.digest != value["digest"]:
        yield Mistake("digest", "differs from the digest in reference")


def _words(value: Mapping[str, object]) -> Iterator[Mistake]:
    kinds = _KINDS.get(str(value["pin_kind"]))
    if kinds is None:
        yield Mistake("pin_kind", f"{value['pin_kind']!r} is not one of {', '.join(_KINDS)}")
    elif value["digest_kind"] not in kinds:
        yield Mistake("digest_kind", f"{value['digest_kind']!r} is not one of {', '.join(kinds)}")
    if not PLATFORM.fullmatch(str(value["platform"])):
        yield Mistake("platform", f"{value['platform']!r} is not OS/ARCHITECTURE", "write one such as linux/amd64")
    if not _is_time(str(value["pinned_at"])):
        yield Mistake("pinned_at", f"{value['pinned_at']!r} is not a time in UTC", "write 2026-01-31T12:00:00Z")


def _is_time(text: str) -> bool:
    try:
        return bool(_TIME.fullmatch(text) and datetime.fromisoformat(text[:19]))
    except ValueError:
        return False


def mirror_names(name: str, mirrors: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Where ``registry/repository`` may be found: its mirrors in order, then itself.

    A key of ``mirrors`` is a prefix of whole components; the longest one that fits counts, and each of its values
    stands in its place: ``{docker.io: [m:5000]}`` makes docker.io/a/b also m:5000/a/b. Absent: only itself.
    Source: containers-registries.conf(5), "Choosing a [[registry]] TOML table" and "Remapping and mirroring".
    """
    fitting = [prefix for prefix in mirrors if f"{name}/".startswith(f"{prefix.rstrip('/')}/")]
    prefix = max(fitting, key=len, default="")
    rest = name[len(prefix.rstrip("/")) :]
    named = [mirror.rstrip("/") + rest for mirror in mirrors[prefix]] if prefix else []
    return tuple(dict.fromkeys([mirror for mirror in named if mirror != name] + [name]))


def sources(pin: Pin, mirrors: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The references that a node may pull, in order: ``name@sha256:…`` of each mirror, then of the origin; never a tag.

    A pinned index names one manifest for the pin's platform, so a place that has only that (a mirror that was filled by
    pull and push makes an index of its own, or none) has the same bytes: it is asked for them next.
    An image that is pinned by its id can only be there already: ``("sha256:…",)``.
    Source: OCI image specification, image-index.md.
    """
    if pin.pin_kind == "image-id":
        return (pin.digest,)
    digests = [pin.digest, pin.manifest_digest] if pin.digest_kind == "index" and pin.manifest_digest else [pin.digest]
    return tuple(f"{name}@{digest}" for name in mirror_names(pin.name, mirrors) for digest in digests)


def moved(pin: Pin, resolved: Pin) -> str:
    """One line for a tag that now names other bytes than were pinned; empty when it does not."""
    if pin.digest == resolved.digest:
        return ""
    return (
        f"{pin.reference}: the tag has moved: {pin.digest} when pinned ({pin.pinned_at}), "
        f"{resolved.digest} now ({resolved.pinned_at}, {resolved.served_by})"
    )


def kept_environment(entries: Sequence[str]) -> dict[str, str]:
    """The variables of an image's config (``NAME=value``) that say which CUDA, TensorFlow and Python it runs.

    A name that sounds like a secret (``…_TOKEN``, ``…_KEY``) is left out: a lock file is committed and published.
    """
    pairs = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in pairs if re.fullmatch(_KEPT, name) and not sounds_secret(name)}


def sounds_secret(name: str) -> bool:
    """Whether a variable of this name may hold a secret, so that its value is neither shown nor kept."""
    return bool(re.fullmatch(_HIDDEN, name))

"""What an image of one's own was made of: the part `build` of EXP.lock.yaml, of a plan and of a record. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from tfslurm.document.typed import build
from tfslurm.errors import InputError
from tfslurm.image.dockerfile import MOST_BYTES
from tfslurm.image.packages import PackageLock, package_mistakes, packages_to_json
from tfslurm.image.reference import check_digest, parse_reference

MOST_LAYERS = 1000
MOST_PACKAGES = 20_000
LONGEST = 2000
"Characters of a name or a command."


@dataclass(frozen=True, slots=True)
class Base:
    """The image that it was made of: as it was named, ``registry/repository``, and the digest that was pinned first."""

    reference: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """One package that apt-get put into the image or replaced there; the version is dpkg's."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """A layer above those of the base: its digest as it travels, that of its tar, its size, and the command for it."""

    digest: str
    diff_id: str
    bytes: int
    made_by: str


@dataclass(frozen=True, slots=True)
class BuildLock:
    """One build, as it went.

    dockerfile         the text that was built, with digests
    dockerfile_sha256  of this text
    own_sha256         of the user's own Dockerfile; '': there is none
    context_sha256     of the list of the files that it reads; '': it reads none
    apt                the packages that were asked for; ``apt_installed``: what came into the image, with its version
    pip                the requirements that were asked for; ``packages``: the wheels that they were locked to
    source_date_epoch  seconds since 1970: no file and no document of the image says a later time
    revision, source   the commit and the repository of the experiment's folder; '': none is known
    builder            ``docker 28.2.2``
    layers             those above the base's, in their order
    digest             of the manifest that was pushed
    built_at           RFC 3339, UTC
    """

    base: Base
    dockerfile: str
    dockerfile_sha256: str
    own_sha256: str
    context_sha256: str
    apt: tuple[str, ...]
    apt_installed: tuple[DebianPackage, ...]
    pip: tuple[str, ...]
    packages: PackageLock | None
    source_date_epoch: int
    revision: str
    source: str
    builder: str
    layers: tuple[BuiltLayer, ...]
    digest: str
    built_at: str


class Inputs(NamedTuple):
    """What a build is asked to be made of, as the files say now."""

    base: str
    own_sha256: str
    context_sha256: str
    apt: tuple[str, ...]
    pip: tuple[str, ...]


def changed(lock: BuildLock, now: Inputs) -> list[str]:
    """What the files ask for now and did not when the image was built; a short text each."""
    found = []
    if parse_reference(lock.base.reference) != parse_reference(now.base):
        found.append(f"base: {lock.base.reference} -> {now.base}")
    for name, had, has in (("apt", lock.apt, now.apt), ("pip", lock.pip, now.pip)):
        if sorted(had) != sorted(has):
            gone = [f"-{word}" for word in had if word not in has]
            found.append(f"{name}: {' '.join([*gone, *(f'+{word}' for word in has if word not in had)])}")
    if lock.own_sha256 != now.own_sha256:
        found.append("the Dockerfile" if now.own_sha256 and lock.own_sha256 else "whether there is a Dockerfile")
    elif lock.context_sha256 != now.context_sha256:
        found.append("the files that the Dockerfile copies")
    return found


def differences(had: BuildLock, has: BuildLock) -> list[str]:
    """In what two builds differ: packages first, then layers; nothing where the images are equal."""
    if had.digest == has.digest:
        return []
    before, after = ({each.name: each.version for each in lock.apt_installed} for lock in (had, has))
    found = list(_versions("apt", before, after))
    before, after = ({w.name: w.version for w in lock.packages.wheels} if lock.packages else {} for lock in (had, has))
    found += _versions("pip", before, after)
    for number in range(max(len(had.layers), len(has.layers))):
        one, other = (lock.layers[number] if number < len(lock.layers) else None for lock in (had, has))
        if one is None or other is None or one.diff_id != other.diff_id:
            found.append(f"layer {number + 1}: {short(one)} -> {short(other)} ({(other or one).made_by[:100]})")  # type: ignore[union-attr]
        elif one.digest != other.digest:
            found.append(f"layer {number + 1}: the same files, compressed otherwise")
    if had.base.digest != has.base.digest:
        found.insert(0, f"base: {had.base.digest[:19]} -> {has.base.digest[:19]}")
    return found or ["the settings of the image (variables, labels, command)"]


def _versions(kind: str, had: Mapping[str, str], has: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*had, *has}):
        if had.get(name) != has.get(name):
            yield f"{kind} {name}: {had.get(name, 'absent')} -> {has.get(name, 'absent')}"


def short(layer: BuiltLayer | None) -> str:
    """The beginning of the digest of a layer's files."""
    return layer.diff_id[:19] if layer else "absent"


def build_to_json(lock: BuildLock) -> dict[str, object]:
    """The build as a JSON object with exactly its fields, in their order."""
    return asdict(lock)


def build_from_json(value: object) -> BuildLock:
    """The build that ``build_to_json`` wrote.

    Raises:
        ValueError: it is none, or one of its values cannot be.
    """
    found = build(BuildLock, value)
    refuse_untrue(found)
    return found


def refuse_untrue(lock: BuildLock) -> None:
    """Refuse a build of which a value cannot be: a stranger may have written it.

    Raises:
        ValueError: the first of them.
    """
    digests: Sequence[tuple[str, str]] = [("base.digest", lock.base.digest), ("digest", lock.digest)]
    digests = [*digests, *(("layers", word) for each in lock.layers for word in (each.digest, each.diff_id))]
    for name, digest in digests:
        if why := check_digest(digest):
            raise ValueError(f"{name}: {digest[:80]!r}: {why}")
    try:
        parse_reference(lock.base.reference)
    except InputError as error:
        raise ValueError(f"base.reference: {error.problems[0].why}") from None
    if len(lock.dockerfile) > 4 * MOST_BYTES or text_sha256(lock.dockerfile) != lock.dockerfile_sha256:
        raise ValueError("dockerfile is not the text that dockerfile_sha256 is of")
    if len(lock.layers) > MOST_LAYERS or len(lock.apt_installed) > MOST_PACKAGES:
        raise ValueError(f"more than {MOST_LAYERS} layers or {MOST_PACKAGES} packages")
    words = (lock.builder, lock.built_at, *lock.apt, *lock.pip, *(each.made_by for each in lock.layers))
    words = (*words, *(word for each in lock.apt_installed for word in (each.name, each.version)))
    if any(len(word) > LONGEST for word in words):
        raise ValueError(f"a name has more than {LONGEST} characters")
    if lock.packages and (wrong := package_mistakes(packages_to_json(lock.packages))):
        raise ValueError(f"packages.{wrong[0].field}: {wrong[0].why}")


def text_sha256(text: str) -> str:
    """64 hex of a text as UTF-8."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

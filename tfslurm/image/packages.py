"""The Python packages that an experiment adds to its image: one lock of wheels, each held fast by its sha256.

The wheels are those that a resolver chose for the Python, the C library and the packages of one image. ``key`` names
the layer that they make: the same wheels on the same image are the same layer, whoever resolved them and wherever they
came from.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from tfslurm.document.canonical import canonical
from tfslurm.document.sizes import size_text
from tfslurm.image.pin import Mistake
from tfslurm.image.reference import check_digest

MOST_WHEELS = 2000
MOST_BYTES = 2**40
"Of one wheel."
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._!+-]{0,250}\.whl")
"A wheel's name; its parts are joined by `-`. Source: PyPA, binary distribution format, file name convention."
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,126}[a-z0-9])?")
"A normalized name. Source: PyPA, names and normalization."
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.!+_-]{0,126}")
MOST_NAMED = 12
"Wheels, in a line for a reader."
SHA256 = re.compile(r"[0-9a-f]{64}")
PYTHON = re.compile(r"3\.[0-9]{1,3}\.[0-9]{1,3}")
_PLATFORM = re.compile(r"(manylinux_[0-9]{1,2}_[0-9]{1,3}|linux)_[a-z0-9_]{1,32}")
_URL = re.compile(r"(?:https?://[^/?#\s@]+(?:/[^\s?#]*)?|file:///[^\s?#]*)")
_LOGIN = re.compile(r"//.*@|\?.*")
_KINDS = {"wheels": "list", "bytes": "whole number"}
_SHORT = re.compile(r"[ -~]{0,200}")


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel of a layer.

    name     normalized: ``python-dateutil``
    version  as the wheel's name has it
    file     the wheel's name
    sha256   of its bytes, 64 hex
    bytes    its size
    url      where it was found, never with a login; it is only a hint: its bytes are checked; '' where it is not known
    """

    name: str
    version: str
    file: str
    sha256: str
    bytes: int
    url: str


@dataclass(frozen=True, slots=True)
class PackageLock:
    """The wheels of a layer, and what they were resolved for.

    image                the digest of the pinned image that it was resolved against: ``sha256:…``
    requirements_sha256  of what was asked (``requirements_sha256``)
    python               the image's: ``3.11.2``
    platform             ``manylinux_2_36_x86_64``: the C library and the processor of the image
    resolver             ``uv 0.9.13``, ``pip 24.0``
    index                where it looked first, never with a login; empty: no index, only folders of wheels
    wheels               sorted by name; empty: the image already holds all that was asked
    sha256               the key of the layer
    """

    image: str
    requirements_sha256: str
    python: str
    platform: str
    resolver: str
    index: str
    wheels: tuple[Wheel, ...]
    sha256: str

    @property
    def key(self) -> str:
        """The name of the layer's folder on a cluster: 64 hex."""
        return self.sha256

    @property
    def size_bytes(self) -> int:
        """The size of all wheels."""
        return sum(wheel.bytes for wheel in self.wheels)


def package_lock(
    wheels: Sequence[Wheel], *, image: str, asked: str, python: str, platform: str, resolver: str, index: str
) -> PackageLock:
    """The lock of these wheels; ``asked`` is the hash of the requirements."""
    ordered = tuple(sorted(wheels, key=lambda wheel: wheel.name))
    return PackageLock(image, asked, python, platform, resolver, index, ordered, layer_key(image, python, ordered))


def layer_key(image: str, python: str, wheels: Sequence[Wheel]) -> str:
    """The sha256 that names a layer: of the image, its Python, and each wheel's name, version, file and hash."""
    named = [[wheel.name, wheel.version, wheel.file, wheel.sha256] for wheel in wheels]
    return hashlib.sha256(canonical({"image": image, "python": python, "wheels": named}, "packages")).hexdigest()


def requirements_sha256(lines: Sequence[str]) -> str:
    """The sha256 of the requirements as they were asked for: each in its one form, sorted, a line each."""
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(set(lines))).encode()).hexdigest()


def packages_to_json(lock: PackageLock) -> dict[str, object]:
    """The lock as a JSON object with exactly its fields, in their order."""
    return {**asdict(lock), "wheels": [asdict(wheel) for wheel in lock.wheels]}


def packages_from_json(value: Mapping[str, object]) -> PackageLock:
    """The lock that ``packages_to_json`` wrote; ``package_mistakes`` has found nothing in it."""
    wheels = tuple(Wheel(**wheel) for wheel in value["wheels"])  # type: ignore[attr-defined]
    return PackageLock(**{**value, "wheels": wheels})  # type: ignore[arg-type]


def package_mistakes(value: object) -> tuple[Mistake, ...]:
    """Everything that keeps a JSON object from being a lock of packages; the shape first."""
    if not isinstance(value, Mapping):
        return (Mistake("", "packages are a mapping of fields"),)
    wrong = tuple(_fields(value, PackageLock, {"wheels": list | tuple}))
    if wrong:
        return wrong
    wheels = value["wheels"]
    if len(wheels) > MOST_WHEELS:
        return (Mistake("wheels", f"are {len(wheels)}; {MOST_WHEELS} are the most"),)
    found = [*_words(value), *(mistake for index, wheel in enumerate(wheels) for mistake in _wheel(index, wheel))]
    return tuple(found) or tuple(_agreement(packages_from_json(value)))


def _fields(value: Mapping[str, object], kind: type, types: Mapping[str, object], at: str = "") -> Iterator[Mistake]:
    names = [field.name for field in fields(kind)]
    yield from (Mistake(f"{at}{name}", "is missing") for name in names if name not in value)
    yield from (Mistake(f"{at}{name}", "is not a field of it") for name in value if name not in names)
    for name in names:
        if name in value and not isinstance(value[name], types.get(name, str)):  # type: ignore[arg-type]
            yield Mistake(f"{at}{name}", f"is not a {_KINDS.get(name, 'text')}")


def _words(value: Mapping[str, object]) -> Iterator[Mistake]:
    if why := check_digest(str(value["image"])):
        yield Mistake("image", f"{str(value['image'])[:80]!r}: {why}")
    forms = {"requirements_sha256": SHA256, "sha256": SHA256, "python": PYTHON, "platform": _PLATFORM}
    for name, form in {**forms, "resolver": _SHORT}.items():
        if not form.fullmatch(str(value[name])):
            yield Mistake(name, f"{str(value[name])[:80]!r} is not one")
    if value["index"] and (why := wrong_url(str(value["index"]))):
        yield Mistake("index", why)


def _wheel(index: int, wheel: object) -> Iterator[Mistake]:
    at = f"wheels[{index}]"
    if not isinstance(wheel, Mapping):
        yield Mistake(at, "is not a mapping of fields")
        return
    if wrong := list(_fields(wheel, Wheel, {"bytes": int}, f"{at}.")):
        yield from wrong
        return
    for name, form in {"name": NAME, "version": VERSION, "file": FILE, "sha256": SHA256}.items():
        if not form.fullmatch(wheel[name]):
            yield Mistake(f"{at}.{name}", f"{wheel[name][:80]!r} is not one")
    if type(wheel["bytes"]) is bool or not 0 < wheel["bytes"] <= MOST_BYTES:
        yield Mistake(f"{at}.bytes", f"{wheel['bytes']} is not the size of a wheel")
    if wheel["url"] and (why := wrong_url(wheel["url"])):
        yield Mistake(f"{at}.url", why)
    parts = wheel["file"].removesuffix(".whl").split("-")
    named = re.sub(r"[-_.]+", "-", parts[0]).lower()
    if len(parts) not in (5, 6) or (named, parts[1]) != (wheel["name"], wheel["version"]):
        yield Mistake(f"{at}.file", f"{wheel['file'][:80]!r} is not a wheel of {wheel['name']} {wheel['version']}")


def wrong_url(url: str) -> str:
    """Why a text cannot be the address of a wheel or an index, or an empty string: it holds no login and no query."""
    if len(url) > 2000 or not url.isprintable() or not url.isascii():
        return "is not an address"
    found = _URL.fullmatch(url)
    shown = _LOGIN.sub(lambda part: "//" if part[0].startswith("//") else "?…", url)  # a secret is shown to nobody
    return "" if found else f"{shown[:80]!r} is not an address of http, https or file without a login and a query"


def _agreement(lock: PackageLock) -> Iterator[Mistake]:
    names = [wheel.name for wheel in lock.wheels]
    files = {wheel.file.lower() for wheel in lock.wheels}
    if names != sorted(set(names)) or len(files) != len(names):
        yield Mistake("wheels", "are not sorted by name, each name once")
    elif lock.sha256 != layer_key(lock.image, lock.python, lock.wheels):
        yield Mistake("sha256", "is not the hash of these wheels: the file was edited, or cut short")


def summary(lock: PackageLock) -> str:
    """``2 wheels, 12.5 MiB: pandas 3.0.6, pytz 2025.2``; at most a dozen are named."""
    if not lock.wheels:
        return "no wheel: the image already holds all that `packages` asks for"
    named = [f"{wheel.name} {wheel.version}" for wheel in lock.wheels]
    rest = f", and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    count = "1 wheel" if len(named) == 1 else f"{len(named)} wheels"
    return f"{count}, {size_text(lock.size_bytes)}: {', '.join(named[:MOST_NAMED])}{rest}"

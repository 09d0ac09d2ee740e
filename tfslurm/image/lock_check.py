"""The fields of a lock file beside the digest, compared with the image itself.

The digest names the bytes. The fields beside it decide too: ``entrypoint`` is run, ``environment`` says which driver
will do, ``manifest_digest`` what a node may pull. Whoever sends a lock file can write anything there, so they are
compared twice: with the registry's own documents once for each lock file, and on the node with the image that runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from tfslurm.image.pin import Pin

# The variables that decide which driver an image asks for: a lock file must not leave them out either.
DECISIVE = ("CUDA_VERSION", "NVIDIA_REQUIRE_CUDA", "NVIDIA_DISABLE_REQUIRE")
_PLAIN = ("digest_kind", "platform", "manifest_digest", "config_digest", "media_type", "size_bytes", "created")
_ESCAPES = {char: f"\\{letter}" for char, letter in zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True)}


def false_claims(pin: Pin, found: Pin) -> Iterator[tuple[str, str]]:
    """(field, why) of each that is not what the image of the same digest has; a field that says nothing claims nothing.

    ``found`` is what a registry gave for that digest.
    """
    for name in _PLAIN:
        claimed, real = getattr(pin, name), getattr(found, name)
        if claimed and claimed != real:
            yield name, f"is {claimed!r}, but the image has {real!r}"
    if pin.entrypoint != found.entrypoint:
        yield "entrypoint", f"is {list(pin.entrypoint)}, but the image has {list(found.entrypoint)}"
    for name, value in pin.environment.items():
        if found.environment.get(name) != value:
            real = found.environment.get(name)
            yield "environment", f"has {name}={value!r}, but the image has {'none' if real is None else repr(real)}"
    for name in missing_variables(pin):
        if name in found.environment:
            yield "environment", f"lacks {name}, but the image has {found.environment[name]!r}"


def missing_variables(pin: Pin) -> tuple[str, ...]:
    """The variables that decide about the driver, and of which the lock file says that the image has none."""
    return tuple(name for name in DECISIVE if name not in pin.environment)


def without_claims(pin: Pin) -> Pin:
    """The pin without what only a registry could confirm: which manifest an index names, which config that."""
    if pin.pin_kind != "registry":
        return pin
    manifest = pin.manifest_digest if pin.digest_kind == "manifest" else ""
    return replace(pin, manifest_digest=manifest, config_digest="")


def quoted(text: str) -> str:
    """The text as Go's ``%+q`` writes it, by which both engines print it alike. Source: Go, strconv.QuoteToASCII."""
    return f'"{"".join(map(_escaped, text))}"'


def quoted_list(words: Sequence[str]) -> str:
    """``["sh" "-c"]``: a list of texts as Go's ``%+q`` writes it."""
    return f"[{' '.join(map(quoted, words))}]"


def _escaped(char: str) -> str:
    code = ord(char)
    if char in _ESCAPES:
        return _ESCAPES[char]
    if 0xD800 <= code < 0xE000:
        return "\\ufffd"  # half of a pair: no character
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return char if code < 0x7F else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Claims(NamedTuple):
    """The lock file's fields that the node compares with the image it has, as Go's ``%+q`` writes them."""

    platform: str
    entrypoint: str
    environment: tuple[str, ...]
    missing: tuple[str, ...]


def claims(pin: Pin) -> Claims:
    """What a pin says of its image."""
    return Claims(
        platform="/".join(pin.platform.split("/")[:2]),
        entrypoint=quoted_list(pin.entrypoint),
        environment=tuple(quoted(f"{name}={value}") for name, value in pin.environment.items()),
        missing=missing_variables(pin),
    )

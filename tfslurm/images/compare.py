"""What two images have in common, and in what they differ: layers, settings, packages that records know. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tfslurm.images.inspect import Inspection, Layer


class Change(NamedTuple):
    """One thing that differs; '' on a side that lacks it."""

    what: str
    a: str
    b: str


class ImageDiff(NamedTuple):
    """``common``: the layers that both have, from the lowest on; then those that one has alone, and the changes.

    ``packages`` None: not known, because no record says what one of them holds.
    """

    is_same: bool
    common: tuple[Layer, ...]
    only_a: tuple[Layer, ...]
    only_b: tuple[Layer, ...]
    settings: tuple[Change, ...]
    packages: tuple[Change, ...] | None


def compare_images(a: Inspection, b: Inspection) -> ImageDiff:
    """What differs between two images; the same manifest is the same image, however it is named."""
    both = {layer.digest for layer in a.layers} & {layer.digest for layer in b.layers}
    left, right = a.inside.get("packages"), b.inside.get("packages")
    return ImageDiff(
        is_same=a.manifest_digest == b.manifest_digest,
        common=tuple(layer for layer in a.layers if layer.digest in both),
        only_a=tuple(layer for layer in a.layers if layer.digest not in both),
        only_b=tuple(layer for layer in b.layers if layer.digest not in both),
        settings=tuple(settings(a, b)),
        packages=tuple(changed(left, right)) if left and right else None,
    )


def settings(a: Inspection, b: Inspection) -> Iterator[Change]:
    """What differs in the configs, and of the software that records know of both."""
    yield from unlike("platform", a.platform, b.platform)
    for key in ("created", "user", "working_dir", "entrypoint", "command", "ports", "volumes"):
        left, right = (words(getattr(each.details, key)) for each in (a, b))
        yield from unlike(key.replace("_", " "), left, right)
    yield from changed(a.details.environment, b.details.environment, "variable ")
    yield from changed(a.details.labels, b.details.labels, "label ")
    names = ("python", "tensorflow", "cuda", "cudnn", "cuda_present", "cudnn_present", "os", "glibc")
    if a.inside and b.inside:
        for name in names:
            yield from unlike(name.replace("_", " "), a.inside.get(name) or "", b.inside.get(name) or "")


def changed(a: Mapping[str, str], b: Mapping[str, str], what: str = "") -> Iterator[Change]:
    """The names whose values differ, in order."""
    for name in sorted({*a, *b}):
        yield from unlike(f"{what}{name}", a.get(name, ""), b.get(name, ""))


def unlike(what: str, a: str, b: str) -> Iterator[Change]:
    """The change, if there is one."""
    if a != b:
        yield Change(what, a, b)


def words(value: object) -> str:
    """A text, or a list as words."""
    return value if isinstance(value, str) else " ".join(map(str, value)) if isinstance(value, tuple) else str(value)

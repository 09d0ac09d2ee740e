"""What is known of official images, as known_images.json beside this module has it, with sources and dates."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.image import Pin
from tfslurm.image.driver import names_cuda


class NoGpu(NamedTuple):
    """Images, by repository and tag, in which TensorFlow finds no GPU; ``named``: the issue that says so."""

    repository: str
    tag: re.Pattern[str]
    why: str
    named: str


class Variant(NamedTuple):
    """Images of a repository whose tag has this word, and what that means for a batch job."""

    repository: str
    word: str
    note: str


class KnownImages(NamedTuple):
    """``ubuntu_ends``: release -> the month in which its standard support ends, as ``2027-05``."""

    ubuntu_ends: Mapping[str, str]
    finds_no_gpu: tuple[NoGpu, ...]
    variants: tuple[Variant, ...]


@cache
def known_images() -> KnownImages:
    """The data."""
    value: dict[str, Any] = read_json((resources.files("tfslurm.workspace") / "known_images.json").read_bytes())
    return KnownImages(
        value["ubuntu_ends"]["months"],
        tuple(
            NoGpu(each["repository"], re.compile(each["tag"]), each["why"], each["named"])
            for each in value["finds_no_gpu"]
        ),
        tuple(Variant(each["repository"], each["word"], each["note"]) for each in value["variants"]),
    )


def unsuited(pin: Pin, gpus: int) -> Iterator[str]:
    """How the variant of an image does not suit a batch job with so many GPUs a node, each as ``what; what to do``.

    By the image's own configuration where that says it: its variables name CUDA or not, its entrypoint is Jupyter. Else
    by the words of an official tag. Nothing is said of GPUs where the configuration is not known yet.
    """
    has_cuda = names_cuda(pin.environment)
    if pin.environment and gpus and not has_cuda:
        yield "its configuration names no CUDA, so TensorFlow may find no GPU; the -gpu variants name it"
    if pin.environment and has_cuda and not gpus:
        yield (
            "it is made for GPUs, and the job asks for none; add `resources: {gpus: 1}`, or use the variant without "
            "-gpu, which is smaller"
        )
    words = set(re.split(r"[._-]", pin.tag.lower()))
    starts_jupyter = any("jupyter" in word for word in pin.entrypoint)
    if starts_jupyter:
        yield (
            f"its entrypoint is {' '.join(pin.entrypoint)!r}, which begins every job's command; use an image whose "
            "entrypoint runs what it is given"
        )
    for each in known_images().variants:
        is_named = pin.repository.rpartition("/")[2] == each.repository and each.word in words
        if is_named and not (starts_jupyter and each.word == "jupyter"):
            yield each.note

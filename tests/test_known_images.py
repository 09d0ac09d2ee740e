"""What is known of official images, and which variants do not suit a batch job: a table of data, with sources."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest

from tests.made import PIN
from tfslurm.submission.preflight import sees_no_gpu
from tfslurm.workspace.known_images import known_images, unsuited

CUDA = {"CUDA_VERSION": "12.3.0"}
PLAIN = {"PATH": "/bin"}
OFFICIAL = "tensorflow/tensorflow"


@pytest.mark.parametrize(
    ("repository", "tag", "environment", "entrypoint", "gpus", "said"),
    [
        (OFFICIAL, "2.16.1-gpu", CUDA, (), 1, []),
        (OFFICIAL, "2.16.1", PLAIN, (), 0, []),
        (OFFICIAL, "2.16.1", PLAIN, (), 2, ["names no CUDA"]),
        (OFFICIAL, "2.16.1-gpu", CUDA, (), 0, ["made for GPUs"]),
        (OFFICIAL, "2.16.1-gpu", PLAIN, (), 1, ["names no CUDA"]),  # the configuration speaks, not the name
        (OFFICIAL, "2.16.1", CUDA, (), 1, []),
        (OFFICIAL, "2.16.1-jupyter", PLAIN, (), 0, ["variant with Jupyter"]),
        (OFFICIAL, "2.16.1-gpu-jupyter", CUDA, (), 0, ["made for GPUs", "variant with Jupyter"]),
        (OFFICIAL, "devel-gpu", CUDA, (), 1, ["to build TensorFlow from its sources"]),
        (OFFICIAL, "nightly-gpu-jupyter", CUDA, (), 1, ["variant with Jupyter", "nightly build"]),
        ("library/mirror/tensorflow", "2.16.1-jupyter", PLAIN, (), 0, ["variant with Jupyter"]),
        ("team/jupyter", "1-jupyter", PLAIN, (), 0, []),  # no official image: its tag says nothing
        ("nvidia/cuda", "12.3.0-devel-ubuntu22.04", CUDA, (), 1, []),
        ("team/lab", "1", PLAIN, ("tini", "jupyter-lab"), 0, ["its entrypoint is 'tini jupyter-lab'"]),
        (OFFICIAL, "2.16.1-jupyter", PLAIN, ("jupyter", "lab"), 0, ["its entrypoint is"]),  # said once
        (OFFICIAL, "2.16.1-gpu", {}, (), 1, []),  # not known yet
        (OFFICIAL, "", CUDA, (), 1, []),
    ],
)
def test_a_variant_that_does_not_suit_the_job_is_told(
    repository: str, tag: str, environment: dict[str, str], entrypoint: tuple[str, ...], gpus: int, said: list[str]
) -> None:
    pin = replace(PIN, repository=repository, tag=tag, environment=environment, entrypoint=entrypoint)
    found = list(unsuited(pin, gpus))
    assert len(found) == len(said), found
    assert all(part in text for part, text in zip(said, found, strict=True))
    assert all("; " in text for text in found), "what is so, then what to do"


@pytest.mark.parametrize(
    ("tag", "is_known"),
    [("2.18.0-gpu", True), ("2.21.1rc0-gpu-jupyter", True), ("2.17.0-gpu", False), ("2.19.0", False), ("", False)],
)
def test_the_tags_whose_tensorflow_finds_no_gpu(tag: str, is_known: bool) -> None:
    why = sees_no_gpu(replace(PIN, repository=OFFICIAL, tag=tag), {})
    assert bool(why) is is_known
    assert not why or "(tensorflow#81344)" in why


def test_each_entry_of_the_data_has_its_source_and_its_month() -> None:
    data: dict[str, Any] = json.loads((resources.files("tfslurm.workspace") / "known_images.json").read_text("utf-8"))
    entries = [data["ubuntu_ends"], *data["finds_no_gpu"], *data["variants"]]
    for each in entries:
        assert re.fullmatch(r"20[0-9]{2}-(0[1-9]|1[0-2])", each["as_of"])
        sources = each.get("sources") or [each["source"]]
        assert sources and all(source.startswith("https://") for source in sources)
    assert all(re.fullmatch(r"20[0-9]{2}-[01][0-9]", month) for month in known_images().ubuntu_ends.values())

"""A container engine's answers about an image and a container, each engine's read by its own adapter. Pure.

docker     what docker writes; podman imitates it
podman     where podman's answers differ

The node keeps these answers as they came. Facts of our own would need templates there, in the words of each engine's
version, and the end of every job would hang on whether they hold.

A new engine is one more adapter here, one in check.engines, one file of the node side (job_templates/parts/engines),
and its name in the cluster's schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfslurm.record.engines.docker import OWN_FILES, DockerContainer, DockerImage, docker_version
from tfslurm.record.engines.podman import PodmanContainer, PodmanImage, podman_version
from tfslurm.record.facts import parse_json, parse_object

__all__ = ["OWN_FILES", "container_answer", "engine_version", "image_answer"]


def image_answer(raw: bytes) -> DockerImage:
    """``image inspect``: an array of one object; podman's ids are hexadecimal digits alone.

    Raises:
        ValueError: it is no answer of an engine's.
    """
    answer = parse_inspect(raw)
    if not isinstance(answer.get("RepoDigests") or [], list):
        raise ValueError("its RepoDigests are no list")
    return DockerImage(answer) if ":" in str(answer.get("Id")) else PodmanImage(answer)


def container_answer(raw: bytes) -> DockerContainer:
    """``container inspect``: an array of one object; only podman names the OCI runtime in it.

    Raises:
        ValueError: it is no answer of an engine's.
    """
    answer = parse_inspect(raw)
    return PodmanContainer(answer) if "OCIRuntime" in answer else DockerContainer(answer)


def engine_version(raw: bytes) -> object:
    """Its version in what the engine says of itself (``info``); only podman nests it.

    Raises:
        ValueError: it is no answer of an engine's.
    """
    answer = parse_object(raw)
    return podman_version(answer) if "version" in answer else docker_version(answer)


def parse_inspect(raw: bytes) -> Mapping[str, Any]:
    """The object in an array of one."""
    value = parse_json(raw)
    if not (isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)):
        raise ValueError("it holds no array of one object")
    return value[0]

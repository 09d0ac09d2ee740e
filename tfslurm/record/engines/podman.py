"""Where podman's answers differ from docker's. Pure. Source: podman-image-inspect(1), podman-container-inspect(1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfslurm.record.engines.docker import DockerContainer, DockerImage


def podman_version(info: Mapping[str, Any]) -> object:
    """Its version in ``podman info``."""
    return info["version"]["Version"]


class PodmanImage(DockerImage):
    """``podman image inspect`` of one image."""

    @property
    def id(self) -> str:
        """Its id as ``sha256:…``; podman writes the hexadecimal digits alone."""
        return with_algorithm(self.answer["Id"])


class PodmanContainer(DockerContainer):
    """``podman container inspect`` of one container that has ended."""

    @property
    def image_id(self) -> str:
        """The id of the image that it was made from, likewise."""
        return with_algorithm(self.answer["Image"])

    @property
    def runtime(self) -> object:
        """The OCI runtime that started it."""
        return self.answer["OCIRuntime"]

    @property
    def oom_killed(self) -> bool | None:
        """Without a limit of its own podman watches for no out-of-memory event: then None of one that was killed."""
        state = self.answer["State"]
        blind = not (self.answer.get("HostConfig") or {}).get("Memory")
        if blind and not state["OOMKilled"] and int(state["ExitCode"]) in (137, -1):
            return None
        return bool(state["OOMKilled"])


def with_algorithm(written: object) -> str:
    """``sha256:…`` of the digits."""
    return str(written) if ":" in str(written) else f"sha256:{written}"

"""docker's answers about an image and a container. Pure. Source: Docker Engine API, ImageInspect, ContainerInspect.

A value that is not there, or not what it should be, raises KeyError, TypeError or ValueError where it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfslurm.document.moments import parse_time

# Written by the engine into every container, or living in memory only.
OWN_FILES = re.compile(
    r"/(proc|sys|dev|run|var/run)(/.*)?|/\.dockerenv|(/usr)?/sbin/docker-init"
    r"|/etc/(hosts|hostname|resolv\.conf|mtab|passwd|group|ld\.so\.cache|ld\.so\.conf\.d(/.*)?)"
)


def docker_version(info: Mapping[str, Any]) -> object:
    """The daemon's version in ``docker info``."""
    return info["ServerVersion"]


@dataclass(frozen=True)
class DockerImage:
    """``docker image inspect`` of one image."""

    answer: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its id on the node: ``sha256:…``."""
        return str(self.answer["Id"])

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests by which the engine knows it: ``name@sha256:…``."""
        return tuple(str(digest) for digest in self.answer.get("RepoDigests") or ())


@dataclass(frozen=True)
class DockerContainer:
    """``docker container inspect`` of one container that has ended."""

    answer: Mapping[str, Any]

    @property
    def image_id(self) -> str:
        """The id of the image that it was made from."""
        return str(self.answer["Image"])

    @property
    def mounts(self) -> tuple[str, ...]:
        """The container paths that are mounted, memory file systems as well."""
        bound = [mount["Destination"] for mount in self.answer.get("Mounts") or ()]
        return tuple(str(path) for path in (*bound, *((self.answer.get("HostConfig") or {}).get("Tmpfs") or {})))

    @property
    def limited(self) -> Mapping[str, bool]:
        """Memory and cpus -> whether the engine got a limit for it."""
        host = self.answer["HostConfig"]
        cpus = any(host.get(name) for name in ("NanoCpus", "CpusetCpus", "CpuQuota"))
        return {"memory": bool(host.get("Memory")), "cpus": cpus}

    @property
    def memory_bytes(self) -> int:
        """The memory that it may use; 0: no limit."""
        return int(self.answer["HostConfig"].get("Memory") or 0)

    @property
    def cpu_numbers(self) -> str:
        """The CPUs that it is bound to: ``0-3,8``; '' where it is bound to none."""
        return str(self.answer["HostConfig"].get("CpusetCpus") or "")

    @property
    def cpu_share(self) -> float | None:
        """The CPU time that it may use, in CPUs; None: no limit."""
        return int(self.answer["HostConfig"].get("NanoCpus") or 0) / 1e9 or None

    @property
    def runtime(self) -> object:
        """The OCI runtime that started it."""
        return self.answer["HostConfig"]["Runtime"]

    @property
    def storage(self) -> object:
        """The driver that holds its image's layers."""
        return self.answer["Driver"]

    @property
    def oom_killed(self) -> bool | None:
        """Did the kernel end it for its memory? None: the engine cannot know."""
        return bool(self.answer["State"]["OOMKilled"])

    def end(self) -> Mapping[str, Any]:
        """Its end: id, exit code, times, and whether memory was the cause."""
        state = self.answer["State"]
        if state["Status"] not in ("exited", "dead", "stopped"):
            raise ValueError(f"the container was {state['Status']!r} when it was looked at")
        return {
            "id": str(self.answer["Id"]),
            "exit_code": int(state["ExitCode"]) if int(state["ExitCode"]) >= 0 else None,  # podman's -1: not known
            "oom_killed": self.oom_killed,
            "started_at": parse_time(state["StartedAt"]),
            "ended_at": parse_time(state["FinishedAt"]),
        }

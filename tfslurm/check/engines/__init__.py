"""A container engine's answers on a node -> facts, each engine's by its own adapter. Pure."""

from __future__ import annotations

from tfslurm.check.engines.docker import docker_says, has_proxy
from tfslurm.check.engines.podman import podman_says
from tfslurm.check.fact import Fact, unknown
from tfslurm.check.probe_output import ProbeOutput

__all__ = ["engine_facts", "has_proxy"]

SAYS = {"docker": docker_says, "podman": podman_says}


def engine_facts(seen: ProbeOutput, engine: str, *, gpus: bool) -> list[Fact]:
    """Engine, access, cgroups and GPU support; of docker also init, and room for images."""
    if seen.one("engine"):
        return SAYS[engine](seen, gpus=gpus)
    others = " or ".join(f"`engine: {name}`" for name in SAYS if name != engine)
    fix = f"install it there, or write {others} in the cluster file if the nodes have that"
    absent = Fact("engine", "FAIL", f"no {engine} in PATH on {seen.one('node')}", fix)
    rest = ["engine-access", "cgroup", *(["gpu-support"] if gpus else []), "init", "images-free"]
    return [absent, *unknown(rest, f"there is no {engine}")]

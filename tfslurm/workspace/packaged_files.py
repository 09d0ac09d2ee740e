"""The files that ship with tfslurm, in job_templates; the parts of the node side, packed as a job is sent them."""

from __future__ import annotations

from functools import cache

from tfslurm.remote_programs import packaged

BUILT_IN_TEMPLATE = "job.sbatch.j2"
SHELL_SIDE = ("node.sh", "task.sh")  # which the script reads in whole, and runs
INSIDE = (  # what runs in the container
    "entry.sh", "probe.py", "gpu_check.py", "install_packages.py", "service.py", "relay.py", "door.py", "board.py",
    "model_server.py", "served_model.py",
)  # fmt: skip
HEAD = "# shellcheck shell=bash disable=SC2034,SC2154"  # the first line of each part, and of what they are packed into

NODE_PARTS = (  # of node.sh, which every role reads
    "base", "environment", "wait", "roles/batch", "guards/folders", "observe/outputs", "peers", "lifecycle/supervision",
    "lifecycle/checkpoint", "lifecycle/kept_attempt",
)  # fmt: skip
POINT_PARTS = ("roles/points",)  # of node.sh too, for an array
TASK_PARTS = (  # of task.sh, for what the batch role starts on the nodes
    "roles/task", "roles/prepare", "roles/cleanup", "lock", "guards/gpus", "guards/driver", "guards/tensorflow",
    "guards/image", "guards/trees", "guards/code", "guards/packages", "guards/groups", "guards/mounts",
    "guards/mount_points", "guards/container_mounts", "cgroup", "limits", "container", "lifecycle/run",
    "lifecycle/kept_container", "lifecycle/warning", "observe/report", "observe/facts", "observe/inputs",
    "observe/usage", "observe/libcuda", "observe/image_contents", "observe/logs", "roles/exec",
)  # fmt: skip
PULL_PARTS = ("base", "wait", "roles/task", "lock", "lifecycle/warning", "guards/image", "observe/facts")  # of pull.sh
ENGINE_PARTS = {  # of task.sh too, and of a probe: one engine's
    "docker": ("engines/docker_cli", "engines/docker"),
    "podman": ("engines/docker_cli", "engines/podman"),
}


@cache
def node_side(engine: str, *, points: bool) -> dict[str, str]:
    """Name -> text of what a job with this engine is sent beside its script; ``points``: it is an array."""
    parts = (*NODE_PARTS, *(POINT_PARTS if points else ())), (*TASK_PARTS, *ENGINE_PARTS[engine])
    packed = {name: pack(each) for name, each in zip(SHELL_SIDE, parts, strict=True)}
    return {**packed, **{name: packaged(f"inside/{name}") for name in INSIDE}}


@cache
def probe(name: str, engine: str) -> str:
    """The text of a program that looks at a compute node (``check``, ``reap``), for bash to read on standard input."""
    return f"{pack(ENGINE_PARTS[engine])}\n# probes/{name}.sh\n{packaged(f'probes/{name}.sh')}"


@cache
def pull_script(engine: str) -> str:
    """The script of a job that has an image pulled on its node; see job_templates/probes/pull.sh."""
    parts = pack((*PULL_PARTS, *ENGINE_PARTS[engine]))
    return f"#!/bin/bash\n{parts}\n# probes/pull.sh\n{packaged('probes/pull.sh')}"


def pack(parts: tuple[str, ...]) -> str:
    """One text of several parts, each headed by a line with its name."""
    texts = (packaged(f"parts/{name}.sh").removeprefix(f"{HEAD}\n") for name in parts)
    return f"{HEAD}\n" + "".join(f"\n# parts/{name}.sh\n{text}" for name, text in zip(parts, texts, strict=True))

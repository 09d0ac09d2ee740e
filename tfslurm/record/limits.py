"""The limits that held a container to the memory and CPUs of its job, as observed. Pure.

An engine without root can set no limit on cgroup v1, and on v2 only those whose controllers were delegated to the user.
Its container is then in the job's own cgroup at best, as a child of the task. Source: podman-create(1), --memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tfslurm.record import facts
from tfslurm.record.engines import container_answer
from tfslurm.record.folder import Folder
from tfslurm.record.task_model import Limits

# The controllers of cgroup v1 that hold a process to it.
CONTROLLERS = {"memory": ("memory",), "cpus": ("cpuset", "cpu")}


def read_limits(folder: Folder) -> Limits:
    """Each of memory and cpus: 'container' (by the engine), 'job' (Slurm's cgroup), 'none'; None with the reason."""
    chosen = folder.text("cgroup-parent.txt")
    limited = folder.fact("limits", "container-inspect.json", lambda raw: container_answer(raw).limited)
    if limited is None:
        return Limits(None, None, chosen)
    held = {key: "container" if limited[key] else in_job(folder, key) for key in CONTROLLERS}
    if chosen and chosen.startswith("/") and limited["memory"]:  # the engine's client and the script have a part of it
        held["memory"] = "job"
    return Limits(held["memory"], held["cpus"], chosen)


def in_job(folder: Folder, key: str) -> str | None:
    """Is the container in a cgroup of Slurm's with this controller? As it was seen from outside, else from within."""
    paths = folder.quiet().fact("", "container-cgroup.txt", parse_cgroup)
    if paths is None:
        paths = folder.fact(f"limits.{key}", "container/cgroup.txt", parse_cgroup)
        if paths == (("", "/"),):  # cgroup v2: the root of a namespace of its own
            folder.note(
                f"limits.{key}", "the container has a cgroup namespace of its own, and was not seen from outside"
            )
            return None
    if paths is None:
        return None
    return "job" if holds(paths, CONTROLLERS[key]) else "none"


def holds(paths: Sequence[tuple[str, str]], controllers: Sequence[str]) -> bool:
    """Whether one of the controllers, or cgroup v2 with all of them, has the process in a folder of Slurm's."""
    return any(
        re.search(r"/slurm|slurmstepd\.scope(/|$)", path) and (not names or set(names.split(",")) & set(controllers))
        for names, path in paths
    )


def parse_cgroup(raw: bytes) -> tuple[tuple[str, str], ...]:
    """(controllers, path) of each line of /proc/PID/cgroup: ``4:memory:/slurm/uid_2001/job_7``, on v2 ``0::/…``.

    Source: cgroups(7).
    """
    found = [line.split(":", 2) for line in facts.text(raw).splitlines()]
    if any(len(parts) != 3 for parts in found):
        raise ValueError(f"no cgroup in {raw[:120]!r}")
    return tuple((names, path) for _, names, path in found)

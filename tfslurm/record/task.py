"""One task's raw observations -> TaskFacts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfslurm.document.moments import parse_time
from tfslurm.record import facts
from tfslurm.record.engines import container_answer, image_answer
from tfslurm.record.folder import Folder
from tfslurm.record.limits import read_limits
from tfslurm.record.machine import read_machine
from tfslurm.record.task_model import Container, Gpu, TaskFacts
from tfslurm.record.usage import is_number, read_allowed, read_gpu_use, read_used
from tfslurm.run_folder import paths
from tfslurm.run_folder.ending import parse_task_end


def read_task(folder: Folder, rank: int, engine: str) -> TaskFacts:
    """The facts of one task on its node; a missing one is None, with the reason in the folder's unknown."""
    driver_version, driver_source = read_driver(folder)
    gpus = read_gpus(folder)
    return TaskFacts(
        node=read_node(folder),
        rank=rank,
        driver_version=driver_version,
        driver_source=driver_source,
        gpus=gpus,
        gpu_source=folder.fact("gpu_source", "gpu-source.txt", facts.text),
        image_digests=folder.fact("image_digests", "image-inspect.json", image_digests),
        image_source=folder.fact("image_source", "image-source.txt", facts.text),
        image_pulled=folder.fact("image_pulled", "image-pulled.txt", facts.text),
        container=read_container(folder, gpus),
        kernel=folder.fact("kernel", "uname.txt", facts.parse_uname),
        os=folder.fact("os", "os-release", facts.parse_os),
        cpu_model=folder.fact("cpu_model", "cpuinfo.txt", facts.parse_cpu),
        memory_mib=folder.fact("memory_mib", "meminfo.txt", facts.parse_memory),
        limits=read_limits(folder),
        **read_machine(folder, engine, gpus),
    )


def read_node(folder: Folder) -> str | None:
    """The node by Slurm's name for it, else by its own."""
    raw = folder.raw("slurm.env")
    named = facts.parse_environment(raw).get("SLURMD_NODENAME") if raw else None
    return named or folder.fact("node", "hostname", facts.text)


def read_driver(folder: Folder) -> tuple[str | None, str | None]:
    """The version of the NVIDIA driver and its source; on a node without one, None and the reason."""
    reasons = []
    for name, source, parse in DRIVER_SOURCES:
        raw = folder.raw(name)
        try:
            if raw is not None:
                return parse(raw), source
            reasons.append(folder.missing(name))
        except ValueError as error:
            reasons.append(f"{name} cannot be read: {error}")
    for key in ("driver_version", "driver_source"):
        folder.note(key, "; ".join(reasons))
    return None, None


def queried_driver(raw: bytes) -> str:
    """The version that every row names; a GPU that is lost has ``[Unknown Error]`` there, or ``[GPU is lost]``."""
    versions = {row.get("driver_version", "") for row in facts.parse_query(raw)}
    versions = {version for version in versions if version[:1].isdigit()}
    if len(versions) != 1:
        raise ValueError(f"it names {len(versions)} driver versions")
    return facts.parse_version(versions.pop().encode())


# Who may say the driver's version, best first: the tool, then the loaded kernel module in two places.
DRIVER_SOURCES = (
    ("nvidia-smi-query.csv", "nvidia-smi --query-gpu=driver_version", queried_driver),
    ("nvidia-driver-proc.txt", "/proc/driver/nvidia/version", facts.parse_driver),
    ("nvidia-driver-module.txt", "/sys/module/nvidia/version", facts.parse_version),
)


def read_gpus(folder: Folder) -> tuple[Gpu, ...] | None:
    """The GPUs that the task was given, by UUID; () for a CPU job, None where it is not known which they are."""
    uuids = folder.fact("gpus", "gpus.txt", facts.parse_lines)
    if uuids is None:
        return None
    scratch = folder.quiet()
    rows = scratch.fact("gpus", "nvidia-smi-query.csv", facts.parse_query) or ()
    known: dict[str, Mapping[str, str]] = {row["uuid"]: row for row in rows}
    names = dict(scratch.fact("gpus", "nvidia-smi-L.txt", facts.parse_list) or ())
    gpus = []
    for index, uuid in enumerate(uuids):
        row = known.get(uuid, {})
        memory = row.get("memory.total", "")
        gpu = Gpu(uuid, row.get("name") or names.get(uuid), int(memory) if is_number(memory) else None)
        for key in ("name", "memory_mib"):
            if getattr(gpu, key) is None:
                folder.note(f"gpus[{index}].{key}", f"nvidia-smi-query.csv has no {key} of {uuid}")
        gpus.append(gpu)
    return tuple(gpus)


def image_digests(raw: bytes) -> tuple[str, ...]:
    """The digests by which the node knows the image (``name@sha256:…``), then its id on that node."""
    image = image_answer(raw)
    return (*sorted(image.digests), image.id)


def read_container(folder: Folder, gpus: tuple[Gpu, ...] | None) -> Container | None:
    """The container as the engine saw it end; where it could not be asked any more, as the task wrote it down."""
    if folder.raw("container-inspect.json") is None and folder.raw("container-id.txt") is None:
        folder.note("container", folder.text("refused.txt") or folder.missing("container-id.txt"))
        return None
    inside, scratch = folder.at(f"{folder.path}.container"), folder.quiet()
    state = scratch.fact("", "container-inspect.json", lambda raw: container_answer(raw).end())
    own = scratch.fact("", paths.END, task_end)
    if state is None and own is None:
        for key in ("exit_code", "oom_killed", "started_at", "ended_at"):
            inside.note(key, inside.missing("container-inspect.json"))
    if state and own and own["oom_killed"]:  # the kernel's count in the job's cgroup, which no engine sees
        state = {**state, "oom_killed": True}
    if state is None and own and folder.text("lost.txt"):  # the task's code says that, and not how the container ended
        own = {**own, "exit_code": None}
        inside.note("exit_code", "the engine could not tell it any more when what attends the job was lost")
    values: Mapping[str, Any] = state or own or {}
    if state and state["exit_code"] is None:
        inside.note("exit_code", "podman's own watcher was killed with the container: nobody saw its end")
    if state and state["oom_killed"] is None:
        inside.note("oom_killed", "it was killed, and podman without root does not see whether for want of memory")
    return Container(
        id=(state or {}).get("id") or inside.fact("id", "container-id.txt", facts.text),
        exit_code=values.get("exit_code"),
        oom_killed=values.get("oom_killed"),
        started_at=values.get("started_at"),
        ended_at=values.get("ended_at"),
        **read_allowed(inside),
        **read_used(inside),
        gpu_utilisation=read_gpu_use(inside, gpus),
    )


def task_end(raw: bytes) -> Mapping[str, Any]:
    """The end of a container as its task wrote it down."""
    end = parse_task_end(raw)
    times = {key: parse_time(time) if (time := getattr(end, key)) else None for key in ("started_at", "ended_at")}
    return {"exit_code": end.exit_code, "oom_killed": end.oom_killed, **times}

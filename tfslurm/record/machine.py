"""The processor, the GPU's kind and the engine of a task's node, which decide about equality to the bit too. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tfslurm.record import facts
from tfslurm.record.engines import container_answer, engine_version
from tfslurm.record.folder import Folder
from tfslurm.record.task_model import Engine, Gpu
from tfslurm.record.usage import count_cpus

CAPABILITY = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}")


def read_machine(folder: Folder, engine: str, gpus: tuple[Gpu, ...] | None) -> Mapping[str, Any]:
    """The facts of a task that the first schema did not have; ``gpus`` is () for a CPU job, which has no driver."""
    return {
        "cpu_flags": folder.fact("cpu_flags", "cpuinfo.txt", facts.parse_cpu_flags),
        "cpus_schedulable": read_cpus(folder),
        "engine": read_engine(folder, engine),
        **(read_gpu_machine(folder, gpus) if gpus != () else {}),
    }


def read_gpu_machine(folder: Folder, gpus: tuple[Gpu, ...] | None) -> Mapping[str, str | None]:
    """What the driver can do, and which libcuda the program had: an image may bring one that is newer."""
    uuids = {gpu.uuid for gpu in gpus or ()}
    libcuda = folder.fact("libcuda_in_container", "libcuda.txt", parse_libcuda)
    if folder.raw("libcuda.txt") is None and folder.text("libcuda.txt.error") is None:
        why = "nobody looked: the program ended in the first 5 s, or an older tfslurm ran the job"
        folder.note("libcuda_in_container", why)
    return {
        "compute_capability": folder.fact(
            "compute_capability", "nvidia-smi-query.csv", lambda raw: parse_capability(raw, uuids)
        ),
        "driver_cuda": folder.fact("driver_cuda", "nvidia-smi-driver.txt", parse_driver_cuda),
        "libcuda_in_container": libcuda,
    }


def parse_capability(raw: bytes, uuids: set[str]) -> str:
    """The compute capability of these GPUs, ``8.0``; of several kinds each once. A slice has that of its whole GPU."""
    rows = facts.parse_query(raw)
    if rows and "compute_cap" not in rows[0]:
        raise ValueError("nvidia-smi does not know compute_cap: the driver is older than 510, or tfslurm was older")
    found = {row["compute_cap"] for row in rows if row["uuid"] in uuids} or {row["compute_cap"] for row in rows}
    if not found or not all(map(CAPABILITY.fullmatch, found)):
        raise ValueError(f"no compute capability in {sorted(found)[:4]}")
    return ", ".join(sorted(found))


def parse_driver_cuda(raw: bytes) -> str:
    """The newest CUDA that the driver runs, in the head of ``nvidia-smi -q``: ``CUDA Version    : 12.2``.

    Later drivers (seen: 610) call it ``CUDA UMD Version``; without a libcuda on the node it is ``N/A``.
    """
    found = re.search(r"^CUDA (?:UMD )?Version\s*: (.{1,40})$", facts.text(raw), re.MULTILINE)
    if not found or not re.fullmatch(r"[0-9]{1,3}\.[0-9]{1,3}", found[1].strip()):
        raise ValueError(f"nvidia-smi says {found[1].strip()!r}" if found else "nvidia-smi does not say it")
    return found[1].strip()


def parse_libcuda(raw: bytes) -> str:
    """The driver's version that a libcuda is of, by its file: ``/usr/lib/x86_64-linux-gnu/libcuda.so.535.104.05``."""
    path = facts.text(raw).splitlines()[0].removesuffix(" (deleted)")
    found = re.fullmatch(r"/.*/libcuda\.so\.([0-9]{1,6}(?:\.[0-9]{1,6}){1,3})", path)
    if not found:
        raise ValueError(f"the name of {path[:200]!r} has no version")
    return found[1]


def read_engine(folder: Folder, name: str) -> Engine:
    """The engine that the plan named, by its own answers."""
    inside = folder.at(f"{folder.path}.engine")
    return Engine(
        name=name,
        version=inside.fact("version", "engine-info.json", lambda raw: word(engine_version(raw))),
        runtime=inside.fact("runtime", "container-inspect.json", lambda raw: word(container_answer(raw).runtime)),
        storage=inside.fact("storage", "container-inspect.json", lambda raw: word(container_answer(raw).storage)),
    )


def read_cpus(folder: Folder) -> int | None:
    """The number of CPUs that the container may run on: by the kernel's word in it, else by the engine's."""
    if folder.raw("container/cpus.txt") is not None:
        return folder.fact("cpus_schedulable", "container/cpus.txt", lambda raw: count_of(facts.text(raw)))
    return folder.fact("cpus_schedulable", "container-inspect.json", parse_cpuset)


def count_of(text: str) -> int:
    """5 of ``0-3,8``, the ``Cpus_allowed_list`` of /proc/PID/status. Source: proc(5)."""
    if not re.fullmatch(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*", text):
        raise ValueError(f"no CPUs in {text[:80]!r}")
    return count_cpus(text)


def parse_cpuset(raw: bytes) -> int:
    """The number of CPUs that the engine let the container run on: 5 of ``0-3,8``."""
    named = container_answer(raw).cpu_numbers
    if not named:
        raise ValueError("the engine was told of no set of CPUs")
    return count_cpus(named)


def word(value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{str(value)[:40]!r} is no name")
    return value

"""The processor and the engine of a task's node, which decide about equality to the bit too. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfslurm.record import facts
from tfslurm.record.engines import container_answer, engine_version
from tfslurm.record.folder import Folder
from tfslurm.record.model import Engine, Gpu
from tfslurm.record.usage import count_cpus

NOT_ASKED = "this version does not ask the node for it"


def read_machine(folder: Folder, engine: str, gpus: tuple[Gpu, ...] | None) -> Mapping[str, Any]:
    """The facts of a task that the first schema did not have; ``gpus`` is () for a CPU job, which has no driver."""
    for key in ("compute_capability", "driver_cuda", "libcuda_in_container") if gpus != () else ():
        folder.note(key, NOT_ASKED)
    return {
        "cpu_flags": folder.fact("cpu_flags", "cpuinfo.txt", facts.parse_cpu_flags),
        "cpus_schedulable": folder.fact("cpus_schedulable", "container-inspect.json", parse_cpuset),
        "engine": read_engine(folder, engine),
    }


def read_engine(folder: Folder, name: str) -> Engine:
    """The engine that the plan named, by its own answers."""
    inside = folder.at(f"{folder.path}.engine")
    return Engine(
        name=name,
        version=inside.fact("version", "engine-info.json", lambda raw: word(engine_version(raw))),
        runtime=inside.fact("runtime", "container-inspect.json", lambda raw: word(container_answer(raw).runtime)),
        storage=inside.fact("storage", "container-inspect.json", lambda raw: word(container_answer(raw).storage)),
    )


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

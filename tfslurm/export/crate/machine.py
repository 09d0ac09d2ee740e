"""The node of a task, with its driver and GPUs, and what the run used of it."""

from __future__ import annotations

from collections.abc import Iterator

from tfslurm.export.crate.entities import Entity, Graph, mark, one_or_all
from tfslurm.record import Record, TaskFacts
from tfslurm.record.model import Attempt

TERMS = "https://w3id.org/ro/terms/compss#"
"The one vocabulary for the use of resources that RO-Crate has a place for."
ENERGY = "https://qudt.org/vocab/quantitykind/Energy"
UNITS = "https://qudt.org/vocab/unit/"


def places(graph: Graph, attempt: Attempt) -> list[Entity]:
    """A place for each node of an attempt; two with other facts are two places."""
    refs = [place(graph, task) for task in attempt.tasks]
    return [dict(pair) for pair in dict.fromkeys(tuple(ref.items()) for ref in refs)]


def place(graph: Graph, task: TaskFacts) -> Entity:
    """The node as it was observed."""
    facts = list(observed(task))
    properties = [graph.value("machine", name, value) for name, value in facts]
    name = task.node or "a node whose name was not observed"
    entity = {"@type": "Place", "name": name, "additionalProperty": one_or_all(properties) if properties else None}
    return graph.add({"@id": f"#node-{mark([name, facts])}", **entity})


def observed(task: TaskFacts) -> Iterator[tuple[str, str | int]]:
    """What the node had, each with its name."""
    for gpu in task.gpus or ():
        memory = f" ({gpu.memory_mib} MiB)" if gpu.memory_mib else ""
        yield "GPU", f"{gpu.name or 'of an unknown kind'}{memory}, {gpu.uuid}"
    texts = {"NVIDIA driver": task.driver_version, "CPU": task.cpu_model, "operating system": task.os}
    texts |= {"Linux kernel": task.kernel}
    yield from ((name, text) for name, text in texts.items() if text)
    if task.memory_mib:
        yield "memory in MiB", task.memory_mib
    if task.cpus_schedulable:
        yield "CPUs that the container could run on", task.cpus_schedulable
    if task.engine:
        yield "container engine", " ".join(filter(None, (task.engine.name, task.engine.version)))


def usage(graph: Graph, record: Record, attempt: Attempt) -> list[Entity]:
    """What an attempt used; of energy, which is the whole job's, in its last attempt."""
    made = []
    for task in attempt.tasks:
        box, where = task.container, f" (task {task.rank})" if len(attempt.tasks) > 1 else ""
        if box and box.peak_memory_mib is not None:
            made.append(used(graph, f"peak memory{where}", box.peak_memory_mib, TERMS + "memMax", "MebiBYTE"))
        for gpu in (box.gpu_utilisation or ()) if box else ():
            whose = f" of {gpu.uuid}{where}"
            if gpu.mean_percent is not None:
                made.append(used(graph, f"mean GPU use{whose}", gpu.mean_percent, TERMS + "gpuAvg", "PERCENT"))
            if gpu.peak_memory_mib is not None:
                made.append(
                    used(graph, f"peak GPU memory{whose}", gpu.peak_memory_mib, TERMS + "gpuMemMax", "MebiBYTE")
                )
    if record.energy and attempt is record.attempts[-1]:
        about = {"description": record.energy.source, "propertyID": ENERGY, "unitCode": UNITS + "J"}
        made.append(graph.value("use", "energy of the GPUs", record.energy.joules, **about))
    return made


def used(graph: Graph, name: str, value: float, kind: str, unit: str) -> Entity:
    """One measurement."""
    return graph.value("use", name, value, propertyID=kind, unitCode=UNITS + unit)

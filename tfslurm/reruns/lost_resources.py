"""Nodes, CPUs, memory and GPUs that the place of a rerun does not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tfslurm.audit.pins import pin_in
from tfslurm.check.fact import gib
from tfslurm.record import Record, TaskFacts
from tfslurm.reruns.loss import Loss
from tfslurm.reruns.place import Gpu, Place
from tfslurm.slurm import Partition
from tfslurm.spec import Experiment
from tfslurm.submission.preflight import Preflight, suits
from tfslurm.tracker import SeenDriver

ANSWERS_FOR_IT = ("1", "t", "true")
"Of NVIDIA_DISABLE_REQUIRE."


def resource_losses(experiment: Experiment, place: Place, parts: Sequence[Partition]) -> Iterator[Loss]:
    """Fewer nodes, CPUs, GPUs and less memory than the job asks for. Slurm has no node for it; this machine runs it
    with fewer CPUs, or less memory, than that."""
    asked = experiment.resources
    if place.is_local:
        yield from local_losses(experiment, place)
        return
    if not parts:
        return
    where = "a node of " + (f"partition {parts[0].name}" if len(parts) == 1 else "its partitions")
    most = max(part.nodes for part in parts)
    if asked.nodes > most:
        yield Loss("nodes", str(asked.nodes), f"{place.name} has {most}", True, f"--set resources.nodes={most}")
    wanted = (
        ("CPUs", "cpus", asked.cpus, max(part.cpus_per_node for part in parts), str),
        ("memory", "memory", asked.memory_mib or 0, max(part.memory_mib_per_node for part in parts), gib),
        ("GPUs", "gpus", asked.gpus, max(part.gpus_per_node for part in parts), str),
    )
    for what, key, count, there, shown in wanted:
        if count > there:
            fix = f"--set resources.{key}={there}{'M' if key == 'memory' else ''}, or another partition"
            yield Loss(what, shown(count), f"{where} has {shown(there)}", True, fix)
    kinds = kinds_in(parts)
    if asked.gpus and asked.gpu_type and kinds and asked.gpu_type not in kinds:
        fix = f"--set resources.gpus={asked.gpus} takes any kind"
        yield Loss("GPU kind", asked.gpu_type, f"{where} has {', '.join(kinds)}", True, fix)


def local_losses(experiment: Experiment, place: Place) -> Iterator[Loss]:
    """The same on this machine, which runs one task."""
    asked, here = experiment.resources, place.machine
    for what, key, count in (("nodes", "nodes", asked.nodes), ("tasks", "tasks_per_node", asked.tasks_per_node)):
        if count > 1:
            yield Loss(what, str(count), "one task runs on this machine", True, f"--set resources.{key}=1")
    if here is None:
        return
    cpus = here.cpus_schedulable or here.cpus
    if cpus and asked.cpus > cpus:
        yield Loss("CPUs", str(asked.cpus), f"this machine has {cpus}")
    if here.memory_mib and (asked.memory_mib or 0) > here.memory_mib:
        yield Loss("memory", gib(asked.memory_mib or 0), f"this machine has {gib(here.memory_mib)}")
    if here.gpus is None or not asked.gpus:
        return
    count = here.gpus_named or len(here.gpus)
    words = f"CUDA_VISIBLE_DEVICES names {count}" if here.gpus_named else f"this machine has {count}"
    if asked.gpus > count:
        yield Loss("GPUs", str(asked.gpus), words, True, f"--set resources.gpus={count}, or another machine")
    if asked.gpus < count:
        fix = f"set CUDA_VISIBLE_DEVICES to the UUIDs of {asked.gpus} of them (nvidia-smi -L lists them)"
        yield Loss("GPUs", str(asked.gpus), f"{words}, and nobody says which to use", True, fix)


def kinds_in(parts: Sequence[Partition]) -> list[str]:
    """The kinds of GPUs as gres.conf names them, a100 of ``gpu:a100:4``; [] where one has no kind."""
    words = [gres.split(":") for part in parts for gres in part.gres if gres.split(":")[0] == "gpu"]
    return list(dict.fromkeys(word[1] for word in words)) if all(len(word) == 3 for word in words) else []


def gpu_losses(record: Record, experiment: Experiment, place: Place, parts: Sequence[Partition]) -> Iterator[Loss]:
    """Other GPUs and another driver than the original's; a driver that is too old for the image's CUDA stops it."""
    if not experiment.resources.gpus:
        return
    tasks = last_tasks(record)
    had = list(dict.fromkeys(gpu.name for task in tasks for gpu in task.gpus or () if gpu.name))
    here = list(dict.fromkeys(gpu.name for gpu in seen_gpus(place)))
    kinds = kinds_in(parts)
    if had and here and set(had) != set(here):
        yield Loss("GPU kind", ", ".join(had), ", ".join(here))
    elif had and not here and kinds and not any(is_of(kind, name) for kind in kinds for name in had):
        yield Loss("GPU kind", ", ".join(had), ", ".join(kinds))
    yield from gpu_memory_losses(tasks, place)
    yield from driver_losses(record, experiment, place, [part.name for part in parts])


def last_tasks(record: Record) -> list[TaskFacts]:
    """The tasks of the last attempt."""
    return [task for attempt in record.attempts[-1:] for task in attempt.tasks]


def seen_gpus(place: Place) -> Sequence[Gpu]:
    """The GPUs of the machine that was looked at."""
    return (place.machine.gpus or ()) if place.machine else ()


def is_of(kind: str, name: str) -> bool:
    """Whether gres.conf's word for a kind, ``a100_80g`` or ``rtx3090``, can stand for a GPU's name."""
    plain = "".join(char for char in name.lower() if char.isalnum())
    words = kind.lower().replace("-", "_").split("_")
    return all("".join(char for char in word if char.isalnum()) in plain for word in words)


def gpu_memory_losses(tasks: Sequence[TaskFacts], place: Place) -> Iterator[Loss]:
    """GPUs with less memory, beside what the original used of its own."""
    had = [gpu.memory_mib for task in tasks for gpu in task.gpus or () if gpu.memory_mib]
    here = [gpu.memory_mib for gpu in seen_gpus(place) if gpu.memory_mib]
    if not had or not here or max(here) >= min(had):
        return
    used = [use.peak_memory_mib for task in tasks if task.container for use in task.container.gpu_utilisation or ()]
    peak = max((each for each in used if each), default=0)
    asked = gib(min(had)) + (f", of which it used {gib(peak)}" if peak else "")
    fix = "it may run out of memory: a smaller batch is a --set, and another experiment" if peak > max(here) else ""
    yield Loss("GPU memory", asked, gib(max(here)), fix=fix)


def driver_losses(record: Record, experiment: Experiment, place: Place, partitions: Sequence[str]) -> Iterator[Loss]:
    """Another driver than the original's, or one that cannot run the image's CUDA."""
    seen = drivers_at(place, partitions)
    if not seen:
        return
    had = dict.fromkeys(task.driver_version for task in last_tasks(record) if task.driver_version)
    now = dict.fromkeys(each.version for each in seen)
    variables: Mapping[str, str] = {**pin_in(record).environment, **{k: str(v) for k, v in experiment.env.items()}}
    found = suits(variables, seen)
    needs = f"one that runs CUDA {variables['CUDA_VERSION']}" if variables.get("CUDA_VERSION") else "a newer one"
    asked = ", ".join(had) or needs
    if is_too_old(found, variables):
        fix = "another partition, or cluster; `tfslurm check` looks at the driver again"
        yield Loss("driver", asked, found.words("too old"), found.status == "too old", fix)
    elif had and set(now) != set(had):
        yield Loss("driver", asked, ", ".join(now))


def is_too_old(found: Preflight, variables: Mapping[str, str]) -> bool:
    """Whether some driver is too old for the image, and nobody answers for it himself."""
    answered = variables.get("NVIDIA_DISABLE_REQUIRE", "").lower() in ANSWERS_FOR_IT
    return "too old" in found.status and not answered


def drivers_at(place: Place, partitions: Sequence[str]) -> list[SeenDriver]:
    """The drivers of the machine that was looked at, else those that were seen on the job's partitions before."""
    looked = place.machine
    if looked and looked.driver:
        return [SeenDriver(place.cluster.name, "", looked.name, looked.driver, "", "looking now")]
    return [each for each in place.drivers if not partitions or each.partition in partitions]


def machine_losses(record: Record, experiment: Experiment, place: Place) -> Iterator[Loss]:
    """Another number of CPUs that the container may run on: bits depend on it. Known of this machine alone."""
    here = place.machine
    had = record.determinism.cpus_schedulable if record.determinism else None
    if not place.is_local or here is None or not had or not here.cpus_schedulable:
        return
    if here.cpus_schedulable != had:
        fix = ""
        if here.cpus_schedulable > had:
            some = f"0-{had - 1}" if had > 1 else "0"
            fix = f"`taskset --cpu-list {some} tfslurm rerun …` gives it as many"
        yield Loss("schedulable CPUs", str(had), str(here.cpus_schedulable), fix=fix)

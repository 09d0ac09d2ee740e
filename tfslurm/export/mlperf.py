"""Records -> the system description that MLPerf asks of a submission, as far as it was observed. Pure.

Keys: those that mlcommons/logging (mlperf_logging/system_desc_checker, for training) and mlcommons/inference
(tools/submission, SYSTEM_DESC_REQUIRED_FIELDS) demand; the first one demands texts.

``""`` is a fact that was not observed: whoever submits fills it in. ``N/A`` is one that there is not: a run without
GPUs has no model of one. Memory is in MiB, as nodes and drivers count it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tfslurm.record import Record, TaskFacts

KEYS = (
    *("division", "submitter", "status", "system_name", "system_type", "system_type_detail", "number_of_nodes"),
    *("host_processors_per_node", "host_processor_model_name", "host_processor_core_count"),
    *("host_processor_vcpu_count", "host_processor_frequency", "host_processor_caches"),
    *("host_processor_interconnect", "host_memory_capacity", "host_memory_configuration", "host_storage_type"),
    *("host_storage_capacity", "host_networking", "host_networking_topology", "host_network_card_count"),
    *("accelerators_per_node", "accelerator_model_name", "accelerator_memory_capacity"),
    *("accelerator_memory_configuration", "accelerator_frequency", "accelerator_on-chip_memories"),
    *("accelerator_host_interconnect", "accelerator_interconnect", "accelerator_interconnect_topology"),
    *("cooling", "hw_notes", "framework", "operating_system", "other_software_stack", "sw_notes"),
)
NONE = "N/A"


def system_descriptions(records: Sequence[Record]) -> list[dict[str, str]]:
    """The description of each system that the records ran on, each once, with every key of KEYS."""
    found: list[dict[str, str]] = []
    for record in records:
        made = description(record)
        if made not in found:
            found.append(made)
    return found


def description(record: Record) -> dict[str, str]:
    """The system of one run, by the tasks of its last attempt."""
    tasks = record.attempts[-1].tasks if record.attempts else ()
    nodes = {task.node for task in tasks if task.node}
    facts = {
        "number_of_nodes": str(len(nodes) or len(record.job.nodes) or ""),
        "host_processor_model_name": same(task.cpu_model for task in tasks),
        "host_memory_capacity": same(mib(task.memory_mib) for task in tasks),
        **accelerators(tasks),
        "framework": f"TensorFlow {record.environment.tensorflow}" if record.environment.tensorflow else "",
        "operating_system": same(task.os for task in tasks),
        "other_software_stack": ", ".join(software(record, tasks)),
        "sw_notes": f"container image {record.image.reference}, {record.image.digest_kind} {record.image.digest}",
    }
    return {key: facts.get(key, "") for key in KEYS}


def same(values: Iterable[str | None]) -> str:
    """The value that all have; '' where one has another, or it is not known of one."""
    found = set(values)
    return (found.pop() or "") if len(found) == 1 else ""


def mib(number: int | None) -> str | None:
    """A size in MiB."""
    return None if number is None else f"{number} MiB"


def accelerators(tasks: Sequence[TaskFacts]) -> dict[str, str]:
    """The GPUs that the run had, which need not be all of a node; one that tasks of a node share counts once."""
    if not tasks or any(task.gpus is None for task in tasks):
        return {}
    each: dict[str | None, set[str]] = {}
    for task in tasks:
        each.setdefault(task.node, set()).update(gpu.uuid for gpu in task.gpus or ())
    if not any(each.values()):
        named = [key for key in KEYS if key.startswith("accelerator_")]
        return {"accelerators_per_node": "0", **dict.fromkeys(named, NONE)}
    gpus = [gpu for task in tasks for gpu in task.gpus or ()]
    sliced = " slices of GPUs in MIG mode" if any(gpu.uuid.startswith("MIG-") for gpu in gpus) else " GPUs"
    return {
        "accelerators_per_node": same(str(len(uuids)) for uuids in each.values()),
        "accelerator_model_name": same(gpu.name for gpu in gpus),
        "accelerator_memory_capacity": same(mib(gpu.memory_mib) for gpu in gpus),
        "hw_notes": f"accelerators are the{sliced} that Slurm gave to the run; a node may have more",
    }


def software(record: Record, tasks: Sequence[TaskFacts]) -> list[str]:
    """The software in the image and on the nodes, as far as each is known and the same everywhere."""
    inside = record.environment
    engine = same(f"{task.engine.name} {task.engine.version}" if task.engine else None for task in tasks)
    driver = same(task.driver_version for task in tasks)
    named = {
        "Python": inside.python,
        "CUDA": inside.cuda_present or inside.cuda,
        "cuDNN": inside.cudnn_present or inside.cudnn,
        "NVIDIA driver": driver,
        "Linux kernel": same(task.kernel for task in tasks).removeprefix("Linux "),
        "image": inside.os,
    }
    return [f"{name} {value}" for name, value in named.items() if value] + ([engine] if engine else [])

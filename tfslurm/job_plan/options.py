"""The options of sbatch, from the experiment and the cluster's defaults. Pure."""

from __future__ import annotations

from collections.abc import Collection

from tfslurm.cluster import Ask, Cluster
from tfslurm.document import Refused
from tfslurm.errors import InputError
from tfslurm.spec import Checkpoint, Experiment, Resources
from tfslurm.spec.dependency import dependency

WARNING = "URG"  # what Slurm sends before the end; node.sh turns it into the experiment's own signal, and says why

USUAL = Ask()


def slurm_options(experiment: Experiment, cluster: Cluster) -> dict[str, str | int | bool]:
    """The options of sbatch: the cluster's defaults, the experiment's options, then its resources and checkpoint.

    Raises:
        InputError: the job would depend on one of another cluster.
    """
    asked = {**cluster.slurm, **experiment.slurm}
    options: dict[str, str | int | bool] = {key.replace("_", "-"): value for key, value in asked.items()}
    if isinstance(wanted := experiment.slurm.get("dependency"), str):
        try:
            options["dependency"] = dependency(wanted, cluster.name)
        except Refused as refused:
            raise InputError([experiment.problem(("slurm", "dependency"), refused.why, refused.fix)]) from None
    return {**options, **own_options(experiment.resources, experiment.checkpoint, cluster.ask)}


def own_options(resources: Resources, checkpoint: Checkpoint | None, ask: Ask = USUAL) -> dict[str, str | int | bool]:
    """The options that say the resources and the checkpoint; no other key of a file may set them."""
    options: dict[str, str | int | bool] = {}
    options["nodes"] = resources.nodes
    options["ntasks-per-node"] = resources.tasks_per_node
    options["cpus-per-task"] = -(-resources.cpus // resources.tasks_per_node)
    if resources.gpus:
        kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
        options[ask.gpus] = f"{'gpu:' if ask.gpus == 'gres' else ''}{kind}{resources.gpus}"
    if resources.memory_mib and ask.memory == "mem-per-cpu":
        cpus = resources.tasks_per_node * int(options["cpus-per-task"])
        options["mem-per-cpu"] = f"{-(-resources.memory_mib // cpus)}M"
    elif resources.memory_mib is not None:
        options["mem"] = f"{resources.memory_mib}M" if resources.memory_mib else "0"  # 0: all, as sbatch has it
    if resources.time_s:
        options["time"] = slurm_time(resources.time_s)
    if checkpoint:
        options["signal"] = f"{WARNING}@{checkpoint.before_end_s}"
    options["requeue" if checkpoint and checkpoint.requeue else "no-requeue"] = True
    return options


def slurm_time(seconds: int) -> str:
    """A duration as ``D-HH:MM:SS``, which Slurm reads without ambiguity. Source: sbatch(1), --time."""
    days, rest = divmod(seconds, 86400)
    return f"{days}-{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"


def ask_of(options: Collection[str]) -> Ask:
    """How a plan with these options asks for memory and GPUs."""
    memory = "mem-per-cpu" if "mem-per-cpu" in options else "mem"
    return Ask(memory, "gpus-per-node" if "gpus-per-node" in options else "gres")

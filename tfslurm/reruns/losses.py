"""What cannot be had the same way at the place of a rerun, from the record and what was seen of the place.

A fact that was not observed of both is no loss: nothing is said of it here. ``resources``, ``options`` and ``inputs``
are the parts; this joins them, and has what is left: cluster, engine, network, processor.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfslurm.job_plan.options import slurm_options
from tfslurm.record import Record
from tfslurm.reruns.loss import Loss
from tfslurm.reruns.lost_inputs import data_losses, secret_losses
from tfslurm.reruns.lost_options import option_losses, time_losses
from tfslurm.reruns.lost_resources import gpu_losses, machine_losses, resource_losses
from tfslurm.reruns.place import Place
from tfslurm.spec import Experiment

PLATFORMS = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x"}
"What an image calls an architecture, by the kernel's word for it."


def losses(record: Record, experiment: Experiment, place: Place, *, anyway: bool = False) -> list[Loss]:
    """Everything that cannot be had the same way, what stops the rerun first.

    ``experiment`` is what would be submitted: the original's with what the user set. With ``anyway`` data that differs
    and an image for another processor do not stop it.

    Raises:
        InputError: an option that holds for no cluster.
    """
    options = {key: str(value) for key, value in slurm_options(experiment, place.cluster).items()}
    parts = place.partitions(options.get("partition", ""))
    found = [
        *cluster_losses(record, place),
        *engine_losses(record, place),
        *network_losses(record, experiment),
        *processor_losses(record, place, anyway=anyway),
        *resource_losses(experiment, place, parts),
        *gpu_losses(record, experiment, place, parts),
        *machine_losses(record, experiment, place),
        *([] if place.is_local else option_losses(record, place, options)),
        *time_losses(record, experiment, place, parts),
        *data_losses(record, experiment, place, anyway=anyway),
        *secret_losses(experiment, place),
    ]
    return sorted(found, key=lambda loss: not loss.stops)


def cluster_losses(record: Record, place: Place) -> Iterator[Loss]:
    """Another cluster than the original's."""
    if place.cluster.name != record.job.cluster:
        yield Loss("cluster", record.job.cluster, place.name)


def engine_losses(record: Record, place: Place) -> Iterator[Loss]:
    """Another container engine."""
    had = engine_of(record)
    if had and had != place.cluster.engine:
        yield Loss("engine", had, place.cluster.engine)


def engine_of(record: Record) -> str:
    """The engine that the original's containers were made with; '' where the record does not say it."""
    tasks = (task for attempt in reversed(record.attempts) for task in attempt.tasks)
    return next((task.engine.name for task in tasks if task.engine), "")


def network_losses(record: Record, experiment: Experiment) -> Iterator[Loss]:
    """Another network of the containers; `host` is that of the machine, and reaches what it reaches."""
    asked = record.asked.network if record.asked else None
    if asked is not None and asked != experiment.network:
        yield Loss("network", asked, experiment.network, fix=f"--set network={asked}")


def processor_losses(record: Record, place: Place, *, anyway: bool) -> Iterator[Loss]:
    """A processor that the image is not for, another model, or one that lacks what the original's could do."""
    here = place.machine
    if here is None:
        return
    image = (record.image.platform or "").split("/")[1:2]
    mine = PLATFORMS.get(here.architecture, here.architecture)
    if image and mine and image[0] != mine:
        fix = f"run it on a machine of {image[0]}, or with --anyway, if this one emulates it"
        yield Loss("processor", f"{record.image.platform} by the image", mine, not anyway, fix)
    had = dict.fromkeys(task.cpu_model for attempt in record.attempts[-1:] for task in attempt.tasks if task.cpu_model)
    if had and here.cpu_model and here.cpu_model not in had:
        yield Loss("CPU model", ", ".join(had), here.cpu_model)

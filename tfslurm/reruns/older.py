"""What a record of the first schema says of what was asked, as far as it does. Pure."""

from __future__ import annotations

from tfslurm.errors import RecordError
from tfslurm.record import Record
from tfslurm.record.model import Asked, Template

NOTE = "the record is of an older tfslurm, which did not write down what was asked: {}"


def asked_of(record: Record) -> tuple[Asked, tuple[str, ...]]:
    """What was asked, and what had to be assumed: the record's own, or what the run itself shows.

    Raises:
        RecordError: the image's pin is not in it either.
    """
    if record.asked is not None:
        return record.asked, ()
    tasks = record.attempts[-1].tasks if record.attempts else ()
    gpus = len(tasks[0].gpus or ()) if tasks else 0
    nodes = len(record.job.nodes) or 1
    if len(tasks) > nodes:
        raise RecordError("a record of an older tfslurm does not say how its tasks were spread; submit its exp.yaml")
    cpus = tasks[0].cpus_schedulable if tasks else None
    resources = {"gpus": gpus, "cpus": cpus or 1, "time_s": record.job.time_limit_s, "nodes": nodes}
    had = f"{gpus} GPUs, {cpus or 1} CPUs and {nodes} nodes are what it had"
    said = f"{had}; network and memory are the usual ones, and code is read-only"
    asked = Asked(
        resources={**resources, "tasks_per_node": 1, "memory_mib": None},
        network="bridge" if nodes == 1 else "host",
        options={},
        checkpoint=None,
        template=Template(None, None, None),
        entrypoint=(),
        secrets=(),
        gpu_check="cached",
        prepull=False,
        shm=None,
        outputs=None,
        spec=None,
        lock="",
    )
    return asked, (NOTE.format(said),)

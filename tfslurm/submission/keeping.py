"""A job whose container is kept after its program has failed, for `tfslurm exec`."""

from __future__ import annotations

from collections.abc import Sequence

from tfslurm.document import Refused
from tfslurm.errors import InputError, refuse
from tfslurm.job_plan.holding import LONGEST_KEPT_S
from tfslurm.spec import Resources
from tfslurm.spec.quantities import short_time_s
from tfslurm.submission.local import refuse_several_tasks
from tfslurm.submission.prepare import Asked
from tfslurm.workspace.config import LOCAL, Known

OPTION = "--keep-on-failure"


def keeping(asked: Asked, text: str, chosen: Sequence[Known]) -> Asked:
    """The same experiment, whose container is kept for so long (``30m``) if its program fails.

    Raises:
        InputError: the text is no time; or the experiment is a sweep, for several tasks, or queued again by Slurm; or a
            cluster is this machine.
    """
    try:
        seconds = short_time_s(text)
    except Refused as refused:
        raise refuse(f"{OPTION} {text!r}", refused.why, refused.fix) from refused
    if not 0 < seconds <= LONGEST_KEPT_S:
        raise refuse(f"{OPTION} {text!r}", "is not between 1s and 7d", "write 30m, or leave the option out")
    experiment = asked.experiment
    if experiment.sweep is not None:
        why = "is for one job: each point that fails would hold its GPUs"
        raise refuse(OPTION, why, "submit one point: give each parameter one value with --set")
    refuse_several_tasks(experiment, f"{OPTION} keeps one container")
    if experiment.checkpoint and experiment.checkpoint.requeue:
        why = f"is true: Slurm could start a program again that has failed, while {OPTION} keeps its container"
        fix = f"--set checkpoint.requeue=false, or leave {OPTION} out"
        raise InputError([experiment.problem(("checkpoint", "requeue"), why, fix)])
    if any(known.cluster.name == LOCAL for known in chosen):
        why = f"has no step of Slurm's that leads into a container, which {OPTION} is for"
        raise refuse(f"cluster {LOCAL}", why, "name another with --cluster, or leave the option out")
    return asked._replace(keep_on_failure_s=seconds)


def cost(asked: Asked) -> str:
    """What a failure may cost, in a sentence for who submits."""
    holds = f"{held(asked.experiment.resources)} for {words(asked.keep_on_failure_s)} more, within its time limit"
    return f"note: if the program fails, the job may hold {holds}; `tfslurm cancel` ends that"


def held(resources: Resources) -> str:
    """What a job holds: ``2 GPUs and 8 CPUs``."""
    counts = ((resources.gpus, "GPU"), (resources.cpus, "CPU"))
    return " and ".join(f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in counts if count)


def words(seconds: int) -> str:
    """Seconds in the largest unit that says them whole: ``30 min``."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"

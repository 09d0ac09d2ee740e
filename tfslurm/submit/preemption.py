"""What becomes of a job that a more important one pushes out, where that differs from what its experiment asks."""

from __future__ import annotations

from tfslurm.errors import HostError
from tfslurm.host import Host
from tfslurm.plan import JobPlan
from tfslurm.submit.places import Known


def preemption_note(plan: JobPlan, known: Known, host: Host) -> str:
    """One line where the job asks to be queued again and its partition cancels what it pushes out; else ''."""
    if not plan.checkpoint or not plan.checkpoint.requeue:
        return ""
    from tfslurm.submit.profile import site_profile

    try:
        modes = site_profile(known, host).preemption
    except HostError:
        return ""  # the job is queued; this is a note
    names = [name for name in plan.options.get("partition", "").split(",") if "CANCEL" in modes.get(name, "").upper()]
    if not names:
        return ""
    where = f"partition {', '.join(names)}" if names[0] else "the default partition"
    return (
        f"{plan.cluster}: {where} cancels a job that is pushed out (PreemptMode=CANCEL): "
        "`checkpoint: {requeue: true}` serves the time limit there, not preemption"
    )

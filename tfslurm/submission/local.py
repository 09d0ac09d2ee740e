"""The same job here and now: the very script, run by bash, with docker alone and no scheduler."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tfslurm.errors import InputError
from tfslurm.handoff.local_process import attempt
from tfslurm.host import Host
from tfslurm.spec import Experiment
from tfslurm.submission.prepare import Prepared
from tfslurm.submission.submit import send_files
from tfslurm.tracker import Tracker


def refuse_several_tasks(experiment: Experiment) -> None:
    """Refuse an experiment of several containers: this machine runs one.

    Raises:
        InputError: it asks for several tasks, with the line.
    """
    asked = {"nodes": experiment.resources.nodes, "tasks_per_node": experiment.resources.tasks_per_node}
    fix = "submit it, or run one task of it: --set resources.{key}=1"
    problems = [
        experiment.problem(("resources", key), f"is {count}; without a scheduler one task runs", fix.format(key=key))
        for key, count in asked.items()
        if count > 1
    ]
    if problems:
        raise InputError(problems)


def start(
    prepared: Prepared, tracker: Tracker, host: Host, secrets: Mapping[str, str]
) -> tuple[str, subprocess.Popen[bytes]]:
    """The id of the local job and its running process, whose output goes where a batch job's goes.

    Raises:
        HostError: bash could not be started.
    """
    plan = prepared.plan
    tracker.plan(plan, prepared.cluster_text)
    send_files(prepared, host, secrets)
    job_id = tracker.local_id(plan)
    return job_id, attempt(Path(plan.run_dir), job_id, secrets)

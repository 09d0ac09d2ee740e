"""Planning and submitting experiments, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tfslurm.api.arguments import Value, asked_for, only
from tfslurm.api.jobs import Job
from tfslurm.api.session import LOG, session
from tfslurm.api.sweeps import Sweep
from tfslurm.job_plan import JobPlan
from tfslurm.submission.once import prepared_for, submit_jobs


class Planned(NamedTuple):
    """A job that was planned and not submitted: ``plan`` has all that it asks for, ``script`` is its batch script.

    The plan's id depends on the moment.
    """

    plan: JobPlan
    script: str

    def __repr__(self) -> str:
        return f"Planned({self.plan.job_name!r} on {self.plan.cluster})"


def plan(
    experiment: str | Path,
    *,
    cluster: str | Sequence[str] = (),
    settings: Mapping[str, Value | Sequence[Value]] | None = None,
    **parameters: Value,
) -> Planned:
    """Return the job that ``submit`` would queue with these arguments, without asking a cluster.

    An image that was never pinned is pinned first, as by ``tfslurm pin``.

    Raises:
        InputError: a file or a value given here is wrong, or the experiment is a sweep.
        TfslurmError: the image was never pinned, and its registry does not answer.
    """
    asked, chosen = asked_for(session(), experiment, cluster, settings or {}, parameters, sweeps=False)
    (job,) = prepared_for(session(), asked, [only(experiment, chosen)])
    return Planned(job.plan, job.script)


def submit(
    experiment: str | Path,
    *,
    cluster: str | Sequence[str] = (),
    force: bool = False,
    again: bool = False,
    keep_on_failure: str = "",
    settings: Mapping[str, Value | Sequence[Value]] | None = None,
    **parameters: Value | Sequence[Value],
) -> Job | Sweep:
    """Submit an experiment, and return a Job, or a Sweep if the experiment has several points.

    Args:
        experiment: the file exp.yaml.
        cluster: the name of a cluster, or several for a sweep; by default the file's, or the only one that is known.
        force: submit although every driver seen there is too old for the image's CUDA.
        again: submit although the same job is queued or running already.
        keep_on_failure: how long to keep the container of a program that failed, such as ``"30m"``; '': not at all.
        settings: keys of exp.yaml, such as ``{"resources.time": "01:00:00"}``.
        parameters: the values of ``{{ }}``: ``lr=0.1``, or ``lr=[0.1, 0.01]`` for a sweep.

    Raises:
        InputError: a file or a value given here is wrong.
        SubmitRejected: sbatch refused the job.
        TfslurmError: the job could not be queued, or the same job is queued or running already.
    """
    asked, chosen = asked_for(session(), experiment, cluster, settings or {}, parameters, sweeps=True)
    if keep_on_failure:
        from tfslurm.submission.keeping import keeping

        asked = keeping(asked, keep_on_failure, chosen)
    if asked.experiment.sweep is not None:
        from tfslurm.submission.sweep_submit import submit_sweep

        sent = submit_sweep(
            session(), asked, chosen, force=force, again=again, told=LOG.info, shown=lambda sweep, jobs: None
        )
        return Sweep(sent.sweep_id)
    one = [only(experiment, chosen)]
    (job,) = submit_jobs(session(), asked, one, force=force, again=again, told=LOG.info)
    return Job(job.key)

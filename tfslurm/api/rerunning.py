"""A run once more from its record, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfslurm.api import LOG, Job, session
from tfslurm.api.arguments import Value, texts_of
from tfslurm.api.comparing import Run, named
from tfslurm.reruns.original import original_named
from tfslurm.reruns.run import make_rerun, run_here, submit_rerun
from tfslurm.reruns.workspace import Wish


def rerun(
    run: Run,
    *,
    cluster: str = "",
    local: bool = False,
    data: Mapping[str, str | Path] | None = None,
    anyway: bool = False,
    again: bool = False,
    settings: Mapping[str, Value] | None = None,
    **parameters: Value,
) -> Job:
    """Run a job again from its record, and return the new Job; ``tfslurm.diff(run, job.wait())`` is the verdict.

    Args:
        run: a job, its name, its record, a file with a record, or a crate.
        cluster: the name of a cluster; by default the one where the original ran.
        local: run it on this machine, with docker alone; the job has ended when this returns.
        data: where the data of a mount lie, by the mount's place in the container.
        anyway: run a record or code that was changed.
        again: submit although the same rerun is queued or running already.
        settings: keys of exp.yaml, such as ``{"resources.time": "01:00:00"}``; with these it is a variation.
        parameters: the values of ``{{ }}``, likewise.

    Raises:
        InputError: the name stands for nothing or for several runs, no cluster is meant, or a value is wrong.
        RecordError: the original has not ended, or a part of it is not to be had, or was changed.
        TfslurmError: as ``submit``.
    """
    places = {target: str(source) for target, source in (data or {}).items()}
    wish = Wish(cluster, local, texts_of(settings or {}, parameters), places, anyway, Path().resolve())
    made = make_rerun(session(), original_named(session(), named(run), anyway=anyway), wish)
    for line in (*made.workspace.warnings, *made.workspace.notes):
        LOG.warning("%s", line)
    if made.is_here:
        return Job(str(run_here(session(), made, None)["job"]))
    return Job(submit_rerun(session(), made, LOG.info, again=again))

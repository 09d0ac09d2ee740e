"""A run once more from its record, from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tfslurm.api.arguments import Value, texts_of
from tfslurm.api.comparing import Run, named
from tfslurm.api.jobs import Job
from tfslurm.api.session import LOG, session
from tfslurm.api.sweeps import Sweep
from tfslurm.errors import refuse
from tfslurm.reruns.chosen import Chosen, chosen_points, chosen_seeds
from tfslurm.reruns.original import original_of
from tfslurm.reruns.run import Rerun, make_rerun, run_here, submit_rerun
from tfslurm.reruns.several import make_groups, submit_group
from tfslurm.reruns.workspace import Wish
from tfslurm.retrieval.comparing import ended
from tfslurm.submission.review import reaching


def rerun(
    run: Run,
    *,
    cluster: str = "",
    local: bool = False,
    points: int | None = None,
    seeds: int | None = None,
    data: Mapping[str, str | Path] | None = None,
    anyway: bool = False,
    again: bool = False,
    yes: bool = False,
    settings: Mapping[str, Value] | None = None,
    **parameters: Value,
) -> Job | Sweep:
    """Run a job again from its record, and return the new Job; ``tfslurm.diff(run, job.wait())`` is the verdict.

    Of a sweep, or with ``seeds``, a Sweep comes out.

    Args:
        run: a job, a sweep, its name, its record, a file with a record, or a crate.
        cluster: the name of a cluster; by default the one where the original ran.
        local: run it on this machine, with docker alone; the job has ended when this returns.
        points: so many points of a sweep, a stratified sample; by default all.
        seeds: the job with so many other seeds, to learn how far its metric varies.
        data: where the data of a mount lie, by the mount's place in the container.
        anyway: run a record or code that was changed.
        again: submit although the same rerun is queued or running already.
        yes: the template of somebody else's record may run, as you and outside of the container; else it is refused.
        settings: keys of exp.yaml, such as ``{"resources.time": "01:00:00"}``; with these it is a variation.
        parameters: the values of ``{{ }}``, likewise.

    Raises:
        InputError: the name stands for nothing, no cluster is meant, or a value is wrong; several runs and ``local``.
        RecordError: the original has not ended, or a part of it is not to be had, or was changed.
        TfslurmError: as ``submit``.
    """
    places = {target: str(source) for target, source in (data or {}).items()}
    if points is not None and seeds is not None:
        raise refuse("rerun", "takes points or seeds, not both", "leave one of them out")
    texts = texts_of(settings or {}, parameters)
    wish = Wish(cluster, local, texts, places, anyway, Path().resolve(), is_agreed=yes)
    found = ended(session(), named(run))
    name = str(run) if isinstance(run, str | Path) else run.id if isinstance(run, Sweep) else found[0].key
    if len(found) > 1 or points is not None or seeds is not None:
        chosen = (
            chosen_points(name, found, points) if seeds is None else chosen_seeds(name, found, seeds, wish.settings)
        )
        return Sweep(of_several(chosen, wish, again=again))
    made = make_rerun(session(), original_of(found[0], name, anyway=anyway), wish)
    warn(made)
    if made.is_here:
        return Job(str(run_here(session(), made, None)["job"]))
    return Job(submit_rerun(session(), made, LOG.info, again=again))


def of_several(chosen: Chosen, wish: Wish, *, again: bool) -> str:
    """The sweep that runs them again.

    Raises:
        InputError: they would be no one sweep.
    """
    groups = make_groups(session(), chosen, wish)
    if wish.is_here or len(groups) > 1:
        why = "is several runs, which on this machine, or on several clusters, are no one Sweep"
        raise refuse(chosen.name, why, "name one cluster, or use `tfslurm rerun`")
    for line in chosen.said:
        LOG.info("%s", line)
    warn(groups[0].rerun)
    return submit_group(session(), groups[0], LOG.info, again=again)


def warn(made: Rerun) -> None:
    """Say what is not as it was, and what reaches beyond the container."""
    reached = reaching(made.workspace.asked.experiment)
    lost = [f"not as before: {loss}" for loss in made.losses if not loss.stops]
    for line in (*made.workspace.warnings, *made.workspace.notes, *reached, *lost):
        LOG.warning("%s", line)

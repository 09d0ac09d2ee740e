"""`tfslurm plan` and `tfslurm submit` of an experiment with a sweep."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfslurm.cli.console import emit, show
from tfslurm.spec import fill, read_sweep
from tfslurm.submission.prepare import Asked
from tfslurm.submission.review import reached
from tfslurm.submission.sweep_arrays import Swept, placed
from tfslurm.submission.sweep_resume import send_again
from tfslurm.submission.sweep_submit import as_value, lines_of, submit_sweep
from tfslurm.sweeps.points import sweep_of
from tfslurm.sweeps.summary import summary, to_json
from tfslurm.tracker import TrackedSweep
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session


def show_sweep(asked: Asked, clusters: Sequence[str], as_json: bool) -> None:
    """Print the points and where they would go; no cluster is asked."""
    experiment = asked.experiment
    given: Mapping[str, Any] = experiment.sweep or {}
    sweep, said = sweep_of(experiment), read_sweep(given)
    fill(experiment, sweep.points[0].parameters)
    reach = reached(asked)
    places = None
    if said.spread != "idle" or len(clusters) == 1:
        places = placed(sweep, clusters, given, {}, experiment.resources.time_s)
    if as_json:
        emit(to_json(experiment.name, sweep, places))
    else:
        packed = said.points_per_job
        more = [("job", f"up to {packed} points one after another in each")] if packed > 1 else []
        show("\n".join(lines_of([*summary(experiment.name, sweep, places, clusters), *reach, *more])))


def send_sweep(
    session: Session,
    asked: Asked,
    chosen: Sequence[Known],
    told: Callable[[str], None],
    *,
    force: bool,
    again: bool,
    as_json: bool,
) -> TrackedSweep:
    """Submit a sweep; its Slurm jobs are ``told`` one by one, and printed as JSON when all are queued."""

    def shown(sweep: TrackedSweep, jobs: Sequence[str]) -> None:
        if as_json:
            emit(as_value(sweep, jobs, session.tracker))
        sys.stdout.flush()

    return submit_sweep(session, asked, chosen, force=force, again=again, told=told, shown=shown)


def print_sent(session: Session, sweep: TrackedSweep, swept: Swept | None, *, as_json: bool) -> None:
    """Send the waiting points of a sweep again, and print the jobs: one by one, or as JSON when all are queued.

    Raises:
        TfslurmError: the first thing that went wrong, when all clusters were tried.
    """
    jobs: list[str] = []

    def queued(job: str) -> None:
        jobs.append(job)
        if not as_json:
            show(job)

    troubles = send_again(session, sweep, swept, queued)
    if as_json:
        emit(as_value(sweep, jobs, session.tracker))
    if troubles:
        raise troubles[0]

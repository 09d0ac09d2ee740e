"""`tfslurm plan` and `tfslurm submit` of an experiment with a sweep."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tfslurm.cli.console import emit, say, show
from tfslurm.cli.plan_lines import as_value as plan_value
from tfslurm.cli.plan_lines import lines_of_job, lines_unpinned, notes_of, text_of
from tfslurm.errors import RegistryError
from tfslurm.image import Pin
from tfslurm.image.pin import pin_by_digest
from tfslurm.job_plan import refuse_unfit
from tfslurm.job_plan.options import slurm_options
from tfslurm.slurm import check_options
from tfslurm.spec import Experiment, read_sweep
from tfslurm.submission.pinning import pin_to_show
from tfslurm.submission.prepare import Asked
from tfslurm.submission.review import quoted
from tfslurm.submission.sweep_arrays import Swept, entries_of, placed
from tfslurm.submission.sweep_resume import send_again
from tfslurm.submission.sweep_submit import as_value, submit_sweep, swept_for
from tfslurm.sweeps.points import Sweep, sweep_of
from tfslurm.sweeps.summary import summary, to_json
from tfslurm.tracker import TrackedSweep
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session


def show_sweep(session: Session, asked: Asked, chosen: Sequence[Known], as_json: bool) -> None:
    """Print the points, where they would go, and the plan of each cluster's array; no cluster is asked."""
    experiment, clusters = asked.experiment, [known.cluster.name for known in chosen]
    sweep, given = sweep_of(experiment), experiment.sweep or {}
    places = None
    if read_sweep(given).spread != "idle" or len(clusters) == 1:
        places = placed(sweep, clusters, given, {}, experiment.resources.time_s)
    try:
        bases = swept_for(session, asked, chosen, pin_to_show).bases
        pin, why = bases[0].plan.pin, ""
    except RegistryError as error:
        pin, why, bases = pin_by_digest(asked.reference, ""), str(error).splitlines()[0], ()
        for known in chosen:
            refuse_unfit(experiment, known.cluster, ())
            check_options(slurm_options(experiment, known.cluster), file=str(asked.file))
    notes = [*([f"image: not pinned: {why}"] if why else ()), *notes_of(asked, bases[0] if bases else None)]
    if as_json:
        plans = [plan_value(base, asked) for base in bases]
        found = to_json(experiment.name, sweep, places)
        emit({**found, "notes": [*found["notes"], *notes], "plans": plans})
        return
    parts = [[*summary(experiment.name, sweep, places, clusters), *of_points(experiment, pin, sweep)]]
    parts += [list(lines_of_job(base, asked)) for base in bases] or [list(lines_unpinned(asked))]
    parts[-1] += [("note", note) for note in notes]
    show("\n\n".join(map(text_of, parts)))


def of_points(experiment: Experiment, pin: Pin, sweep: Sweep) -> Iterator[tuple[str, str]]:
    """The first point in full, how many run at once, and how they share jobs."""
    (first,), said = entries_of(experiment, pin, replace(sweep, points=sweep.points[:1])), read_sweep(experiment.sweep)
    yield "first", f"{first.id}: {' '.join(map(quoted, first.argv))}"
    yield "", " ".join(f"{name}={value!r}" for name, value in {"TFSLURM_PARAMS": first.text, **first.env}.items())
    most = f"{said.max_parallel} tasks on each cluster (max_parallel)" if said.max_parallel else ""
    yield "at once", most or "as many tasks as each cluster lets run (no max_parallel)"
    if said.points_per_job > 1:
        yield "tasks", f"up to {said.points_per_job} points one after another in each"


def first_point(asked: Asked) -> Asked:
    """The first point of a sweep as a job of its own."""
    point = sweep_of(asked.experiment).points[0]
    say(f"note: the script of point {point.id} {point.text} as a job of its own; submit sends all points as job arrays")
    return asked._replace(experiment=replace(asked.experiment, sweep=None), parameters=point.parameters)


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

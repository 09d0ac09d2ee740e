"""tfslurm plan, submit and run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tfslurm.cli.console import deliver, emit, say, show
from tfslurm.cli.options import common, experiment_file
from tfslurm.submission.once import prepared_for, submit_jobs
from tfslurm.submission.pinning import pin_to_show
from tfslurm.submission.prepare import read_experiment
from tfslurm.submission.secrets import read_secrets
from tfslurm.workspace.config import choose_clusters, local_cluster
from tfslurm.workspace.session import Session

cluster_option = click.option(
    "--cluster",
    "clusters",
    multiple=True,
    metavar="NAME",
    help="A cluster to use; default: the file's `clusters`, or the only one configured. Repeatable.",
)
set_option = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of exp.yaml (resources.time=01:00:00), or a parameter that {{ }} names (lr=0.1). Repeatable.",
)


@click.command()
@experiment_file
@cluster_option
@set_option
@click.option("--script", is_flag=True, help="Print the batch script alone.")
@click.option("--review", "is_review", is_flag=True, help="Show everything that the file could reach.")
@common
def plan(
    session: Session,
    experiment: Path,
    clusters: tuple[str, ...],
    sets: tuple[str, ...],
    script: bool,
    is_review: bool,
    as_json: bool,
) -> None:
    """Show the plan and the script that submit would send. plan asks no cluster.

    For a sweep, it shows some of the points, the first one in full, and how many go to each cluster. --script is then
    that of the first point, as a job of its own; --set chooses another.

    --review is for a file that somebody gave you: it shows everything that runs and everything that it can reach.

    The plan's id depends on the moment, so the id and the names made from it differ from one call to the next.
    """
    if script and is_review:
        raise click.UsageError("--script and --review exclude each other")
    asked = read_experiment(experiment, sets, sweeps=True)
    chosen = choose_clusters(clusters, asked.experiment.clusters, say)
    if is_review:
        from tfslurm.cli.review import show_review

        show_review(session, asked, chosen, as_json)
        return
    if asked.experiment.sweep is not None:
        from tfslurm.cli.sweep import first_point, show_sweep

        if not script:
            show_sweep(session, asked, chosen, as_json)
            return
        asked = first_point(asked)
    jobs = prepared_for(session, asked, chosen, pin_to_show)
    if script and not as_json:
        deliver("\n".join(job.script for job in jobs), None, is_data=True)
        return
    from tfslurm.cli.plan_lines import as_value, lines_of_job, notes_of, text_of

    if as_json:
        emit([as_value(job, asked) for job in jobs])
    else:
        noted = [("note", note) for note in notes_of(asked, jobs[0])]
        show("\n\n".join(text_of([*lines_of_job(job, asked), *noted]) for job in jobs))


@click.command()
@experiment_file
@cluster_option
@set_option
@click.option("--force", is_flag=True, help="Submit although every driver seen there is too old for the image's CUDA.")
@click.option("--again", is_flag=True, help="Submit although the same job is queued or running already.")
@click.option(
    "--keep-on-failure",
    metavar="TIME",
    help="If the program fails, keep its container so long (30m, 1h) for `tfslurm exec`; it holds the job's GPUs.",
)
@click.option("--wait", "wait_too", is_flag=True, help="Wait for the job to end; exit with its own exit code.")
@common
def submit(
    session: Session,
    experiment: Path,
    clusters: tuple[str, ...],
    sets: tuple[str, ...],
    force: bool,
    again: bool,
    keep_on_failure: str | None,
    wait_too: bool,
    as_json: bool,
) -> int:
    """Submit the experiment, one job or a sweep; print one line per Slurm job, such as alpha:1234.

    If the image was never pinned, or its `packages` never locked, submit does that first (EXP.lock.yaml). An image that
    `build` describes must have been built: `tfslurm image build`. A job goes to each cluster that you name with
    --cluster, or to the experiment's only one. If submit is interrupted, the same command prints the ids and submits
    nothing twice.

    submit refuses a job that the rule `scan` holds. If every NVIDIA driver last seen on the partition is too old for
    the image's CUDA, submit refuses. --force submits all the same, and the node checks again. If the same job is
    queued or running, submit refuses; --again submits it once more.

    For a sweep, each point is a task of a job array on one of the clusters that you name. submit first shows the plan
    on stderr. Several values of a parameter (--set lr=0.1,0.01) make a sweep.

    With --keep-on-failure 30m, a program that fails leaves its container for `tfslurm exec JOB` so long. The job goes
    on meanwhile, and --wait ends when the program has failed.
    """
    from tfslurm.monitoring.reasons import tell_of_start

    asked = read_experiment(experiment, sets, sweeps=True)
    chosen = choose_clusters(clusters, asked.experiment.clusters, say)
    if keep_on_failure is not None:
        from tfslurm.submission.keeping import keeping

        asked = keeping(asked, keep_on_failure, chosen)
    if asked.experiment.sweep is not None:
        from tfslurm.cli.sweep import send_sweep
        from tfslurm.monitoring.lookup import queued_jobs

        queued: list[str] = []

        def told(job: str) -> None:
            queued.append(job)
            if not as_json:
                show(job)

        sweep = send_sweep(session, asked, chosen, told, force=force, again=again, as_json=as_json)
        if wait_too:
            return wait_too_for(session, [sweep.sweep_id])
        tell_of_start(say, queued_jobs(session.tracker, queued))
        return 0
    if len(chosen) > 1 and not clusters:
        names = ", ".join(known.cluster.name for known in chosen)
        raise click.UsageError(f"{experiment}: one job and several clusters ({names}): say which with --cluster NAME")

    def emit_all(jobs: Sequence[tuple[str, str]]) -> None:
        emit([{"job": job, "plan_id": plan_id} for job, plan_id in jobs])

    show_each = (lambda job: None) if as_json else show
    shown = emit_all if as_json else None
    jobs = submit_jobs(session, asked, chosen, force=force, again=again, told=show_each, shown=shown)
    if wait_too:
        return wait_too_for(session, [job.key for job in jobs])
    tell_of_start(say, jobs)
    return 0


def wait_too_for(session: Session, names: Sequence[str]) -> int:
    """The exit code of --wait."""
    from tfslurm.cli.wait import wait_and_report

    return wait_and_report(session, names)


@click.command()
@experiment_file
@set_option
@click.option("--quiet", is_flag=True, help="Do not show what the program prints; `tfslurm logs` shows it later.")
@common
def run(session: Session, experiment: Path, sets: tuple[str, ...], quiet: bool, as_json: bool) -> int:
    """Run the experiment on this machine, with docker alone and no scheduler (cluster `local`, ids from 1).

    The node scripts, the checks and the record are the same as on a cluster. run exits with the program's own exit
    code. Ctrl-C ends the program as scancel would.
    """
    from tfslurm.cli.logs import pour_stream
    from tfslurm.submission.local import follow_process, refuse_several_tasks

    asked = read_experiment(experiment, sets)
    refuse_several_tasks(asked.experiment)
    known = local_cluster(say)
    secrets = read_secrets(asked.experiment.secrets)
    job = prepared_for(session, asked, [known])[0]
    shown = None if quiet or as_json else pour_stream
    result: dict[str, Any] = follow_process(session, known, job, secrets, shown)
    if as_json:
        emit(result)
    else:
        say(f"{result['job']}: {result['state']}, exit {result['exit_code']}; `tfslurm provenance {result['job']}`")
    return int(result["exit_code"])

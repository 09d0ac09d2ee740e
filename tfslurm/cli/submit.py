"""tfslurm plan, submit and run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from tfslurm.cli.console import common, deliver, emit, say, show, tracer
from tfslurm.cli.pin import pin_on_first_use, report_move
from tfslurm.cli.review import reached, tell_of_private
from tfslurm.document.tree import printable
from tfslurm.errors import TfslurmError, Untracked
from tfslurm.handoff.recovery import settle_all
from tfslurm.host import open_host
from tfslurm.plan import to_json
from tfslurm.submission.preflight import preemption_note, tell
from tfslurm.submission.prepare import Asked, Prepared, prepare, read_experiment
from tfslurm.submission.review import mount_text, option_texts, quoted
from tfslurm.submission.submit import read_secrets, submit_job
from tfslurm.tracker import TrackedJob, Tracker
from tfslurm.workspace.clock import now
from tfslurm.workspace.config import Known, choose_clusters, local_cluster, open_tracker

experiment_file = click.argument("experiment", type=click.Path(path_type=Path), metavar="EXP.yaml")
cluster_option = click.option(
    "--cluster", "clusters", multiple=True, metavar="NAME", help="The cluster to use; default: the file's."
)
set_option = click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of exp.yaml (resources.time=01:00:00), or a parameter that {{ }} names (lr=0.1).",
)


def prepared_for(asked: Asked, clusters: Sequence[Known]) -> list[Prepared]:
    """One job for each cluster, with the image pinned (now, if it never was)."""
    pin = pin_on_first_use(asked, clusters)
    jobs = [prepare(asked, pin, known.cluster, known.text, known.user, now()) for known in clusters]
    tell_of_private(jobs)
    return jobs


@click.command(short_help="Show the plan and the script that submit would send.")
@experiment_file
@cluster_option
@set_option
@click.option("--script", is_flag=True, help="Print the batch script alone.")
@click.option("--review", "is_review", is_flag=True, help="Show everything that the file could reach.")
@common
def plan(
    experiment: Path,
    clusters: tuple[str, ...],
    sets: tuple[str, ...],
    script: bool,
    is_review: bool,
    as_json: bool,
    verbose: int,
) -> None:
    """Show the plan and the script that submit would send. plan asks no cluster.

    For a sweep, it shows some of the points in full, and how many go to each cluster.

    --review is for a file that somebody gave you: it shows everything that runs and everything that it can reach.

    The plan's id depends on the moment, so the id and the names made from it differ from one call to the next.
    """
    if script and is_review:
        raise click.UsageError("--script and --review exclude each other")
    asked = read_experiment(experiment, sets, sweeps=not script)
    chosen = choose_clusters(clusters, asked.experiment.clusters, say)
    if is_review:
        from tfslurm.cli.review import show_review

        show_review(asked, chosen, as_json)
        return
    if asked.experiment.sweep is not None:
        from tfslurm.cli.sweep import show_sweep

        show_sweep(asked, [known.cluster.name for known in chosen], as_json)
        return
    jobs = prepared_for(asked, chosen)
    if as_json:
        emit([{**to_json(job.plan), "script": job.script} for job in jobs])
    elif script:
        deliver("\n".join(job.script for job in jobs), None, is_data=True)
    else:
        show("\n\n".join(summary(job, asked) for job in jobs))


def summary(job: Prepared, asked: Asked) -> str:
    """The plan of one job as a person reads it."""
    made = job.plan
    resources = made.resources
    code = made.code
    lines = [
        ("job", f"{made.name} on {made.cluster}, as {made.user}"),
        ("image", f"{made.pin.reference} = {made.pin.digest} ({made.pin.digest_kind}, pinned {made.pin.pinned_at})"),
        ("from", ", ".join(made.image_sources)),
        ("command", " ".join(map(quoted, made.command))),
        (
            "code",
            f"tree {code.tree}, {code.files} files, {code.size_bytes} bytes{', dirty' if code.dirty else ''}"
            if code
            else "none",
        ),
        *reached(asked, made.env),
        ("mounts", ", ".join(map(mount_text, made.mounts)) or "none"),
        (
            "outputs",
            f"{quoted(made.outputs)} -> {made.run_dir}/<job>/out"
            if made.outputs
            else "none: nothing the program writes is kept",
        ),
        ("gpus", f"{resources.gpus} per node, {resources.nodes} node(s), {resources.tasks_per_node} task(s) per node"),
        ("sbatch", " ".join(option_texts(made.options))),
        ("plan", f"{made.plan_id}, sha256 of what is asked {made.plan_sha256}"),
    ]
    return "\n".join(f"{name:8} {printable(text)}" for name, text in lines)


@click.command(short_help="Submit the experiment; print one line per Slurm job.")
@experiment_file
@cluster_option
@set_option
@click.option("--force", is_flag=True, help="Submit although every driver seen there is too old for the image's CUDA.")
@click.option("--again", is_flag=True, help="Submit although the same job is queued or running already.")
@click.option("--wait", "wait_too", is_flag=True, help="Wait for the job to end; exit with its own exit code.")
@common
def submit(
    experiment: Path,
    clusters: tuple[str, ...],
    sets: tuple[str, ...],
    force: bool,
    again: bool,
    wait_too: bool,
    as_json: bool,
    verbose: int,
) -> int:
    """Submit the experiment, one job or a sweep; print one line per Slurm job, such as alpha:1234.

    If the image was never pinned, submit pins it first (EXP.lock.yaml). A job goes to each cluster that you name with
    --cluster, or to the experiment's only one. If every NVIDIA driver last seen on the partition is too old for the
    image's CUDA, submit refuses. --force submits all the same, and the node checks again. If submit is interrupted,
    the same command prints the ids and submits nothing twice. If the same job is queued or running, submit refuses;
    --again submits it once more.

    For a sweep, each point is a task of a job array on one of the clusters that you name. submit first shows the plan
    on stderr.
    """
    asked = read_experiment(experiment, sets, sweeps=True)
    chosen = choose_clusters(clusters, asked.experiment.clusters, say)
    if asked.experiment.sweep is not None:
        from tfslurm.cli.sweep import submit_sweep

        tracker = open_tracker()
        sweep = submit_sweep(asked, chosen, tracker, force=force, again=again, as_json=as_json, verbose=verbose)
        return wait_too_for([sweep.sweep_id], tracker, verbose) if wait_too else 0
    if len(chosen) > 1 and not clusters:
        names = ", ".join(known.cluster.name for known in chosen)
        raise click.UsageError(f"{experiment}: one job and several clusters ({names}): say which with --cluster NAME")
    secrets = read_secrets(asked.experiment.secrets)
    tracker = open_tracker()
    prepared = prepared_for(asked, chosen)
    for job in prepared:
        tell_of_driver(job, tracker, force=force)
    with claimed(prepared, tracker):
        jobs = submit_each(list(zip(chosen, prepared, strict=True)), tracker, secrets, again, as_json, verbose)
        sys.stdout.flush()
        tracker.tell([plan_id for _, plan_id in jobs])
    report_move(asked, prepared[0].plan.pin, chosen, tracker)
    return wait_too_for([job for job, _ in jobs], tracker, verbose) if wait_too else 0


def submit_each(
    jobs: Sequence[tuple[Known, Prepared]],
    tracker: Tracker,
    secrets: dict[str, str],
    again: bool,
    as_json: bool,
    verbose: int,
) -> list[tuple[str, str]]:
    """Submit a job to each cluster and print it; each with its plan's id. Every id that sbatch gave is printed."""
    done: list[tuple[str, str]] = []

    def told(job: str, plan_id: str) -> None:
        done.append((job, plan_id))
        if not as_json:
            show(job)

    try:
        for known, prepared in jobs:
            submit_once(known, prepared, tracker, secrets, verbose, told, again=again)
    except Untracked as error:
        told(error.job, error.plan_id)
        raise
    finally:
        if as_json and (done or sys.exc_info()[0] is None):
            emit([{"job": job, "plan_id": plan_id} for job, plan_id in done])
    return done


def wait_too_for(names: Sequence[str], tracker: Tracker, verbose: int) -> int:
    """The exit code of --wait."""
    from tfslurm.cli.status import wait_for

    return wait_for(names, tracker, verbose)


def tell_of_driver(job: Prepared, tracker: Tracker, *, force: bool) -> None:
    """Say how the drivers seen there suit the image, if that is worth a word; without --force too old is an error."""
    try:
        told = tell(job.plan, tracker)
    except TfslurmError as error:
        if not force:
            raise
        told = f"warning: {error}: submitted all the same (--force)"
    if told:
        say(told)


@contextmanager
def claimed(prepared: Sequence[Prepared], tracker: Tracker) -> Iterator[None]:
    """Within this nobody else submits the same: they wait. In one order, so that no two wait for each other."""
    with ExitStack() as claims:
        for plan_sha256 in sorted({job.plan.plan_sha256 for job in prepared}):
            claims.enter_context(tracker.claim(plan_sha256, wait=True))
        yield


def submit_once(
    known: Known,
    job: Prepared,
    tracker: Tracker,
    secrets: dict[str, str],
    verbose: int,
    told: Callable[[str, str], None],
    *,
    again: bool,
) -> None:
    """Submit a job; the new one and its plan's id are ``told`` at once.

    Where an earlier call was cut off before it told the id of the same job, that one is told.

    Raises:
        TfslurmError: the same job is queued or running, and it is not wanted ``again``.
    """
    name, same = known.cluster.name, job.plan.plan_sha256
    with open_host(known.cluster, trace=tracer(verbose)) as host:
        settle_all(known, tracker, host)
        if left := tracker.jobs(plan_sha256=same, untold=True):
            say(f"{name}: an earlier submit was interrupted after this job was queued; here is its id")
            told(left[-1].key, left[-1].plan_id)
            return
        if not again and tracker.jobs(plan_sha256=same, unfinished=True):
            from tfslurm.monitoring.refresh import refresh

            refresh(known, tracker, host)
            refuse_twice(job, tracker.jobs(plan_sha256=same, unfinished=True))
        job_id = submit_job(job, tracker, host, secrets, untold=True)
        told(f"{name}:{job_id}", job.plan.plan_id)
        if note := preemption_note(job.plan, known, host):
            say(f"note: {note}")


def refuse_twice(job: Prepared, live: Sequence[TrackedJob]) -> None:
    """Refuse the submission if the same job is queued or running.

    Raises:
        TfslurmError: which ones are.
    """
    if live:
        told = ", ".join(f"{each.key} ({each.state})" for each in live)
        raise TfslurmError(f"{job.plan.name}: the same job is there already: {told}; --again submits it once more")


@click.command(short_help="Run the experiment on this machine, with docker alone.")
@experiment_file
@set_option
@click.option("--quiet", is_flag=True, help="Do not show what the program prints; `tfslurm logs` shows it later.")
@common
def run(experiment: Path, sets: tuple[str, ...], quiet: bool, as_json: bool, verbose: int) -> int:
    """Run the experiment on this machine, with docker alone and no scheduler (cluster `local`, ids from 1).

    The node scripts, the checks and the record are the same as on a cluster. run exits with the program's own exit
    code. Ctrl-C ends the program as scancel would.
    """
    from tfslurm.cli.logs import follow_process
    from tfslurm.submission.local import refuse_several_tasks

    asked = read_experiment(experiment, sets)
    refuse_several_tasks(asked.experiment)
    known = local_cluster(say)
    secrets = read_secrets(asked.experiment.secrets)
    job = prepared_for(asked, [known])[0]
    tracker = open_tracker()
    result: dict[str, Any] = follow_process(known, job, tracker, secrets, show=not (quiet or as_json), verbose=verbose)
    if as_json:
        emit(result)
    else:
        say(f"{result['job']}: {result['state']}, exit {result['exit_code']}; `tfslurm provenance {result['job']}`")
    return int(result["exit_code"])

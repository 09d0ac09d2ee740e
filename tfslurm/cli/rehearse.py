"""tfslurm rehearse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from tfslurm.cli.console import common, emit, say, show, tracer
from tfslurm.cli.submit import experiment_file, prepared_for, set_option
from tfslurm.errors import InputError
from tfslurm.handoff.recovery import settle_all
from tfslurm.host import open_host
from tfslurm.submission import local
from tfslurm.submission.prepare import Asked, Prepared, read_experiment
from tfslurm.submission.rehearsal import Here, OnCluster, Stage, judge
from tfslurm.submission.rehearsal import rehearse as watch
from tfslurm.submission.submit import read_secrets, submit_job
from tfslurm.tracker import Tracker
from tfslurm.workspace.config import Known, choose_clusters, local_cluster, open_tracker


@click.command(short_help="Warn the experiment's program early, to test its checkpoint.")
@experiment_file
@click.option("--cluster", metavar="NAME", help="The cluster to use; default: the file's.")
@click.option("--local", "here", is_flag=True, help="Use this machine, with docker alone and no scheduler.")
@click.option(
    "--after",
    type=click.FloatRange(min=0.1),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long the first attempt runs before the warning, and the second before the end.",
)
@set_option
@common
def rehearse(
    experiment: Path, cluster: str | None, here: bool, after: float, sets: tuple[str, ...], as_json: bool, verbose: int
) -> int:
    """Run the experiment with an early warning, to test its checkpoint before you need it.

    rehearse submits the same job as submit. After a minute the program gets the warning that Slurm sends before the
    time limit. It must save and end, and continue in a second attempt. Then tfslurm ends the job. The exit code is 0
    if all of that happened, else 1.
    """
    asked = read_experiment(experiment, sets)
    if asked.experiment.checkpoint is None:
        fix = "write `checkpoint: {signal: USR1, before_end: 120, requeue: true}`"
        raise InputError([asked.experiment.problem(("checkpoint",), "is missing: there is nothing to rehearse", fix)])
    if here and cluster:
        raise click.UsageError("--cluster and --local exclude each other")
    chosen = (
        [local_cluster(say)] if here else choose_clusters([cluster] if cluster else [], asked.experiment.clusters, say)
    )
    if len(chosen) > 1:
        named = ", ".join(known.cluster.name for known in chosen)
        raise click.UsageError(f"{experiment}: a rehearsal is on one cluster: --cluster NAME ({named}), or --local")
    tracker = open_tracker()
    job = prepared_for(asked, chosen)[0]
    with staged(asked, chosen[0], job, tracker, verbose) as (key, stage):
        say(f"{key}: waiting for the program to start")
        seen = watch(stage, job.plan, after, lambda words: say(f"{key}: {words}"))
    verdict = judge(job.plan, *seen)
    if as_json:
        emit({"job": key, "ok": not verdict.wrong, **asdict(verdict)})
    else:
        rows = {"signal": verdict.signal, "exit": verdict.exit, "outputs": verdict.outputs}
        rows |= {"attempt 2": verdict.second, "final": verdict.final}
        rows["verdict"] = f"FAILED: {verdict.wrong}" if verdict.wrong else "ok: it saves in time and goes on"
        for label, text in rows.items():
            show(f"{label:10} {text}")
    return 1 if verdict.wrong else 0


@contextmanager
def staged(asked: Asked, known: Known, job: Prepared, tracker: Tracker, verbose: int) -> Iterator[tuple[str, Stage]]:
    """The job, begun: its name and what it can be told."""
    secrets = read_secrets(asked.experiment.secrets)
    is_here = known.cluster.name == local_cluster().cluster.name
    with open_host(known.cluster, trace=tracer(verbose)) as host:
        if not is_here:
            settle_all(known, tracker, host)
            key = f"{known.cluster.name}:{submit_job(job, tracker, host, secrets)}"
            yield key, OnCluster(known, key, job.plan, tracker, host)
            return
        job_id, process = local.start(job, tracker, host, secrets)
        yield f"{known.cluster.name}:{job_id}", Here(known, job.plan, job_id, process, host, secrets, tracker)

"""tfslurm rehearse."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from tfslurm.cli.console import emit, say, show
from tfslurm.cli.options import common, experiment_file
from tfslurm.cli.submit import set_option
from tfslurm.errors import InputError
from tfslurm.submission.once import prepared_for
from tfslurm.submission.prepare import read_experiment
from tfslurm.submission.rehearsal import judge, staged
from tfslurm.submission.rehearsal import rehearse as watch
from tfslurm.workspace.config import choose_clusters, local_cluster
from tfslurm.workspace.session import Session


@click.command()
@experiment_file
@click.option("--cluster", metavar="NAME", help="The cluster to use; default: the file's, or the only one configured.")
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
    session: Session,
    experiment: Path,
    cluster: str | None,
    here: bool,
    after: float,
    sets: tuple[str, ...],
    as_json: bool,
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
    job = prepared_for(session, asked, chosen)[0]
    key, stage = staged(session, asked, chosen[0], job)
    say(f"{key}: waiting for the program to start")
    seen = watch(stage, job.plan, after, lambda words: say(f"{key}: {words}"))
    verdict = judge(job.plan, *seen)
    if as_json:
        emit({"job": key, "ok": not verdict.wrong, **asdict(verdict)})
    else:
        rows = {"signal": verdict.signal, "exit": verdict.exit, "outputs": verdict.outputs}
        rows |= {"attempt 2": verdict.second, "final": verdict.final}
        rows["verdict"] = f"FAILED: {verdict.wrong}" if verdict.wrong else "ok: it saves in time and continues"
        for label, text in rows.items():
            show(f"{label:10} {text}")
    return 1 if verdict.wrong else 0

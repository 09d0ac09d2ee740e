"""tfslurm jupyter and tfslurm services."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import click

from tfslurm.cli.console import agreed, emit, say, show, table
from tfslurm.cli.logs import Waiting
from tfslurm.cli.options import common, experiment_or_here
from tfslurm.cli.submit import cluster_option, set_option
from tfslurm.errors import TfslurmError, refuse
from tfslurm.host.attached import is_terminal
from tfslurm.job_plan.holding import Service
from tfslurm.monitoring.lookup import find_job, plan_of
from tfslurm.reruns.notebook import job_named, open_notebook
from tfslurm.services.browser import open_page
from tfslurm.services.service import (
    Attached,
    attach,
    attend,
    brings,
    idle_s,
    open_service,
    running_services,
    subject_of,
)
from tfslurm.submission.prepare import read_experiment
from tfslurm.tracker import TrackedJob
from tfslurm.workspace.clock import local_time
from tfslurm.workspace.config import choose_clusters
from tfslurm.workspace.session import Session

INTERRUPTED = 130
port_option = click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="The port of this machine; default: any that is free."
)
idle_option = click.option(
    "--idle-after",
    default="1h",
    metavar="TIME",
    help="End the job when nobody has used it for so long: 30m, 1h; 0: never. Default: 1h.",
)
open_option = click.option(
    "--open", "opens", is_flag=True, help="Open the URL in your browser; its token stands in no process list."
)


@click.command()
@click.argument("named", metavar="[EXP.yaml|JOB]", default="")
@cluster_option
@set_option
@port_option
@idle_option
@open_option
@common
def jupyter(
    session: Session,
    named: str,
    clusters: tuple[str, ...],
    sets: tuple[str, ...],
    port: int,
    idle_after: str,
    opens: bool,
    as_json: bool,
) -> int:
    """Run JupyterLab, or what the image has of Jupyter, on a node, and print the URL that opens it here.

    It is a job as submit makes one, with the experiment's image, packages, GPUs and mounts. It opens a copy of the code
    in the outputs, which `tfslurm fetch` brings. Of a JOB it has the environment that the job had, and the job's
    outputs, read-only. The command stays until the notebook's job ends. Ctrl-C asks whether that goes on; without a
    terminal it ends it.

    \b
    Examples:
        tfslurm jupyter exp.yaml
        tfslurm jupyter alpha:1234 --open
        tfslurm jupyter exp.yaml --set resources.time=04:00:00 --idle-after 30m
    """
    service = Service("jupyter", idle_s("--idle-after", idle_after))
    if named and (job := job_named(session, named)):
        if clusters:
            why = f"{job.key} and its outputs are on {job.cluster}, and so is its notebook"
            raise refuse(f"--cluster {clusters[0]}", why, "leave it out")
        return stay(
            session, open_notebook(session, job, sets, service, port=port, seen=Waiting()), as_json, opens=opens
        )
    experiment = experiment_or_here(named)
    asked = read_experiment(experiment, sets)
    chosen = choose_clusters(clusters, asked.experiment.clusters, say)
    if len(chosen) > 1:
        names = ", ".join(known.cluster.name for known in chosen)
        raise click.UsageError(
            f"{experiment}: one service and several clusters ({names}): say which with --cluster NAME"
        )
    opened = open_service(session, asked, chosen[0], service, port=port, seen=Waiting())
    return stay(session, opened, as_json, opens=opens)


@click.command()
@click.option("--attach", "job", metavar="JOB", help="Open a port to this service, and print its URL.")
@port_option
@open_option
@common
def services(session: Session, job: str | None, port: int, opens: bool, as_json: bool) -> int:
    """List your services that wait or run; with --attach, open one again, also from another terminal."""
    if job is not None:
        return stay(session, attach(session, job, port=port, seen=Waiting()), as_json, opens=opens)
    if opens:
        raise refuse("--open", "which service is not said", "add --attach JOB")
    found = [as_value(session, *each) for each in running_services(session)]
    if as_json:
        emit(found)
    elif not found:
        say("no service waits or runs; `tfslurm jupyter EXP.yaml` starts one")
    else:
        rows = [
            (
                each["job"],
                each["kind"],
                each["of"],
                each["state"],
                each["node"] or "",
                str(each["gpus"]),
                local_time(each["ends_at"]),
            )
            for each in found
        ]
        table(("job", "service", "of", "state", "node", "gpus", "until"), rows)
    return 0


def as_value(session: Session, job: TrackedJob, service: Service) -> dict[str, Any]:
    """A service for --json; ``node`` and ``ends_at`` are null while it waits."""
    nodes, plan = job.status.get("nodes") or [None], plan_of(job, session.tracker)
    told = {"job": job.key, "kind": service.kind, "of": subject_of(plan, service), "state": job.state, "node": nodes[0]}
    return {
        **told,
        "gpus": plan.resources.gpus,
        "ends_at": job.status.get("ended_at"),
        "idle_after_s": service.idle_after_s,
    }


def stay(session: Session, opened: Attached, as_json: bool, *, opens: bool = False) -> int:
    """Print the URL, with ``opens`` show its page in a browser, and stay until the job has ended, or the user has."""
    with opened, ExitStack() as shown:
        if as_json:
            job = find_job(session.tracker, opened.job)
            emit({**as_value(session, job, opened.service), "url": opened.url})
        else:
            show(opened.url)
        if opens and (lead := open_page(opened.url, say)):
            shown.enter_context(lead)
        try:
            return attend(session, opened)
        except KeyboardInterrupt:
            say("")
            goes_on(opened)
    return INTERRUPTED


def goes_on(opened: Attached) -> None:
    """Keep the job, or end it, as the user says; without a terminal, or a cluster, it is ended."""
    fix = f"`tfslurm services --attach {opened.job}` comes back, `tfslurm cancel {opened.job}` ends it"
    try:
        if opened.process is None and is_terminal() and not agreed(f"{opened.job}: end the job?"):
            say(f"{opened.job}: goes on; {fix}")
            return
    except click.Abort:
        say("")
    try:
        opened.cancel()
    except TfslurmError as error:
        say(f"error: {error}", f"{opened.job}: may go on; {fix}")
        return
    say(f"{opened.job}: ended{brings(opened)}")

"""tfslurm shell."""

from __future__ import annotations

from pathlib import Path

import click

from tfslurm.cli.console import say
from tfslurm.cli.logs import Waiting
from tfslurm.cli.options import common, experiment_file
from tfslurm.cli.submit import set_option
from tfslurm.errors import refuse
from tfslurm.host.attached import is_terminal
from tfslurm.monitoring.lookup import JOB
from tfslurm.services.shell import open_shell
from tfslurm.submission.prepare import read_experiment
from tfslurm.workspace.config import choose_clusters
from tfslurm.workspace.session import Session


@click.command(context_settings={"allow_interspersed_args": True})
@experiment_file
@click.argument("command", nargs=-1, metavar="[-- COMMAND...]")
@click.option(
    "--cluster", "clusters", multiple=True, metavar="NAME", help="The cluster; default: the only one there is."
)
@set_option
@click.option("--no-terminal", is_flag=True, help="Hand stdin and stdout on byte for byte, also from a terminal.")
@common
def shell(
    session: Session,
    experiment: Path,
    command: tuple[str, ...],
    clusters: tuple[str, ...],
    sets: tuple[str, ...],
    no_terminal: bool,
    as_json: bool,
) -> int:
    """Open a terminal in a new container on a node, as the experiment describes it; or run COMMAND there.

    It is a job as submit makes one, with the same checks, limits and record, whose program you type. shell says why the
    job waits; Ctrl-C meanwhile cancels it. The job ends with the shell, or with the line to the cluster, and shell
    exits with the shell's exit code.

    \b
    Examples:
        tfslurm shell exp.yaml
        tfslurm shell exp.yaml --set resources.time=00:30:00 -- python -i train.py
    """
    if as_json:
        raise refuse("--json", "a terminal has no document", "`tfslurm submit --json`, then `tfslurm exec --json`")
    if experiment.suffix not in (".yaml", ".yml") and not experiment.exists():
        if job := JOB.fullmatch(str(experiment)):
            fix = f"`tfslurm exec {job[0]}` opens one in the container of a job that runs"
            raise refuse(f"job {job[0]}", "is no experiment, and shell opens a terminal in a new container", fix)
        fix = f"write `tfslurm shell exp.yaml -- {experiment} …`"
        raise refuse(str(experiment), "is no file; where a command is named, the experiment's file is named too", fix)
    asked = read_experiment(experiment, sets)
    chosen = choose_clusters(clusters, asked.experiment.clusters, say)
    if len(chosen) > 1:
        names = ", ".join(known.cluster.name for known in chosen)
        raise click.UsageError(
            f"{experiment}: one terminal and several clusters ({names}): say which with --cluster NAME"
        )
    terminal = is_terminal() and not no_terminal
    return open_shell(session, asked, chosen[0], command, terminal=terminal, seen=Waiting())

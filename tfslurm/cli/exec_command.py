"""tfslurm exec."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import click

from tfslurm.cli.console import emit, show
from tfslurm.cli.options import common
from tfslurm.errors import refuse
from tfslurm.host.attached import is_terminal
from tfslurm.services.enter import Way
from tfslurm.services.ssh_access import carry, host_name, ssh_settings
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.session import Session


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("job", metavar="JOB")
@click.argument("command", nargs=-1, metavar="[COMMAND...]")
@click.option("--rank", type=click.IntRange(0), default=0, help="Which task of a job with several tasks; default: 0.")
@click.option("--no-terminal", is_flag=True, help="Hand stdin and stdout on byte for byte, also from a terminal.")
@click.option("--ssh-config", is_flag=True, help="Print an entry for ~/.ssh/config that leads into the container.")
@click.option("--sshd", is_flag=True, hidden=True, help="Carry one connection of ssh: the entry's ProxyCommand.")
@common
def exec_command(
    session: Session,
    job: str,
    command: tuple[str, ...],
    rank: int,
    no_terminal: bool,
    ssh_config: bool,
    sshd: bool,
    as_json: bool,
) -> int:
    """Run a command in the container of a job that runs; without COMMAND, the image's shell.

    Options of tfslurm come before JOB. The command runs as a step of the job, as you, with the variables, secrets, GPUs
    and files of the job's program. It ends with the job, and with the line to the cluster. exec exits with the
    command's exit code. From a terminal the command has one too; otherwise stdin and stdout are handed on as bytes.

    \b
    Examples:
        tfslurm exec alpha:1234
        tfslurm exec 1234 nvidia-smi
        tfslurm exec 1234 tar -c /out/checkpoints | tar -x
        tfslurm exec --ssh-config 1234 >>~/.ssh/config
    """
    if ssh_config or sshd:
        return by_ssh(session, job, command, rank, as_json, carries=sshd)
    if command[:1] == ("--",):
        command = command[1:]
    elif command and command[0].startswith("-"):
        raise refuse(command[0], "stands after JOB, so it is taken for the command", f"write it before {job}")
    if as_json and not command:
        raise refuse("--json", "no command is named, and a shell has no document", "name a command")
    way = Way(session, job, rank)
    if as_json:
        done = way.captured(command)
        emit(dataclasses.asdict(done))
        return done.exit_code
    return way.enter(command, terminal=is_terminal() and not no_terminal)


def by_ssh(session: Session, job: str, command: tuple[str, ...], rank: int, as_json: bool, *, carries: bool) -> int:
    """Print ssh's settings for the job's container, or be what they name."""
    if command:
        raise refuse(command[0], "ssh brings its own command", "leave it out, and write it behind `ssh HOST`")
    way = Way(session, job, rank)
    if carries:
        return carry(way, rank)
    program = str(Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute())
    text = ssh_settings(way, known_for(way.job, session.tracker).user, rank, program)
    if as_json:
        emit({"job": way.job.key, "host": host_name(way, rank), "config": text})
    else:
        show(text.rstrip("\n"))
    return 0

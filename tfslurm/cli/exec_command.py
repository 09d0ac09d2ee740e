"""tfslurm exec."""

from __future__ import annotations

import dataclasses

import click

from tfslurm.cli.console import common, emit
from tfslurm.errors import refuse
from tfslurm.host.attached import is_terminal
from tfslurm.services.enter import Way
from tfslurm.workspace.session import Session


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("job", metavar="JOB")
@click.argument("command", nargs=-1, metavar="[COMMAND...]")
@click.option("--rank", type=click.IntRange(0), default=0, help="Which task of a job with several tasks; default: 0.")
@click.option("--no-terminal", is_flag=True, help="Hand stdin and stdout on byte for byte, also from a terminal.")
@common
def exec_command(
    session: Session, job: str, command: tuple[str, ...], rank: int, no_terminal: bool, as_json: bool
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
    """
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

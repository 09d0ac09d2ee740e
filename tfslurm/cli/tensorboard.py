"""tfslurm tensorboard."""

from __future__ import annotations

import click

from tfslurm.cli.jupyter import idle_option, open_option, port_option, stay
from tfslurm.cli.logs import Waiting
from tfslurm.cli.options import common
from tfslurm.cli.submit import set_option
from tfslurm.services.service import idle_s
from tfslurm.services.tensorboard import board_of, open_board
from tfslurm.submission.local import hear_ends
from tfslurm.workspace.session import Session


@click.command()
@click.argument("jobs", metavar="JOB|SWEEP|PATH...", nargs=-1, required=True)
@set_option
@port_option
@idle_option
@open_option
@common
def tensorboard(
    session: Session,
    jobs: tuple[str, ...],
    sets: tuple[str, ...],
    port: int,
    idle_after: str,
    opens: bool,
    as_json: bool,
) -> int:
    """Run TensorBoard where the outputs of jobs are, and print the URL that opens it here.

    It is a job of its own, with the image and packages of the last of them. Their outputs are mounted read-only, and
    shown as they grow. A sweep's points have the names of their parameters. The command stays until the job ends.
    Ctrl-C asks whether the job goes on; without a terminal it ends the job.

    A PATH is a folder of this machine: what `tfslurm fetch` brought, or any other. It is shown here, as jobs of
    `tfslurm run` are, with docker or podman. Ctrl-C ends that.

    \b
    Examples:
        tfslurm tensorboard last
        tfslurm tensorboard alpha:1234 alpha:1240 --idle-after 30m
        tfslurm tensorboard ./alpha-1234 ./alpha-1240
        tfslurm tensorboard lr-sweep --set resources.memory=8G --set resources.time=02:00:00
    """
    board = board_of(session, jobs, sets, idle_s("--idle-after", idle_after))
    if board.is_here:
        hear_ends()
    return stay(session, open_board(session, board, port=port, seen=Waiting()), as_json, opens=opens)

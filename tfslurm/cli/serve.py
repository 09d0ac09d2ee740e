"""tfslurm serve."""

from __future__ import annotations

import click

from tfslurm.cli.jupyter import idle_option, open_option, port_option, stay
from tfslurm.cli.logs import Waiting
from tfslurm.cli.options import common
from tfslurm.cli.submit import set_option
from tfslurm.services.model import model_of
from tfslurm.services.service import idle_s, open_service
from tfslurm.workspace.session import Session


@click.command()
@click.argument("model", metavar="JOB[:PATH]")
@click.option("--name", default="", metavar="NAME", help="The model's name in the URL; default: the experiment's.")
@set_option
@port_option
@idle_option
@open_option
@common
def serve(
    session: Session,
    model: str,
    name: str,
    sets: tuple[str, ...],
    port: int,
    idle_after: str,
    opens: bool,
    as_json: bool,
) -> int:
    """Serve a model that a job left in its outputs, and print the URL of its REST API on this machine.

    It is a job of its own, with the image and packages of that job, and without a GPU unless you set one. PATH is a
    SavedModel's folder or a .keras file in the outputs; without it there must be one SavedModel, or one such file. The
    API is TensorFlow Serving's: /v1/models/NAME, /v1/models/NAME/metadata, and /v1/models/NAME:predict. The command
    stays until the job ends. Ctrl-C asks whether the job goes on; without a terminal it ends the job.

    \b
    Examples:
        tfslurm serve alpha:1234
        tfslurm serve alpha:1234:model --name digits --idle-after 30m
        tfslurm serve last:digits.keras --set resources.gpus=1 --set resources.memory=16G
    """
    asked, known, service = model_of(session, model, name, sets, idle_s("--idle-after", idle_after))
    opened = open_service(session, asked, known, service, port=port, seen=Waiting())
    return stay(session, opened, as_json, opens=opens)

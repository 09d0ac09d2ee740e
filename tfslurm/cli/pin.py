"""tfslurm pin, and how the other commands come to a pin."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from tfslurm.cli.console import common, emit, say, show
from tfslurm.cli.experiment_file import experiment_file
from tfslurm.errors import InputError
from tfslurm.image import moved
from tfslurm.submission.pinning import lock_sha256, pinned_or_none, resolve, wrong_claims
from tfslurm.submission.prepare import read_experiment, write_lock
from tfslurm.workspace.clock import now
from tfslurm.workspace.session import Session


@click.command()
@experiment_file
@click.option("--update", is_flag=True, help="If the tag has moved, write the new digest.")
@click.option(
    "--local", is_flag=True, help="Pin by its id an image that only this machine's docker daemon has. This is weaker."
)
@common
def pin(session: Session, experiment: Path, update: bool, local: bool, as_json: bool) -> None:
    """Resolve the image's tag to a digest and write EXP.lock.yaml beside EXP.yaml. Commit that file.

    tfslurm asks the registry over HTTP, and needs no docker daemon. If there is a lock file already, it asks again and
    says whether the tag has moved. Only --update writes the new digest.
    """
    asked = read_experiment(experiment, sweeps=True)
    have = pinned_or_none(asked, update)
    found = resolve(session, asked, local, have)
    lacks = update and have and have.environment != found.environment  # an older tfslurm kept fewer variables
    if have and have.digest != found.digest and not update:
        say(f"warning: {moved(have, found)}; {asked.lock_file} is kept; `tfslurm pin {experiment} --update` follows")
        found = have
    elif have and have.digest == found.digest and not lacks and not (wrong := list(wrong_claims(asked, have, found))):
        say(f"{asked.lock_file}: the tag still stands for the pinned digest")
        found = have
    elif have and have.digest == found.digest and not update:
        raise InputError(wrong)
    else:
        write_lock(asked, found)
        session.tracker.note_lock(lock_sha256(found), now())
        say(f"{asked.lock_file}: written; commit it")
    if as_json:
        emit(asdict(found))
    else:
        show(f"{found.name}@{found.digest}")

"""tfslurm pin, and how the other commands come to a pin."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import click

from tfslurm.cli.console import emit, say, show
from tfslurm.cli.options import common, experiment_file
from tfslurm.errors import InputError, refuse
from tfslurm.image import Pin, moved
from tfslurm.image.packages import packages_to_json
from tfslurm.submission.packages import packages_now
from tfslurm.submission.pinning import lock_sha256, locked_or_none, resolve, wrong_claims
from tfslurm.submission.prepare import Asked, read_experiment, write_lock
from tfslurm.workspace.clock import now
from tfslurm.workspace.session import Session


@click.command()
@experiment_file
@click.option("--update", is_flag=True, help="If the tag has moved, write the new digest. Choose the packages anew.")
@click.option(
    "--local", is_flag=True, help="Pin by its id an image that only this machine's docker daemon has. This is weaker."
)
@click.option("--cluster", hidden=True, help="Refused: a lock file is the same for every cluster.")
@common
def pin(session: Session, experiment: Path, update: bool, local: bool, cluster: str | None, as_json: bool) -> None:
    """Resolve the image's tag to a digest, and `packages` to wheels, and write EXP.lock.yaml. Commit that file.

    tfslurm asks the registry over HTTP, and needs no docker daemon. If there is a lock file already, it asks again and
    says whether the tag has moved. Only --update writes the new digest, and chooses the packages anew. A lock file is
    the same for every cluster, so none is named here.
    """
    if cluster is not None:
        fix = f"leave it out; `tfslurm check {shlex.quote(cluster)}` shows that cluster's GPUs and drivers"
        raise refuse("--cluster", "a lock file is the same for every cluster", fix)
    asked = read_experiment(experiment, sweeps=True)
    if asked.experiment.build and (update or local):
        fix = f"run `tfslurm image build {experiment} --update`"
        raise InputError([asked.experiment.problem(("build",), "its image is not pinned by a tag", fix)])
    lock = locked_or_none(asked, update)
    have = lock.image if lock else None
    resolved = resolve(session, asked, local, have, update=update)
    found, is_new = image_now(asked, have, resolved, update=update)
    had = lock.packages if lock else None
    packages, others = packages_now(session, asked.experiment, asked.file, found, had, update=update)
    if is_new or others:
        write_lock(asked, found, packages)
        say(f"{asked.lock_file}: written; commit it")
    if found.digest == resolved.digest:
        session.tracker.note_lock(lock_sha256(found), now())
    if as_json:
        emit({**asdict(found), **({"packages": packages_to_json(packages)} if packages else {})})
    else:
        show(f"{found.name}@{found.digest}")


def image_now(asked: Asked, have: Pin | None, found: Pin, *, update: bool) -> tuple[Pin, bool]:
    """The pin that the lock file is to hold, and whether it is another than it has; ``found`` is of now.

    Raises:
        InputError: the lock file says other of its digest than the registry has.
    """
    if have is None:
        return found, True
    if have.digest != found.digest:
        if update:
            return found, True
        say(f"warning: {moved(have, found)}; {asked.lock_file} is kept; `tfslurm pin {asked.file} --update` follows")
        return have, False
    lacks = update and have.environment != found.environment  # an older tfslurm kept fewer variables
    wrong = list(wrong_claims(asked, have, found))
    if not lacks and not wrong:
        say(f"{asked.lock_file}: the tag still stands for the pinned digest")
        return have, False
    if not update:
        raise InputError(wrong)
    return found, True

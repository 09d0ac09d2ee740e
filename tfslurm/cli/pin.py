"""tfslurm pin, and how the other commands come to a pin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import click

from tfslurm.cli.console import common, emit, say, show
from tfslurm.document import read
from tfslurm.document.canonical import canonical
from tfslurm.errors import InputError, Problem, RegistryError
from tfslurm.image import Pin, false_claims, moved, pin_to_json, without_claims
from tfslurm.local_files import read_text
from tfslurm.submission.prepare import Asked, pin_now, pinned, read_experiment, resolve_now, write_lock
from tfslurm.tracker import Tracker
from tfslurm.workspace.clock import now, stamp
from tfslurm.workspace.config import Known, known_clusters, open_tracker

ASK_AGAIN = timedelta(minutes=10)


@click.command(short_help="Resolve the image's tag to a digest and write EXP.lock.yaml.")
@click.argument("experiment", type=click.Path(path_type=Path), metavar="EXP.yaml")
@click.option("--update", is_flag=True, help="Follow a tag that has moved: write the new digest.")
@click.option(
    "--local", is_flag=True, help="Pin an image that only this machine's docker daemon has, by its id (weaker)."
)
@common
def pin(experiment: Path, update: bool, local: bool, as_json: bool, verbose: int) -> None:
    """Resolve the image's tag to a digest and write EXP.lock.yaml beside EXP.yaml (commit it).

    The registry is asked over HTTP; no docker daemon is needed. With a lock already there, the tag is asked again and
    a move is reported, never followed, unless --update is given.
    """
    asked = read_experiment(experiment, sweeps=True)
    have = pinned_or_none(asked, update)
    found = resolve(asked, local, have)
    if have and have.digest != found.digest and not update:
        say(f"warning: {moved(have, found)}; {asked.lock_file} is kept; `tfslurm pin {experiment} --update` follows")
        found = have
    elif have and have.digest == found.digest and not (wrong := list(wrong_claims(asked, have, found))):
        say(f"{asked.lock_file}: the tag still stands for the pinned digest")
        found = have
    elif have and have.digest == found.digest and not update:
        raise InputError(wrong)
    else:
        write_lock(asked, found)
        open_tracker().note_lock(lock_sha256(found), now())
        say(f"{asked.lock_file}: written; commit it")
    if as_json:
        emit(asdict(found))
    else:
        show(f"{found.name}@{found.digest}")


def pinned_or_none(asked: Asked, update: bool) -> Pin | None:
    """The lock's pin; with --update a lock that no longer fits the experiment counts as none."""
    try:
        return pinned(asked)
    except InputError:
        if update:
            return None
        raise


def resolve(asked: Asked, local: bool, have: Pin | None) -> Pin:
    """What the image is now: from this machine's daemon, or from the registries."""
    if local or (have and have.pin_kind == "image-id"):
        from tfslurm.registry import pin_local_image

        return pin_local_image(asked.reference, now())
    return pin_now(asked, [known.cluster for known in clusters_of(asked)], now())


def clusters_of(asked: Asked) -> list[Known]:
    """The clusters whose mirrors may be asked: the experiment's, else all."""
    return known_clusters(asked.experiment.clusters, say)


def pin_on_first_use(asked: Asked, clusters: Sequence[Known]) -> Pin:
    """The lock's pin; where there is no lock, the digest of now, written down and said."""
    have = pinned(asked)
    if have:
        return confirmed(asked, have, clusters, open_tracker())
    found = pin_now(asked, [known.cluster for known in clusters], now())
    write_lock(asked, found)
    open_tracker().note_lock(lock_sha256(found), now())
    say(f"pinned {found.reference} to {found.digest} (served by {found.served_by}); wrote {asked.lock_file}; commit it")
    return found


def confirmed(asked: Asked, pin: Pin, clusters: Sequence[Known], tracker: Tracker) -> Pin:
    """The lock's pin as it may be used: each lock file is compared once with what the registry has for its digest.

    Where no registry answers, what only it could confirm is left out, and the node compares the rest.

    Raises:
        InputError: every field that says other than the image has, with its line.
    """
    sha256 = lock_sha256(pin)
    if pin.pin_kind != "registry" or tracker.knows_lock(sha256):
        return pin
    try:
        named = replace(asked.reference, tag="", digest=pin.digest)
        found = resolve_now(named, [known.cluster for known in clusters], now())
    except RegistryError as error:
        say(f"note: {str(error).splitlines()[0]}; the node compares {asked.lock_file} with the image")
        return without_claims(pin)
    if problems := list(wrong_claims(asked, pin, found)):
        raise InputError(problems)
    tracker.note_lock(sha256, now())
    return pin


def wrong_claims(asked: Asked, pin: Pin, found: Pin) -> Iterator[Problem]:
    """What is not so, each with its line in the lock file."""
    file = str(asked.lock_file)
    document = read(read_text(asked.lock_file), file)
    fix = f"run `tfslurm pin {asked.file} --update`, and ask whoever wrote this lock file"
    for field, why in false_claims(pin, found):
        yield Problem(file, document.line(("image", field)), f"image.{field}", why, fix)


def lock_sha256(pin: Pin) -> str:
    """The sha256 of what a lock file says."""
    return hashlib.sha256(canonical(pin_to_json(pin), "lock file")).hexdigest()


def report_move(asked: Asked, pin: Pin, clusters: Sequence[Known], tracker: Tracker) -> None:
    """Say it when the tag stands for another digest by now; asked at most once in ten minutes for each tag."""
    moment = datetime.now(timezone.utc)
    if (
        pin.pin_kind != "registry"
        or not pin.tag
        or not tracker.ask_tag(pin.reference, stamp(moment), stamp(moment - ASK_AGAIN))
    ):
        return
    try:
        found = pin_now(asked, [known.cluster for known in clusters], stamp(moment))
    except RegistryError as error:
        say(f"note: {str(error).splitlines()[0]}; whether {pin.reference} has moved is not known; {pin.digest} is used")
        return
    if found.digest != pin.digest:
        say(f"warning: {moved(pin, found)}; the pinned digest is used; `tfslurm pin {asked.file} --update` follows")

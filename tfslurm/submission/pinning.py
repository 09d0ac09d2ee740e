"""How a command comes to an image's digest: the lock file, or the registry where there is none."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from tfslurm.cluster import Cluster
from tfslurm.document import read
from tfslurm.document.canonical import canonical
from tfslurm.errors import InputError, Problem, RegistryError
from tfslurm.image import Lock, Pin, false_claims, moved, pin_to_json, without_claims
from tfslurm.image.pin import pin_by_digest
from tfslurm.local_files import read_text
from tfslurm.submission.prepare import Asked, locked, mirrors_of, pin_now, pinned, resolve_now, write_lock
from tfslurm.workspace.clock import now, stamp
from tfslurm.workspace.config import Known, known_clusters
from tfslurm.workspace.session import Session

Pinning = Callable[[Session, Asked, Sequence[Known]], Pin]
"How a command comes to the digest of an experiment for these clusters."
ASK_AGAIN = timedelta(minutes=10)


def locked_or_none(asked: Asked, update: bool) -> Lock | None:
    """The lock; with --update one that no longer fits the experiment counts as none."""
    try:
        return locked(asked)
    except InputError:
        if update:
            return None
        raise


def resolve(session: Session, asked: Asked, local: bool, have: Pin | None, *, update: bool = False) -> Pin:
    """The image's digest now: from this machine's daemon, or from the registries.

    Of a lock file that was compared already only the tag is asked, with HEAD, which no registry counts as a pull; with
    ``update`` everything is.
    """
    if local or (have and have.pin_kind == "image-id"):
        from tfslurm.registry import pin_local_image

        return pin_local_image(asked.reference, now())
    clusters = [known.cluster for known in clusters_of(session, asked)]
    compared = have if have and have.tag and not update and session.tracker.knows_lock(lock_sha256(have)) else None
    if compared and stands_still(compared, clusters):
        return compared
    return pin_now(asked, clusters, now(), session.say)


def clusters_of(session: Session, asked: Asked) -> list[Known]:
    """The clusters whose mirrors may be asked: the experiment's, else all."""
    return known_clusters(asked.experiment.clusters, session.say)


def pin_on_first_use(session: Session, asked: Asked, clusters: Sequence[Known]) -> Pin:
    """The lock's pin; where there is no lock, the digest of now, written down and said. So are the packages."""
    have = pinned(asked)
    pin = confirmed(session, asked, have, clusters) if have else pin_first(session, asked, clusters)
    if asked.experiment.packages is not None and asked.derived_from is None:
        lock_on_first_use(session, asked, clusters)
    return pin


def lock_on_first_use(session: Session, asked: Asked, clusters: Sequence[Known]) -> None:
    """Resolve the packages where the lock file has none yet, and write them down."""
    from tfslurm.image.packages import summary
    from tfslurm.submission.packages import resolve_packages

    lock = locked(asked)
    if lock is None or lock.packages is not None:
        return
    packages = resolve_packages(session, asked.experiment, asked.file, lock.image, clusters)
    write_lock(asked, lock.image, packages)
    session.say(f"locked {summary(packages)}; wrote {asked.lock_file}; commit it")


def pin_first(session: Session, asked: Asked, clusters: Sequence[Known]) -> Pin:
    """The image's digest of now, written down and said."""
    found = pin_now(asked, [known.cluster for known in clusters], now(), session.say)
    write_lock(asked, found)
    session.tracker.note_lock(lock_sha256(found), now())
    is_kept = not (asked.derived_from or asked.is_temporary)  # a rerun's is a temporary one too
    wrote = f"; wrote {asked.lock_file}; commit it" if is_kept else ""
    session.say(f"pinned {found.reference} to {found.digest} (served by {found.served_by}){wrote}")
    return found


def pin_to_show(session: Session, asked: Asked, clusters: Sequence[Known]) -> Pin:
    """The pin for a plan that is only shown: an image that is named by its digest needs no registry for that."""
    try:
        return pin_on_first_use(session, asked, clusters)
    except RegistryError as error:
        if not asked.reference.digest or not error.transient:
            raise
        session.say(
            f"note: {str(error).splitlines()[0]}; the plan knows the image's digest alone, not its entrypoint; submit "
            "asks the registry again"
        )
        return pin_by_digest(asked.reference, now())


def confirmed(session: Session, asked: Asked, pin: Pin, clusters: Sequence[Known]) -> Pin:
    """The lock's pin as it may be used: each lock file is compared once with what the registry has for its digest.

    Where no registry answers, what only it could confirm is left out, and the node compares the rest. An archive of the
    image knows all of it.

    Raises:
        InputError: every field that says other than the image has, with its line.
    """
    if asked.archive:
        if problems := list(wrong_claims(asked, pin, asked.archive.pin)):
            raise InputError(problems)
        return replace(
            pin, manifest_digest=asked.archive.pin.manifest_digest, config_digest=asked.archive.pin.config_digest
        )
    if pin.pin_kind != "registry" or session.tracker.knows_lock(sha256 := lock_sha256(pin)):
        return pin
    try:
        named = replace(asked.reference, tag="", digest=pin.digest)
        found = resolve_now(named, [known.cluster for known in clusters], now(), session.say)
    except RegistryError as error:
        which = "the record's lock file" if asked.derived_from else asked.lock_file
        session.say(f"note: {str(error).splitlines()[0]}; the node compares {which} with the image")
        return without_claims(pin)
    if problems := list(wrong_claims(asked, pin, found)):
        raise InputError(problems)
    session.tracker.note_lock(sha256, now())
    return pin


def wrong_claims(asked: Asked, pin: Pin, found: Pin) -> Iterator[Problem]:
    """The false fields, each with its line in the lock file."""
    file = str(asked.lock_file)
    document = read(read_text(asked.lock_file), file)
    fix = f"run `{anew(asked)}`, and ask whoever wrote this lock file"
    for field, why in false_claims(pin, found):
        yield Problem(file, document.line(("image", field)), f"image.{field}", why, fix)


def anew(asked: Asked) -> str:
    """The command that pins the image of an experiment anew."""
    command = "image build" if asked.experiment.build else "pin"
    return f"tfslurm {command} {shlex.quote(str(asked.file))} --update"


def lock_sha256(pin: Pin) -> str:
    """The sha256 of what a lock file says."""
    return hashlib.sha256(canonical(pin_to_json(pin), "lock file")).hexdigest()


def stands_still(pin: Pin, clusters: Sequence[Cluster]) -> bool:
    """Whether the first place that serves the image says that the tag still stands for it: no registry counts HEAD."""
    from tfslurm.registry.served import served

    mirrors, engine = mirrors_of(clusters)
    return served(pin, mirrors, engine).tag_now == pin.digest


def report_move(session: Session, asked: Asked, pin: Pin, clusters: Sequence[Known]) -> None:
    """Say it when the tag stands for another digest by now; asked at most once in ten minutes for each tag.

    A rerun says it before it starts.
    """
    moment = datetime.now(timezone.utc)
    if (
        pin.pin_kind != "registry"
        or not pin.tag
        or asked.derived_from
        or not session.tracker.ask_tag(pin.reference, stamp(moment), stamp(moment - ASK_AGAIN))
    ):
        return
    if stands_still(pin, [known.cluster for known in clusters]):
        return
    try:
        found = pin_now(asked, [known.cluster for known in clusters], stamp(moment), session.say)
    except RegistryError as error:
        session.say(
            f"note: {str(error).splitlines()[0]}; whether {pin.reference} has moved is not known; {pin.digest} is used"
        )
        return
    if found.digest != pin.digest:
        session.say(f"warning: {moved(pin, found)}; the pinned digest is used; `{anew(asked)}` follows")

"""Build, push and pin an experiment's own image: from its files to its lock."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import BinaryIO, NamedTuple, cast

from tfslurm.errors import HostError, RegistryError, TfslurmError, refuse
from tfslurm.image import Pin, lock_text, moved, parse_reference
from tfslurm.image.build_lock import Base, BuildLock, changed, differences, text_sha256
from tfslurm.images.building.assembled import Assembled, BaseImage, Origin, assembled, base_image
from tfslurm.images.building.context import dockerfile, write_context
from tfslurm.images.building.engine import Builder, Job, build, find_builder
from tfslurm.images.building.on_node import RemoteFile, build_on_node
from tfslurm.images.building.packages import Locked, locked
from tfslurm.images.building.pushing import Step, ask_to_push, push
from tfslurm.local_files import make_folder, open_file, write_file
from tfslurm.registry import resolve
from tfslurm.registry.image_source import ImageSource
from tfslurm.snapshot.git import branch_of, head_of, remote_of, top_of
from tfslurm.submission.build_inputs import Recipe, lock_if_good, recipe_of
from tfslurm.submission.pinning import lock_sha256
from tfslurm.submission.prepare import Asked, mirrors_of, resolve_now
from tfslurm.workspace.clock import now
from tfslurm.workspace.config import Known, known_clusters
from tfslurm.workspace.session import Session

NODE = "node"
"The builder that is a job of the cluster."
NEVER_BUILT = "it was not built yet"


class Wish(NamedTuple):
    """What the command line asks: the cluster whose registry gets the image, the builder ('' for any), and whether the
    base and the packages are resolved anew."""

    cluster: str = ""
    builder: str = ""
    update: bool = False


class Task(NamedTuple):
    """What is built: the files, the cluster, the base, and the last build of it, if there was one.

    ``same`` is whether nothing that it is made of has changed since then.
    """

    asked: Asked
    recipe: Recipe
    known: Known
    clusters: tuple[Known, ...]
    base: Pin
    before: BuildLock | None
    same: bool
    update: bool

    @property
    def mirrors(self) -> Mapping[str, Sequence[str]]:
        """Where the base may be found beside its own registry."""
        return mirrors_of([known.cluster for known in self.clusters])[0]

    @property
    def repository(self) -> str:
        """``registry/prefix/name`` of the image."""
        return f"{self.known.cluster.registry}/{self.asked.experiment.name.strip('-')}"


class Outcome(NamedTuple):
    """What came of a build. ``differs``: in what it differs from the image that was pinned; None: none was.

    ``is_pinned`` is false where it was not pushed, because the same inputs gave another image.
    """

    reference: str
    build: BuildLock
    differs: tuple[str, ...] | None
    is_pinned: bool
    sent_bytes: int


def task_of(session: Session, asked: Asked, wish: Wish) -> Task:
    """What is to be built, with the base's digest.

    Raises:
        InputError: the files, or no cluster has a registry of the user's own.
        RegistryError: the base is not to be had.
    """
    recipe = recipe_of(asked.experiment, asked.file)
    clusters = clusters_of(session, asked, wish)
    known = next((each for each in clusters if each.cluster.registry), None)
    if known is None:
        names = ", ".join(each.cluster.name for each in clusters) or "no cluster"
        fix = "add to a cluster file `registry: registry.example:5000/you`"
        raise refuse(names, "no `registry` is named where the image is pushed to", fix)
    lock = lock_if_good(asked.file)
    before = lock.build if lock else None
    same = bool(before and not changed(before, recipe.inputs))
    base = base_of(session, recipe, clusters, None if wish.update else before)
    return Task(asked, recipe, known, tuple(clusters), base, before, same and not wish.update, wish.update)


def clusters_of(session: Session, asked: Asked, wish: Wish) -> list[Known]:
    """The clusters whose registry and mirrors count.

    Raises:
        InputError: one is not known, or its file cannot be used.
    """
    return known_clusters([wish.cluster] if wish.cluster else asked.experiment.clusters, session.say)


def base_of(session: Session, recipe: Recipe, clusters: Sequence[Known], before: BuildLock | None) -> Pin:
    """The pinned base: as it was, while it has the same name; else what its tag stands for now.

    Raises:
        RegistryError: it is not to be had; it says how to take what the tag stands for now.
    """
    reference = parse_reference(recipe.build.base)
    places = [known.cluster for known in clusters]
    if before is None or parse_reference(before.base.reference) != reference:
        return resolve_now(reference, places, now(), session.say)
    named = replace(reference, tag="", digest=before.base.digest)
    try:
        found = resolve_now(named, places, now(), session.say)
    except RegistryError as error:
        fix = "`--update` takes what its tag stands for now"
        raise RegistryError(
            f"the base {before.base.reference} is pinned to {before.base.digest}: {error}; {fix}"
        ) from error
    typed = reference.typed or str(reference)
    found = replace(found, reference=typed, tag=reference.tag, pinned_at=before.built_at)
    if reference.tag and not reference.digest:
        say_move(session, found, places, recipe)
    return found


def say_move(session: Session, pin: Pin, places: Sequence[object], recipe: Recipe) -> None:
    """Say it when the base's tag stands for another digest by now."""
    try:
        fresh = resolve_now(parse_reference(recipe.build.base), places, now(), session.say)  # type: ignore[arg-type]
    except RegistryError:
        return
    if said := moved(pin, fresh):
        session.say(f"note: base {said}; the pinned digest is used; --update follows the tag")


def news(session: Session, asked: Asked, wish: Wish) -> list[str]:
    """What would change if it were built now: nothing is touched for this answer but the registries that are asked.

    Raises:
        InputError: the files.
        RegistryError: the base is not to be had.
    """
    recipe = recipe_of(asked.experiment, asked.file)
    lock = lock_if_good(asked.file)
    if lock is None or lock.build is None:
        return [NEVER_BUILT]
    found, before = changed(lock.build, recipe.inputs), lock.build.base.digest
    places = [known.cluster for known in clusters_of(session, asked, wish)]
    fresh = resolve_now(parse_reference(recipe.build.base), places, now(), session.say)
    if fresh.digest != before and not found:
        found.append(f"base: {before[:19]} -> {fresh.digest[:19]} with --update: its tag has moved")
    return found


def build_image(session: Session, asked: Asked, wish: Wish, step: Step) -> Outcome:
    """Build the image, push it and pin it.

    Where nothing that it is made of has changed, it is built again and compared: an equal image is pinned already, and
    another one is not pushed.

    Raises:
        TfslurmError: the builder, the registry or the disk refused; then nothing is pinned.
    """
    task = task_of(session, asked, wish)
    engine = task.known.cluster.engine
    builder = builder_of(session, task, wish)
    ask_to_push(session, task.repository, engine)
    with TemporaryDirectory(prefix="tfslurm-build-") as place, ImageSource(task.base, task.mirrors, engine) as source:
        folder = Path(place)
        base = base_image(task.base, source)
        lock, image = built(session, task, base, builder, folder)
        differs = differences(task.before, lock) if task.before else None
        reference = f"{task.repository}:build-{lock.digest.partition(':')[2][:12]}"
        if task.same and differs:
            return Outcome(reference, lock, tuple(differs), False, 0)
        sent = push(image, base, source, task.repository, reference.rpartition(":")[2], engine, step)
        if not (task.same and not differs):
            pin(session, task, lock, reference)
    return Outcome(reference, lock, None if differs is None else tuple(differs), True, sent)


def built(
    session: Session, task: Task, base: BaseImage, builder: Builder | None, place: Path
) -> tuple[BuildLock, Assembled]:
    """The image, and what it was made of.

    Raises:
        TfslurmError: a package cannot be locked, or the builder refuses.
    """
    before, lines = None if task.update else task.before, task.recipe.inputs.pip
    packages = locked(session, task.asked, lines, task.base, task.clusters, before)
    text = dockerfile(task.recipe, task.base, packages.lock, base.user)
    origin = origin_of(task, base)
    context, layers = place / "context", place / "layers"
    for each in (context, layers):
        make_folder(each)
    write_context(context, text, task.recipe.context, packages.lock, packages.wheels)
    network = "" if task.recipe.text or task.recipe.build.apt else "none"
    job = Job(context, text, task.base, task.mirrors, network, origin.epoch, token_hex(6))
    with archive_of(session, task, builder, job, place) as (file, name):
        image = assembled(file, base, origin, layers)
    return lock_of(task, text, packages, origin, name, image), image


@contextmanager
def archive_of(
    session: Session, task: Task, builder: Builder | None, job: Job, place: Path
) -> Iterator[tuple[BinaryIO, str]]:
    """The archive of the image, once it is built here or on a node, and the name of what built it.

    Raises:
        TfslurmError: the builder refuses.
    """
    if builder:
        build(builder, job, place / "image.tar", session.say)
        with open_file(place / "image.tar") as file:
            yield file, str(builder)
        return
    found = build_on_node(session, task.known, job)
    try:
        yield cast(BinaryIO, RemoteFile(found)), found.builder
    finally:
        found.remove()


def builder_of(session: Session, task: Task, wish: Wish) -> Builder | None:
    """The builder of this machine; None: a node builds, because that is wished, or no engine answers here.

    Raises:
        HostError: the wished one does not answer.
    """
    if wish.builder == NODE:
        return None
    try:
        return find_builder(wish.builder, task.known.cluster.engine)
    except HostError as error:
        if wish.builder:
            raise
        session.say(f"note: {error}")
        return None


def lock_of(task: Task, text: str, packages: Locked, origin: Origin, builder: str, image: Assembled) -> BuildLock:
    """What the lock file says of a build."""
    inputs = task.recipe.inputs
    return BuildLock(
        base=Base(task.recipe.build.base, task.base.name, task.base.digest),
        dockerfile=text,
        dockerfile_sha256=text_sha256(text),
        own_sha256=inputs.own_sha256,
        context_sha256=inputs.context_sha256,
        apt=inputs.apt,
        apt_installed=image.apt,
        pip=inputs.pip,
        packages=packages.lock,
        source_date_epoch=origin.epoch,
        revision=origin.revision,
        source=origin.source,
        builder=builder,
        layers=tuple(each.about for each in image.layers),
        digest=image.built.digest,
        built_at=now(),
    )


def origin_of(task: Task, base: BaseImage) -> Origin:
    """What the image says of itself: as before where nothing changed, so that it can come out equal."""
    if task.before and task.same:
        return Origin(task.before.source_date_epoch, task.before.revision, task.before.source)
    folder = task.asked.file.parent.resolve()
    revision = source = ""
    try:
        if top := top_of(folder):
            head = head_of(folder, top)
            revision = head.commit if head else ""
            source = remote_of(folder, branch_of(folder)) or ""
    except TfslurmError:
        pass  # it says nothing certain, and neither does the image
    return Origin(epoch_of(base), revision, source)


def epoch_of(base: BaseImage) -> int:
    """SOURCE_DATE_EPOCH, or when the base was made; 0 where it does not say."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given:
        if not given.isdigit() or len(given) > 11:
            raise refuse("SOURCE_DATE_EPOCH", f"{given[:40]!r} is not a number of seconds since 1970", "unset it")
        return int(given)
    text = base.pin.created[:19]
    try:
        return max(0, int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()))
    except ValueError:
        return 0


def pin(session: Session, task: Task, lock: BuildLock, reference: str) -> None:
    """Write the lock file, from what the registry serves for the image.

    Raises:
        RegistryError: it serves something else.
    """
    found = resolve(
        parse_reference(reference), {}, "linux/amd64", now(), engine=task.known.cluster.engine, warn=session.say
    )
    if found.digest != lock.digest:
        raise RegistryError(
            f"{reference}: is served as {found.digest}, and {lock.digest} was pushed; do not use this registry"
        )
    write_file(task.asked.lock_file, lock_text(found, build=lock).encode(), mode=0o666)
    session.tracker.note_lock(lock_sha256(found), now())
    session.say(f"pinned {reference} to {lock.digest}; wrote {task.asked.lock_file}; commit it")

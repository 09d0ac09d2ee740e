"""Which images the jobs of this tracker used, and where each is known to be: clusters, archives, registries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from tfslurm.cluster import Cluster
from tfslurm.errors import HostError, TfslurmError, TrackerError
from tfslurm.registry.served import Served, served
from tfslurm.remote_programs import program
from tfslurm.slurm.values import lines_of
from tfslurm.submission.prepare import mirrors_of
from tfslurm.tracker.images import ImageUse, image_uses
from tfslurm.workspace.config import Known, known_clusters
from tfslurm.workspace.session import Session
from tfslurm.workspace.threads import at_once

PATIENCE_S = 20.0
"For a login node to say what lies there."
MOST_BYTES = 2**20
"Of such an answer: some ten thousand files."
AT_ONCE = 16
"Registries that are asked at the same time."
FILE = re.compile(r"([0-9]{1,19}) ([0-9a-f]{64})\.(json|tar)")


class Archive(NamedTuple):
    """The archive of an image below ROOT/images on a cluster; ``needed_by``: jobs of this tracker that have not ended.

    ``digest``: of the image that jobs of this tracker loaded from it; '': none did.
    """

    cluster: str
    path: str
    bytes: int
    digest: str
    needed_by: int


class ListedImage(NamedTuple):
    """An image that jobs used, or that a cluster knows; the names and the newest job stand first.

    ``names``: registry/repository:tag; () where no job of this tracker used it. ``bytes``: as it travels; None: not
    known. ``newest``: the key of the job that was submitted last, '' without one. ``ran_on``: the clusters of the jobs.
    ``seen_on``: the clusters that have facts of what is inside it. ``served``: None: no registry was asked.
    """

    digest: str
    names: tuple[str, ...]
    bytes: int | None
    jobs: int
    unfinished: int
    newest: str
    newest_at: str
    ran_on: tuple[str, ...]
    seen_on: tuple[str, ...]
    served: Served | None = None


class Images(NamedTuple):
    """All of them, the one that was used last first; ``silent``: cluster -> why its images are not known."""

    images: tuple[ListedImage, ...]
    archives: tuple[Archive, ...]
    silent: Mapping[str, str]


class Lying(NamedTuple):
    """The files below ROOT/images of a cluster: the digests with facts, and the sha256 and size of each archive."""

    facts: tuple[str, ...] = ()
    archives: Mapping[str, int] = {}
    why: str = ""


def list_images(session: Session, *, check: bool = False) -> Images:
    """The images of this tracker's jobs, and those that the clusters know; each cluster is asked once.

    With ``check`` the registries of each, the mirrors of all clusters first, are asked by one HEAD whether they serve
    it.

    Raises:
        InputError: a cluster's file is wrong.
    """
    clusters = known_clusters()
    lying = {known.cluster.name: each for known, each in zip(clusters, asked(session, clusters), strict=True)}
    uses = image_uses(session.tracker)
    images = tuple(listed(uses, lying))
    if check:
        images = tuple(with_answers(session, images, uses, [known.cluster for known in clusters]))
    archives = tuple(archives_of(uses, lying, {known.cluster.name: known.cluster for known in clusters}))
    return Images(images, archives, {name: each.why for name, each in lying.items() if each.why})


def asked(session: Session, clusters: Sequence[Known]) -> Iterator[Lying]:
    """The answers of the clusters, all asked at once; one that is down keeps no other waiting."""
    for answer in at_once([partial(lying_at, session, known) for known in clusters]):
        try:
            yield answer()
        except TfslurmError as error:
            yield Lying(why=str(error).splitlines()[0])


def lying_at(session: Session, known: Known) -> Lying:
    """The files below ROOT/images of one cluster.

    Raises:
        HostError: it does not answer.
        CommandFailed: the folder cannot be read, or is somebody else's.
    """
    folder = known.cluster.root / "images"
    done = session.reach(known).run(program("list-images", str(folder), str(MOST_BYTES)), timeout_s=PATIENCE_S)
    if done.exit_code:
        said = " ".join(done.stderr.split())[:300]
        raise HostError(f"{known.cluster.name}: {folder}: {said or f'exit {done.exit_code}'}")
    facts, archives = list[str](), dict[str, int]()
    for word in lines_of(done.stdout, "\0"):
        if row := FILE.fullmatch(word):
            if row[3] == "json":
                facts.append(f"sha256:{row[2]}")
            else:
                archives[row[2]] = int(row[1])
    why = f"{folder} has more files than are listed" if len(done.stdout.encode()) >= MOST_BYTES else ""
    return Lying(tuple(sorted(facts)), archives, why)


def listed(uses: Sequence[ImageUse], lying: Mapping[str, Lying]) -> Iterator[ListedImage]:
    """The images of the jobs, the last used first, then those that the clusters alone know."""
    by_digest: dict[str, list[ImageUse]] = {}
    for use in uses:
        by_digest.setdefault(use.digest, []).append(use)
    for digest in dict.fromkeys([*by_digest, *(each for there in lying.values() for each in there.facts)]):
        mine = by_digest.get(digest, [])
        newest = mine[0] if mine else None
        yield ListedImage(
            digest=digest,
            names=tuple(dict.fromkeys(use.name for use in mine)),
            bytes=max((use.bytes for use in mine), default=0) or None,
            jobs=sum(use.jobs for use in mine),
            unfinished=sum(use.unfinished for use in mine),
            newest=newest.newest if newest else "",
            newest_at=newest.newest_at if newest else "",
            ran_on=tuple(dict.fromkeys(use.cluster for use in mine)),
            seen_on=tuple(name for name, there in lying.items() if digest in there.facts),
        )


def archives_of(
    uses: Sequence[ImageUse], lying: Mapping[str, Lying], clusters: Mapping[str, Cluster]
) -> Iterator[Archive]:
    """The archives on the clusters, each with what the jobs say of it."""
    for name, there in lying.items():
        for sha256, size in there.archives.items():
            mine = [use for use in uses if use.archive == sha256]
            needed = sum(use.unfinished for use in mine if use.cluster == name)
            path = str(clusters[name].root / "images" / f"{sha256}.tar")
            yield Archive(name, path, size, mine[0].digest if mine else "", needed)


def with_answers(
    session: Session, images: Sequence[ListedImage], uses: Sequence[ImageUse], clusters: Sequence[Cluster]
) -> Iterator[ListedImage]:
    """The same images, each with the answer of the registries; one that no job used has no name to ask for."""
    mirrors, engine = mirrors_of(clusters)
    plan_of = {use.digest: use.plan_id for use in reversed(uses)}
    questions: dict[str, Callable[[], Served]] = {}
    for digest, plan_id in plan_of.items():
        with suppress(TrackerError):  # a plan that cannot be read
            (tracked,) = session.tracker.plans(plan_id=plan_id)
            questions[digest] = partial(served, tracked.plan.pin, mirrors, engine)
    wanted = list(questions)
    answers: dict[str, Served] = {}
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        found = at_once([questions[digest] for digest in some])
        answers |= {digest: result() for digest, result in zip(some, found, strict=True)}
    yield from (image._replace(served=answers.get(image.digest)) for image in images)

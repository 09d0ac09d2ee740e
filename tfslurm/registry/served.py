"""Is a pinned image still served, and does its tag still stand for it? Asked with HEAD, which no registry counts as a
pull (docs.docker.com/docker-hub/usage/pulls)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tfslurm.errors import InputError, RegistryError
from tfslurm.image import Pin, mirror_names, parse_reference
from tfslurm.registry.errors import Answer
from tfslurm.registry.resolve import ACCEPT
from tfslurm.registry.wire import Patience, Remote

PATIENCE = Patience(request_s=15.0, place_s=30.0)


class Served(NamedTuple):
    """The answers of the registries.

    ``place``: the registry and repository that serves the image; '': none does, or it is not known. ``is_gone``: every
    place was asked, and none has it. ``why``: what they said. ``tag_now``: the digest that the tag stands for now;
    '': it was not asked for, or nobody knows it. ``tag_is_gone``: a place that serves the image has no such tag.
    """

    place: str = ""
    is_gone: bool = False
    why: str = ""
    tag_now: str = ""
    tag_is_gone: bool = False


def served(
    pin: Pin, mirrors: Mapping[str, Sequence[str]], engine: str = "docker", patience: Patience = PATIENCE
) -> Served:
    """What registries say of an image now: its mirrors in order, then its own.

    A tag that still stands for the digest answers both questions at once. A place that does not answer, refuses, or
    hides from those without a login what it has, leaves the answer open; it is never taken for a no.
    """
    if pin.pin_kind == "image-id":
        return Served(why="it is on one docker daemon only, and no registry has it")
    try:
        parse_reference(f"{pin.name}{f':{pin.tag}' if pin.tag else ''}@{pin.digest}")
    except InputError as error:  # a record may be a stranger's
        return Served(why=str(error).splitlines()[0])
    open_places, gone = list[str](), list[str]()
    for name in mirror_names(pin.name, mirrors):
        try:
            with Remote(name, engine, patience) as remote:
                found = served_at(remote, pin)
        except RegistryError as failure:
            open_places.append(str(failure).splitlines()[0])
            continue
        if found.place:
            return found
        (gone if found.is_gone else open_places).append(found.why)
    if open_places:
        return Served(why=" | ".join(open_places))
    return Served(is_gone=True, why=f"deleted from {' and '.join(gone)}, or never pushed there")


def served_at(remote: Remote, pin: Pin) -> Served:
    """The answer of one place.

    Raises:
        RegistryError: it does not answer, or refuses.
    """
    digests = [digest for digest in (pin.digest, pin.manifest_digest) if digest]
    tag_now, tag_is_gone = "", False
    if pin.tag:
        answer = head(remote, pin.tag, f"tag {pin.tag}")
        tag_now, tag_is_gone = answer.headers.get("docker-content-digest", "")[:140], answer.status == 404
        if answer.status == 200 and tag_now in digests:
            return Served(remote.name, tag_now=pin.digest)
    for digest in dict.fromkeys(digests):
        what = f"{digest[:19]}…"
        answer = head(remote, digest, what)
        says = answer.headers.get("docker-content-digest", digest)
        if answer.status == 200 and says != digest:
            raise RegistryError(f"{remote.name}: {what}: it serves {says[:140]} for it; do not use this source")
        if answer.status == 200:
            return Served(remote.name, tag_now=tag_now, tag_is_gone=tag_is_gone)
    if remote.is_anonymous and not lists_tags(remote):
        return Served(why=f"{remote.name}: it has no {what} for those who are not logged in{remote.how_to_see_more}")
    return Served(is_gone=True, why=remote.name)


def head(remote: Remote, wanted: str, what: str) -> Answer:
    """The answer to a question for a manifest's headers: there (200), or not there (404).

    Raises:
        RegistryError: any other answer, or none.
    """
    answer = remote.ask(f"manifests/{wanted}", what, accept=ACCEPT, method="HEAD")
    if answer.status not in (200, 404):
        raise remote.refused(what, answer)
    return answer


def lists_tags(remote: Remote) -> bool:
    """Whether a repository may be looked into: then what it lacks is not there."""
    try:
        return remote.ask("tags/list?n=1", "its tags").status == 200
    except RegistryError:
        return False

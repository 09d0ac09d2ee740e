"""ro-crate-metadata.json -> what a crate says of itself: its runs with image and command, and its files. Pure.

What another tool wrote is that tool's claim; nothing of it was observed by tfslurm.
Sources: w3id.org/ro/crate/1.1 and 1.3, w3id.org/ro/wfrun/process/0.5 (terms CreateAction, containerImage,
ContainerImage).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

METADATA = "ro-crate-metadata.json"
MOST_ENTITIES = 500_000
RUN = "CreateAction"
IMAGE = "ContainerImage"
ABSENT = "Not in this crate: "
"How the description of a file begins that a run left and that is not in the crate."
Entity = Mapping[str, Any]


class ImageClaim(NamedTuple):
    """A container image as a crate names it; '' for what it does not say."""

    id: str
    name: str  # registry/name:tag
    sha256: str
    kind: str  # of additionalType


class RunClaim(NamedTuple):
    """A run as a crate tells it; '' for what it does not say."""

    id: str
    name: str
    command: str  # its description, which in Process Run Crate is a command or a sentence
    program: str
    image: ImageClaim | None
    started_at: str
    ended_at: str
    status: str  # CompletedActionStatus
    error: str


class FileClaim(NamedTuple):
    """A file as a crate lists it; None for what it does not say."""

    path: str
    bytes: int | None
    sha256: str | None


class Metadata(NamedTuple):
    """What a crate says of itself."""

    version: str  # of RO-Crate; '' where it does not say
    profiles: tuple[str, ...]  # URLs
    name: str
    description: str
    licence: str
    runs: tuple[RunClaim, ...]
    files: tuple[FileClaim, ...]
    folders: tuple[str, ...]  # that stand for what is in them; each ends in /
    absent: Mapping[str, str]  # path of a file that is not in the crate -> why
    entities: Mapping[str, Entity]


def metadata_of(values: Mapping[str, Any]) -> Metadata:
    """What a crate's metadata says.

    Raises:
        ValueError: it is none: no graph, or no root.
    """
    graph = values.get("@graph")
    if not isinstance(graph, list) or len(graph) > MOST_ENTITIES:
        raise ValueError("it has no list @graph that can be read")
    entities: dict[str, Entity] = {}
    for entity in graph:
        if not isinstance(entity, dict) or not isinstance(entity.get("@id"), str):
            raise ValueError("an entry of @graph has no @id")
        if entity["@id"] in entities:
            raise ValueError(f"the entity {entity['@id'][:200]!r} stands in it twice")
        entities[entity["@id"]] = entity
    about = next((each for name, each in entities.items() if name.rpartition("/")[2] == METADATA), None)
    root = entities.get(next(iter(references(about, "about")), "./")) if about else None
    if about is None or root is None:
        raise ValueError("it does not say what it is about")
    versions = [url.rpartition("/")[2] for url in references(about, "conformsTo") if "/ro/crate/" in url]
    return Metadata(
        version=versions[0] if versions else "",
        profiles=tuple(references(root, "conformsTo")),
        name=text(root, "name"),
        description=text(root, "description"),
        licence=next(iter(references(root, "license")), "") or text(root, "license"),
        runs=tuple(run_of(each, entities) for each in entities.values() if is_a(each, RUN)),
        files=tuple(files_of(entities.values())),
        folders=tuple(
            path for each in entities.values() if is_a(each, "Dataset") and (path := path_of(each)) not in ("", "./")
        ),
        absent=dict(absent_of(entities.values())),
        entities=entities,
    )


def run_of(action: Entity, entities: Mapping[str, Entity]) -> RunClaim:
    """One run."""
    program = entities.get(next(iter(references(action, "instrument")), ""), {})
    named = " ".join(filter(None, (text(program, "name"), text(program, "version"))))
    return RunClaim(
        id=action["@id"],
        name=text(action, "name"),
        command=text(action, "description"),
        program=named or next(iter(references(action, "instrument")), ""),
        image=image_of(action, entities),
        started_at=text(action, "startTime"),
        ended_at=text(action, "endTime"),
        status=status_of(action),
        error=text(action, "error"),
    )


def status_of(action: Entity) -> str:
    """The last part of its actionStatus, which is an address or a reference to one."""
    said = text(action, "actionStatus") or next(iter(references(action, "actionStatus")), "")
    return said.rpartition("/")[2]


def image_of(action: Entity, entities: Mapping[str, Entity]) -> ImageClaim | None:
    """The image that a run says it ran in: an entity, or the text that names it; None: it says nothing."""
    named = next(iter(references(action, "containerImage")), "") or text(action, "containerImage")
    if not named:
        return None
    entity = entities.get(named)
    if entity is None:
        digest = re.search(r"@sha256:([0-9a-f]{64})$", named)
        return ImageClaim("", named, digest[1] if digest else "", "")
    tag = text(entity, "tag")
    name = "/".join(filter(None, (text(entity, "registry"), text(entity, "name")))) + (f":{tag}" if tag else "")
    kind = next(iter(references(entity, "additionalType")), "")
    return ImageClaim(named, name or named, text(entity, "sha256"), kind)


def files_of(entities: Iterable[Entity]) -> Iterator[FileClaim]:
    """The files that it lists, by their paths in the crate; those of the web are not among them."""
    for entity in entities:
        path = path_of(entity)
        if is_a(entity, "File") and path:
            size = text(entity, "contentSize")
            digest = text(entity, "sha256")
            yield FileClaim(path, int(size) if re.fullmatch(r"[0-9]{1,18}", size) else None, digest or None)


def absent_of(entities: Iterable[Entity]) -> Iterator[tuple[str, str]]:
    """The files that it says are not in it."""
    for entity in entities:
        why = text(entity, "description")
        if is_a(entity, "PropertyValue") and why.startswith(ABSENT):
            yield text(entity, "name"), why.removeprefix(ABSENT)


def path_of(entity: Entity) -> str:
    """The path that an id is; '' for an address, and for what is only named within the metadata."""
    name = str(entity["@id"])
    if name.startswith(("#", "_:")) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name):
        return ""
    return unquote(name.removeprefix("./") or "./", errors="surrogateescape")


def is_a(entity: Entity, kind: str) -> bool:
    """Whether this is one of its types."""
    said = entity.get("@type")
    return kind in said if isinstance(said, list) else said == kind


def references(entity: Entity, key: str) -> list[str]:
    """The ids that a key refers to, be it one or a list."""
    said = entity.get(key)
    listed = said if isinstance(said, list) else [said]
    return [each["@id"] for each in listed if isinstance(each, dict) and isinstance(each.get("@id"), str)]


def text(entity: Entity, key: str) -> str:
    """The text of a key; that of a whole number too, and '' for anything else."""
    said = entity.get(key)
    return said if isinstance(said, str) else str(said) if type(said) is int else ""

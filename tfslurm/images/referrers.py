"""Attestations and signatures of an image: what refers to its manifests in the registry that has it.

Sources: OCI distribution specification 1.1, "Listing Referrers" and "Referrers Tag Schema" (the fallback tag), "Pushing
Manifests with Subject" (OCI-Subject); github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md (the tags of signatures).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RegistryError
from tfslurm.images.mirror_names import Place
from tfslurm.registry.documents import (
    INDEX_TYPES,
    Blob,
    Manifest,
    Unreadable,
    checked_digest,
    objects,
    read_manifest,
)
from tfslurm.registry.errors import Answer
from tfslurm.registry.image_source import ImageSource
from tfslurm.registry.image_tree import MOST_BYTES, ImageTree, blobs_of
from tfslurm.registry.push import Target
from tfslurm.registry.resolve import ACCEPT, manifest_at
from tfslurm.registry.wire import Remote

OF_COSIGN = ("sig", "att", "sbom")
MOST = 100
"Referrers of one image."
MOST_PAGES = 5
NOT_THERE = (400, 404, 405)
"Answers of a registry that has none, or does not know the question."


class Referrer(NamedTuple):
    """A manifest that refers to another, ``subject``.

    ``tag``: how cosign finds it, '' where it is found by its subject; ``entry``: then what the registry lists of it.
    """

    subject: str
    manifest: Manifest
    tag: str
    entry: Mapping[str, Any]


class Referrers(NamedTuple):
    """All of an image, with the blobs that they name."""

    found: tuple[Referrer, ...]
    blobs: tuple[Blob, ...]


NOTHING = Referrers((), ())


def referrers_of(source: ImageSource, tree: ImageTree) -> Referrers:
    """What refers to the documents of an image, and to those: each from the first place that has any.

    Raises:
        RegistryError: no place says so, or they are too many.
    """
    waiting, seen, found = [each.digest for each in tree.documents], set[str](), list[Referrer]()
    while waiting:
        digest = waiting.pop(0)
        if digest in seen:
            continue
        seen.add(digest)
        new: list[Referrer] = source.first_with(partial(referrers_at, digest=digest), [])
        found += new
        waiting += [each.manifest.digest for each in new]
        if len(found) > MOST:
            raise RegistryError(
                f"{tree.served_by}: more than {MOST} manifests refer to the image; mirror it without them"
            )
    blobs, _ = blobs_of([each.manifest for each in found])
    return Referrers(tuple(found), blobs)


def referrers_at(remote: Remote, digest: str) -> list[Referrer]:
    """What refers to a manifest at one place: by the registry's own list, else by the fallback tag; and by cosign's
    tags."""
    what = f"what refers to {digest[:19]}…"
    listed = list_of(remote, digest, what)
    found = []
    if len(listed) > MOST:
        raise too_many(remote.name)
    for entry in listed:
        found.append(Referrer(digest, manifest_at(remote, checked_digest(entry), what), "", entry))
    for kind in OF_COSIGN:
        tag = f"{tag_of(digest)}.{kind}"
        answer = remote.ask(f"manifests/{tag}", what, accept=ACCEPT)
        if there := body_of(remote, answer, what):
            found.append(Referrer(digest, read_manifest(there, answer.headers.get("content-type", "")), tag, {}))
    if any(each.manifest.kind == "index" for each in found):
        raise RegistryError(f"{remote.name}: {what}: an index does, and is not copied; mirror without --with-referrers")
    return found


def too_many(name: str) -> RegistryError:
    """The error for more of them than an image would have."""
    why = f"more than {MOST} manifests, or {MOST_BYTES / 2**20:g} MiB of them, refer to the image"
    return RegistryError(f"{name}: {why}; mirror it without --with-referrers")


def list_of(remote: Remote, digest: str, what: str) -> list[Mapping[str, Any]]:
    """The descriptors of what refers to a manifest; [] where there is nothing."""
    path, found, pages = f"referrers/{digest}", list[Mapping[str, Any]](), 0
    while path and pages < MOST_PAGES:
        answer = remote.ask(path, what, accept=INDEX_TYPES[0])
        there = body_of(remote, answer, what)
        if there is None:
            break
        pages += 1
        found += entries(there)
        path = next_page(answer, digest)
    if pages:
        return found
    there = body_of(remote, remote.ask(f"manifests/{tag_of(digest)}", what, accept=ACCEPT), what)
    return entries(there) if there else []


def body_of(remote: Remote, answer: Answer, what: str) -> bytes | None:
    """The body of an answer; None: it is not there.

    Raises:
        RegistryError: any other answer.
    """
    if answer.status in NOT_THERE:
        return None
    if answer.status != 200:
        raise remote.refused(what, answer)
    return answer.body


def entries(body: bytes) -> list[Mapping[str, Any]]:
    """The manifests that an index lists.

    Raises:
        Unreadable: it is no index.
    """
    try:
        value = read_json(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Unreadable("its list of referrers is no index")
    return [dict(entry) for entry in objects(value, "manifests")]


def next_page(answer: Answer, digest: str) -> str:
    """The next page of a list (RFC 8288), always of the same question."""
    link = re.match(r'<[^>?]*\?([^>]*)>;\s*rel="?next', answer.headers.get("link", ""))
    return f"referrers/{digest}?{link[1]}" if link else ""


def tag_of(digest: str) -> str:
    """The fallback tag of a digest."""
    return digest.replace(":", "-")


def leave_referrers(others: Referrers, target: Target, place: Place, engine: str) -> None:
    """Leave them there, and have the registry list them: where it does not by itself, by the fallback tag.

    Raises:
        RegistryError: the registry refuses one.
    """
    for each in reversed(others.found):
        wanted = each.manifest.digest
        if target.manifest_digest(wanted) != wanted:
            target.push_manifest(each.manifest.body, each.manifest.media_type, wanted)
        if each.tag and target.manifest_digest(each.tag) != wanted:
            target.push_manifest(each.manifest.body, each.manifest.media_type, each.tag)
    subjects: dict[str, dict[str, Mapping[str, Any]]] = {}
    for each in others.found:
        if not each.tag:
            subjects.setdefault(each.subject, {})[each.manifest.digest] = each.entry
    with Remote(place.name, engine) as remote:
        for subject, wanted_entries in subjects.items():
            list_there(remote, target, subject, wanted_entries)


def list_there(remote: Remote, target: Target, subject: str, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Have a place list what refers to a manifest; what it lists already stays."""
    there = {str(entry.get("digest")): entry for entry in list_of(remote, subject, f"what refers to {subject[:19]}…")}
    if wanted.keys() <= there.keys():
        return
    value = {"schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": [*{**there, **wanted}.values()]}
    target.push_manifest(json.dumps(value, separators=(",", ":")).encode(), INDEX_TYPES[0], tag_of(subject))

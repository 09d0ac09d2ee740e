"""A tag becomes a digest: asked of the mirrors and then of the image's own registry, and checked byte by byte."""

from __future__ import annotations

import difflib
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import RegistryError, refuse
from tfslurm.image import Pin, Reference, mirror_names, refuse_moving
from tfslurm.registry.documents import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Facts,
    Manifest,
    Unreadable,
    choose,
    config_digest,
    is_same_machine,
    platforms,
    read_config,
    read_manifest,
    refuse_size,
    sha256_of,
    size_bytes,
    size_in,
)
from tfslurm.registry.errors import Answer
from tfslurm.registry.wire import CONFIG_LIMIT, MANIFEST_LIMIT, Patience, Remote

ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
_TAG_PAGES, _MOST_TAGS = 5, 10_000
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")


def resolve(
    reference: Reference,
    mirrors: Mapping[str, Sequence[str]],
    platform: str,
    now: str,
    *,
    engine: str = "docker",
    patience: Patience | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> Pin:
    """The pin of an image, from the first of its mirrors that has it, else from its own registry.

    The digest is the sha256 of the bytes received, and must be what the registry announces; a digest in ``reference``
    must be met by whoever answers, so a mirror with other bytes is passed over. ``platform`` is os/architecture, with
    a variant where the image has several. ``now`` is RFC 3339 in UTC. ``engine`` is the one whose
    logins come first. ``patience`` is what the places have. ``warn`` gets what kept a stored login from being read,
    where an image came without. No docker daemon takes part.
    Raises RegistryError, one line that says for every place asked why it did not do; InputError for a tag that is
    meant to move.
    Source: OCI distribution specification, "Pulling manifests".
    """
    if why := refuse_moving(reference):
        raise refuse(reference.typed or str(reference), why)
    names, failures = mirror_names(reference.name, mirrors), []
    patience = patience or Patience()
    ends = time.monotonic() + patience.pin_s
    for name in names:
        left = replace(patience, place_s=min(patience.place_s, ends - time.monotonic()))
        try:
            with Remote(name, engine, left) as remote:
                pin = _resolve_at(remote, reference, platform, now)
                if why := remote.login_failure:
                    warn(f"warning: {remote.name} was asked without a login: {why}")
                return pin
        except RegistryError as failure:
            failures.append(failure)
    if len(failures) == 1:
        raise failures[0]
    reasons = " | ".join(str(failure) for failure in failures)
    message = f"{reference}: tried {len(names)} registries; none has it: {reasons}"
    raise RegistryError(message, transient=any(failure.transient for failure in failures))


def _resolve_at(remote: Remote, reference: Reference, platform: str, now: str) -> Pin:
    """The pin from one place."""
    what = f"{reference.digest[:19]}…" if reference.digest else f"tag {reference.tag}"
    try:
        top = manifest_at(remote, reference.digest or reference.tag, what)
        manifest, served = top, ""
        if top.kind == "index":
            served, manifest = manifest_in(remote, top, platform, what)
        config, facts = _config(remote, manifest, what)
        if served and not is_same_machine(served, facts.platform):
            why = f"its index says that it is for {served}, and its config says {facts.platform[:60]}"
            raise Unreadable(f"{why}; do not use it, and tell who pushed it")
        served = served or choose({facts.platform: manifest.digest}, platform)[0]
        size = size_bytes(manifest)
    except Unreadable as why:
        raise RegistryError(f"{remote.name}: {what}: {why}") from None
    return Pin(
        reference=reference.typed or str(reference),
        registry=reference.registry,
        repository=reference.repository,
        tag=reference.tag,
        digest=top.digest,
        digest_kind=top.kind,
        pin_kind="registry",
        platform=served,
        manifest_digest=manifest.digest,
        config_digest=config,
        size_bytes=size,
        media_type=top.media_type,
        created=facts.created,
        served_by=remote.name,
        pinned_at=now,
        entrypoint=facts.entrypoint,
        environment=facts.environment,
    )


def manifest_at(remote: Remote, wanted: str, what: str) -> Manifest:
    """The index or manifest at a tag or digest; its bytes, its header and the digest asked for all agree."""
    answer = remote.ask(f"manifests/{wanted}", what, accept=ACCEPT, limit=MANIFEST_LIMIT)
    if answer.status == 404:
        raise remote.refused(what, answer, _known_tags(remote, wanted))
    if answer.status != 200:
        raise remote.refused(what, answer)
    announced = answer.headers.get("docker-content-digest", "")
    _agree(remote, what, answer.body, announced, "its Docker-Content-Digest header says")
    _agree(remote, what, answer.body, wanted if wanted.startswith("sha256:") else "", "what was asked for is")
    return read_manifest(answer.body, answer.headers.get("content-type", ""))


def manifest_in(remote: Remote, index: Manifest, platform: str, what: str) -> tuple[str, Manifest]:
    """The platform that is meant, as the index names it, and its manifest. Raises Unreadable where there is none."""
    served, digest = choose(platforms(index), platform)
    manifest = manifest_at(remote, digest, f"{what} for {served}")
    if manifest.kind == "index":
        raise Unreadable(f"its {served} is an index again; name the digest of the one that is meant")
    refuse_size(f"its {served}", size_in(index, digest), manifest.body)
    return served, manifest


def _config(remote: Remote, manifest: Manifest, what: str) -> tuple[str, Facts]:
    digest = config_digest(manifest)
    answer = remote.ask(f"blobs/{digest}", f"{what}, its config", limit=CONFIG_LIMIT)
    if answer.status != 200:
        raise remote.refused(f"{what}, its config", answer)
    _agree(remote, f"{what}, its config", answer.body, digest, "its manifest says")
    about = manifest.value["config"]
    refuse_size("its config", about.get("size") if isinstance(about, Mapping) else None, answer.body)
    return digest, read_config(answer.body)


def _agree(remote: Remote, what: str, body: bytes, digest: str, who_says: str) -> None:
    """Compares bytes with a digest; one in another algorithm than sha256 is compared in its own."""
    algorithm = digest.partition(":")[0]
    if not digest:
        return
    found = f"sha512:{hashlib.sha512(body).hexdigest()}" if algorithm == "sha512" else sha256_of(body)
    if found != digest:
        why = f"the bytes received are {found}, {who_says} {digest[:140]}"
        raise RegistryError(f"{remote.name}: {what}: {why}; do not use this source")


def _known_tags(remote: Remote, wanted: str) -> str:
    """The fix for a tag that is not there: the nearest that are, when the registry lists them."""
    if wanted.startswith("sha256:"):
        return "it has no such digest: it was deleted there, or never pushed there"
    tags = _tags(remote)
    near = difflib.get_close_matches(wanted, tags, n=5, cutoff=0.5) or tags[-5:]
    if not near:
        return f"correct the name or the tag{remote.how_to_see_more}"
    return f"the nearest of its {len(tags)} tags: {', '.join(near)}"


def _tags(remote: Remote) -> list[str]:
    """The tags of the repository, at most some thousands; none when the registry does not list them."""
    path, tags = "tags/list?n=1000", list[str]()
    try:
        for _ in range(_TAG_PAGES):
            answer = remote.ask(path, "its tags")
            tags += [str(tag) for tag in read_json(answer.body)["tags"] or []] if answer.status == 200 else []
            path = _next_page(answer)
            if not path:
                break
    except (RegistryError, ValueError, LookupError, TypeError):
        pass
    return [tag for tag in tags[:_MOST_TAGS] if _TAG.fullmatch(tag)]


def _next_page(answer: Answer) -> str:
    """The query of the next page (RFC 8288); the path is always this repository's own."""
    link = re.match(r'<[^>?]*\?([^>]*)>;\s*rel="?next', answer.headers.get("link", ""))
    return f"tags/list?{link[1]}" if link else ""

"""An image that only a docker daemon has: pinned by its id, since no registry holds bytes to compare it with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import requests

from tfslurm.errors import RegistryError
from tfslurm.image import Pin, Reference, check_digest, kept_environment, pin_to_json
from tfslurm.image.pin import pin_mistakes
from tfslurm.registry.documents import CONFIG_TYPES, INDEX_TYPES, MANIFEST_TYPES, Unreadable, platform_name, texts

if TYPE_CHECKING:
    from docker import DockerClient

_TIMEOUT_S = 30


def pin_local_image(reference: Reference, now: str) -> Pin:
    """The pin of an image that was built, imported or loaded on the docker daemon that the docker client would use.

    Such an image runs only where its very bytes were loaded (`docker save`, `docker load`), and ``pin_kind`` says so.
    What its id is a digest of depends on the daemon: the config with a graph driver, the manifest or the index with
    the containerd image store, where the daemon names the kind itself; a daemon that does not is refused rather than
    guessed at. Raises RegistryError: no daemon, no such image, or an id of unknown kind.
    Source: docs.docker.com/reference/api/engine, ImageInspect (``Id``, ``Descriptor``), and engine/storage/containerd.
    """
    attributes, daemon = _inspect(reference)
    kind, media_type = _kind_of_id(attributes, daemon)
    digest = str(attributes["Id"])
    config = attributes.get("Config") or {}
    about = {part.lower(): attributes.get(part) for part in ("Os", "Architecture", "Variant")}
    created = str(attributes.get("Created") or "")
    try:
        entrypoint, variables = texts(config.get("Entrypoint"), "Entrypoint"), texts(config.get("Env"), "Env")
    except Unreadable as why:
        raise RegistryError(f"{reference}: {why}") from None
    pin = Pin(
        reference=reference.typed or str(reference),
        registry=reference.registry,
        repository=reference.repository,
        tag=reference.tag,
        digest=digest,
        digest_kind=kind,
        pin_kind="image-id",
        platform=platform_name(about),
        manifest_digest=digest if kind == "manifest" else "",
        config_digest=digest if kind == "config" else "",
        size_bytes=int(attributes.get("Size") or 0),
        media_type=media_type,
        created=created if len(created) < 100 and created.isascii() else "",
        served_by=f"docker daemon {daemon['Name']}",
        pinned_at=now,
        entrypoint=entrypoint,
        environment=kept_environment(variables),
    )
    for mistake in pin_mistakes(pin_to_json(pin)):
        raise RegistryError(f"{reference}: its {mistake.field} cannot be pinned: {mistake.why[:200]}; build it again")
    return pin


def _inspect(reference: Reference) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """``docker image inspect`` of the image, and ``docker info`` of the daemon that has it."""
    import docker
    from docker.errors import APIError, DockerException, ImageNotFound

    client: DockerClient | None = None
    try:
        client = docker.from_env(timeout=_TIMEOUT_S)
        return client.images.get(str(reference)).attrs, client.info()
    except ImageNotFound:
        why = "the docker daemon has no such image"
        raise RegistryError(
            f"{reference}: {why}; build or load it, or list what there is with `docker images`"
        ) from None
    except APIError as error:
        raise RegistryError(
            f"{reference}: the docker daemon says: {_line(error.explanation or error)}; try again"
        ) from None
    except (DockerException, requests.RequestException, OSError, ValueError) as error:
        fix = "start it, or name it in DOCKER_HOST; or push the image to a registry and pin it there"
        raise RegistryError(f"{reference}: no docker daemon answers ({_line(error)}); {fix}", transient=True) from None
    finally:
        if client is not None:
            client.close()


def _kind_of_id(attributes: Mapping[str, Any], daemon: Mapping[str, Any]) -> tuple[str, str]:
    """The kind of document that the image's id is a digest of, and its media type."""
    name = str((attributes.get("RepoTags") or [attributes.get("Id")])[0])
    if why := check_digest(str(attributes.get("Id"))):
        raise RegistryError(f"{name}: the docker daemon gave an id that is no digest: {why}; update docker")
    media_type = str((attributes.get("Descriptor") or {}).get("mediaType") or "")
    if media_type:
        kinds = {**dict.fromkeys(INDEX_TYPES, "index"), **dict.fromkeys(MANIFEST_TYPES, "manifest")}
        if media_type in kinds:
            return kinds[media_type], media_type
    elif not any("io.containerd.snapshotter" in str(value) for _, value in daemon.get("DriverStatus") or ()):
        return "config", CONFIG_TYPES[1]
    why = "this docker daemon uses the containerd image store and does not say what its image ids are digests of"
    raise RegistryError(
        f"{name}: {why}; update docker to 28 or later, or push the image to a registry and pin it there"
    )


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200]

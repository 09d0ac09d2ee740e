"""What a registry tells of an image without a pull, beside what our records say of its inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from tfslurm.errors import InputError, TfslurmError, refuse
from tfslurm.image.pin import sounds_secret
from tfslurm.images.known import known_of
from tfslurm.images.named import NamedImage
from tfslurm.record import Record, record_from_json
from tfslurm.registry.documents import Details, platforms, read_details
from tfslurm.registry.image_source import Contents, ImageSource
from tfslurm.tracker import Tracker
from tfslurm.tracker.by_content import jobs_of_plans, plans_with
from tfslurm.workspace.clock import now

NOT_SHOWN = "(not shown: its name sounds like a secret)"
MOST_JOBS = 20
"Of those that ran the image, the newest whose records are looked at."


class Layer(NamedTuple):
    """One layer, as it travels; ``command`` made it; '': the image does not say."""

    digest: str
    bytes: int
    command: str


class Inspection(NamedTuple):
    """What is known of an image; each text is '' and each list empty where the image does not say it.

    ``bytes``: of config and layers, as they travel. ``platforms``: os/architecture -> digest, of an index alone.
    ``known``: what speaks against it. ``inside``: what a record of a job says that it holds, with the job's name.
    """

    image: str
    reference: str
    digest: str
    digest_kind: str
    served_by: str
    platform: str
    manifest_digest: str
    config_digest: str
    bytes: int
    platforms: Mapping[str, str]
    details: Details
    layers: tuple[Layer, ...]
    known: tuple[str, ...]
    inside: Mapping[str, Any]


def inspect_image(tracker: Tracker, named: NamedImage) -> Inspection:
    """What the first place that has the image says of it; nothing is pulled but its documents.

    Raises:
        InputError: the image is in no registry.
        RegistryError: no place serves it, or other bytes than its digest names.
    """
    pin = named.pin
    if pin.pin_kind == "image-id":
        why = f"is pinned by the id {pin.digest[:19]}… of one docker daemon, and no registry has it"
        raise refuse(pin.reference, why, f"`docker image inspect {pin.digest}` there")
    with ImageSource(pin, named.mirrors, named.engine) as source:
        contents = source.contents()
        details = read_details(source.config(contents), len(contents.blobs) - 1)
    top = contents.documents[0]
    inside = inside_of(tracker, pin.digest)
    return Inspection(
        image=f"{pin.name}@{top.digest}",
        reference=pin.reference,
        digest=top.digest,
        digest_kind=top.kind,
        served_by=contents.served_by,
        platform=contents.platform,
        manifest_digest=contents.manifest.digest,
        config_digest=contents.blobs[0].digest,
        bytes=sum(blob.size for blob in contents.blobs),
        platforms=platforms(top) if top.kind == "index" else {},
        details=shown(details),
        layers=layers_of(contents, details),
        known=tuple(known_of(pin, details, tracker.image(pin.digest), now()[:7])),
        inside=inside,
    )


def layers_of(contents: Contents, details: Details) -> tuple[Layer, ...]:
    """The layers, from the lowest, each with the command that made it where the history says so."""
    blobs = contents.blobs[1:]
    steps = details.steps or ("",) * len(blobs)
    return tuple(Layer(blob.digest, blob.size, step) for blob, step in zip(blobs, steps, strict=True))


def shown(details: Details) -> Details:
    """The same without the values of variables that may be secrets."""
    environment = {name: NOT_SHOWN if sounds_secret(name) else text for name, text in details.environment.items()}
    return replace(details, environment=environment)


def inside_of(tracker: Tracker, digest: str) -> dict[str, Any]:
    """What the newest record with it says of the software in the image, and ``job``, its name; {}: no record does."""
    plan_ids = [plan_id for found in plans_with(tracker, digest).values() for plan_id in found]
    for job in reversed(jobs_of_plans(tracker, plan_ids)[-MOST_JOBS:]):
        try:
            record = record_of(tracker.record(job))
        except TfslurmError:
            continue
        if record and record.environment.python:
            found = record.environment
            packages = {each.name: each.version for each in found.packages or ()}
            names = ("python", "tensorflow", "cuda", "cudnn", "cuda_present", "cudnn_present", "os", "glibc")
            return {"job": job.key, **{name: getattr(found, name) for name in names}, "packages": packages}
    return {}


def record_of(values: Mapping[str, Any] | None) -> Record | None:
    """The record that these values are; None where they are none."""
    try:
        return record_from_json(values) if values else None
    except (ValueError, InputError):
        return None

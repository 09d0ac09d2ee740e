"""The software inside the image, as a probe in a container of it found it, and what the experiment adds. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tfslurm.job_plan import JobPlan
from tfslurm.record import facts
from tfslurm.record.folder import Folder
from tfslurm.record.model import Environment, Layer, Package
from tfslurm.record.verified import Observed

MOST_ERRORS = 50  # of the probe by an image's own Python
LATER = ("cuda_present", "cudnn_present")  # what the first probes did not look for
LAYER_FILE = "packages.json"
LAYER_SCHEMA = "tfslurm.packages/1"
LAYER_SOURCE = "the installer's list and the sums of the files on the node, compared before the program started"
MOST_PACKAGES = 4000
TEXTS = ("python", "tensorflow", "cuda", "cudnn", "os", "glibc", "source", *LATER)


def read_environment(root: Folder, digest: str, image_facts: bytes | None) -> Environment:
    """The versions and packages that the probe found in the image."""
    name = f"images/{digest.removeprefix('sha256:')}.json"
    files = Folder({name: image_facts} if image_facts is not None else {}, "", "", root.unknown)
    found = files.fact("environment", name, facts.parse_object) or {}
    errors = found.get("errors")
    for error in errors[:MOST_ERRORS] if isinstance(errors, list) else ():
        key, _, why = str(error)[:400].partition(": ")
        known = key in Environment.__dataclass_fields__
        files.note(f"environment.{key}" if known else "environment", why if known else str(error).strip(" :"))
    packages = found.get("packages")
    texts: dict[str, Any] = {key: None if found.get(key) is None else str(found[key]) for key in TEXTS}
    whole = isinstance(packages, list) and all(isinstance(entry, dict) for entry in packages)
    listed = (Package(str(entry.get("name")), str(entry.get("version"))) for entry in packages or ()) if whole else None
    for key in LATER if found.get("python") else ():
        if key not in found:
            files.note(f"environment.{key}", "an older tfslurm looked into the image, and not for this")
    return Environment(**texts, packages=None if listed is None else tuple(listed))


def with_layer(environment: Environment, plan: JobPlan, observed: Sequence[Observed], root: Folder) -> Environment:
    """The same with the layer of packages that the plan adds, as the last attempt's tasks found it on their nodes."""
    if plan.packages is None:
        return environment
    key, last = plan.packages.key, [one.files for one in observed if one.attempt == observed[-1].attempt]
    files = next((each for each in last if each.raw(LAYER_FILE) is not None), None)
    found = files.at("environment").fact("layer", LAYER_FILE, layer_of) if files else None
    if files is None:
        root.note("environment.layer", "no task of the last attempt came so far that it had the packages")
    elif found is not None and found["key"] != key:
        root.note("environment.layer", f"the layer on the node was {found['key'][:80]}")
        found = None
    if found is None:
        root.note("environment.layer_packages", root.why("environment.layer"))
        return replace(environment, layer=Layer(key))
    installed = found["installed"]
    layer = Layer(
        key,
        contents_sha256=found["contents_sha256"],
        files=found["files"],
        bytes=found["bytes"],
        python=text_of(installed.get("python")),
        pip=text_of(installed.get("pip")),
        installed_at=text_of(found["installed_at"]),
        installed_by=text_of(found["installed_by"]),
        source=LAYER_SOURCE,
    )
    return replace(environment, layer=layer, layer_packages=packages_of(installed, root))


def layer_of(raw: bytes) -> Mapping[str, Any]:
    """What a node wrote about the layer that it had installed."""
    found = facts.parse_object(raw)
    if found["schema"] != LAYER_SCHEMA or not re.fullmatch("[0-9a-f]{64}", found["contents_sha256"]):
        raise ValueError("it is no layer")
    if type(found["files"]) is not int or type(found["bytes"]) is not int or not isinstance(found["installed"], dict):
        raise ValueError("it is no layer")
    return {**found, "key": str(found["key"])}


def packages_of(installed: Mapping[str, Any], root: Folder) -> tuple[Package, ...] | None:
    """The packages in the layer, by their own metadata."""
    listed = installed.get("packages")
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        root.note("environment.layer_packages", "the installer did not list them")
        return None
    named = (Package(str(each.get("name"))[:200], str(each.get("version"))[:200]) for each in listed[:MOST_PACKAGES])
    return tuple(named)


def text_of(value: object) -> str | None:
    """A short text; None for what is none."""
    return value[:200] if isinstance(value, str) and value else None

"""The software inside the image, as a probe in a container of it found it. Pure."""

from __future__ import annotations

from tfslurm.record import facts
from tfslurm.record.folder import Folder
from tfslurm.record.model import Environment, Package

MOST_ERRORS = 50  # of the probe by an image's own Python
LATER = ("cuda_present", "cudnn_present")  # what the first probes did not look for
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
    texts = {key: None if found.get(key) is None else str(found[key]) for key in TEXTS}
    whole = isinstance(packages, list) and all(isinstance(entry, dict) for entry in packages)
    listed = (Package(str(entry.get("name")), str(entry.get("version"))) for entry in packages or ()) if whole else None
    for key in LATER if found.get("python") else ():
        if key not in found:
            files.note(f"environment.{key}", "an older tfslurm looked into the image, and not for this")
    return Environment(**texts, packages=None if listed is None else tuple(listed))

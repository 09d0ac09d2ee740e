"""EXP.lock.yaml: the file that is committed beside an experiment, so that its tag means the same bytes for ever."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from tfslurm.document import Document, dump, read
from tfslurm.errors import InputError, Problem
from tfslurm.image.pin import Pin, pin_from_json, pin_mistakes, pin_to_json
from tfslurm.image.reference import parse_reference

if TYPE_CHECKING:
    from tfslurm.image.build_lock import BuildLock
    from tfslurm.image.packages import PackageLock

LOCK_SCHEMA = "tfslurm.lock/1"


class Lock(NamedTuple):
    """What a lock file holds; ``packages`` is None where the experiment added none when it was written."""

    image: Pin
    packages: PackageLock | None = None
    build: BuildLock | None = None


def lock_text(pin: Pin, packages: PackageLock | None = None, build: BuildLock | None = None) -> str:
    """The text of EXP.lock.yaml: ``schema``, ``image`` with exactly the fields of the pin, ``build`` and ``packages``
    if any."""
    from tfslurm.image.build_lock import build_to_json
    from tfslurm.image.packages import packages_to_json

    made = {"build": build_to_json(build)} if build else {}
    layer = {"packages": packages_to_json(packages)} if packages else {}
    return dump({"schema": LOCK_SCHEMA, "image": pin_to_json(pin), **made, **layer})


def parse_lock(text: str, file: str, image: str = "") -> Pin:
    """The pin that a lock file holds; as ``read_lock``."""
    return read_lock(text, file, image).image


def read_lock(text: str, file: str, image: str = "") -> Lock:
    """What a lock file holds.

    ``image`` is what the experiment names now; when given, it must be what was pinned. Raises InputError with every
    problem and its line: unknown schema, absent or unknown fields, malformed digests, fields that contradict others.
    """
    experiment = shlex.quote(file.removesuffix(".lock.yaml") + ".yaml")
    was_built = re.search(r"^build\s*:", text, re.MULTILINE)  # also where the text is no YAML
    command = f"tfslurm image build {experiment}" if was_built else f"tfslurm pin {experiment} --update"
    again = f"`{command}` writes this file again"
    try:
        document = read(text, file)
    except InputError as error:
        raise InputError([problem._replace(fix=again) for problem in error.problems]) from error
    problems = [problem._replace(fix=problem.fix or again) for problem in _problems(document, image)]
    if problems:
        raise InputError(problems)
    layer, made = document.value.get("packages"), document.value.get("build")
    return Lock(
        pin_from_json(document.value["image"]),
        _packages_of(layer) if layer is not None else None,
        _build_of(made) if made is not None else None,
    )


def _packages_of(value: Any) -> PackageLock:
    from tfslurm.image.packages import packages_from_json

    return packages_from_json(value)


def _build_of(value: object) -> BuildLock:
    from tfslurm.image.build_lock import build_from_json

    return build_from_json(value)


def _problems(document: Document, image: str) -> Iterator[Problem]:
    value, file = document.value, document.file
    if not isinstance(value, dict):
        yield Problem(file, 1, "", "a lock file is a mapping with `schema` and `image`")
        return
    if value.get("schema") != LOCK_SCHEMA:
        line = document.line(("schema",)) if "schema" in value else 1
        why = f"{value.get('schema')!r} is not a schema that this version reads ({LOCK_SCHEMA})"
        yield Problem(file, line, "schema", why)
        return
    for key in value:
        if key not in ("schema", "image", "build", "packages"):
            yield Problem(file, document.line((key,)), str(key), "is not a key of a lock file")
    if "image" not in value:
        yield Problem(file, 1, "image", "is missing")
        return
    yield from _image_problems(document, value["image"], image)
    if "packages" in value:
        yield from _package_problems(document, value["packages"])
    if "build" in value:
        yield from _build_problems(document, value)


def _image_problems(document: Document, pinned: object, image: str) -> Iterator[Problem]:
    mistakes = pin_mistakes(pinned)
    for mistake in mistakes:
        there = isinstance(pinned, dict) and mistake.field in pinned
        line = document.line(("image", mistake.field) if there else ("image",))
        yield Problem(document.file, line, f"image.{mistake.field}".rstrip("."), mistake.why, mistake.fix)
    if mistakes or not image or not isinstance(pinned, dict):
        return
    if parse_reference(str(pinned["reference"])) != parse_reference(image):
        line = document.line(("image", "reference"))
        why = f"{pinned['reference']!r} was pinned, but the experiment names {image!r}"
        yield Problem(document.file, line, "image.reference", why)


def _package_problems(document: Document, packages: object) -> Iterator[Problem]:
    from tfslurm.image.packages import package_mistakes

    for mistake in package_mistakes(packages):
        found = re.match(r"wheels\[([0-9]+)\]\.?(.*)", mistake.field)
        path = ("packages", "wheels", int(found[1]), found[2]) if found else ("packages", mistake.field)
        line = document.line(tuple(part for part in path if part != ""))
        yield Problem(document.file, line, f"packages.{mistake.field}".rstrip("."), mistake.why, mistake.fix)


def _build_problems(document: Document, value: dict[object, object]) -> Iterator[Problem]:
    line = document.line(("build",))
    try:
        digest = _build_of(value["build"]).digest
    except ValueError as wrong:
        yield Problem(document.file, line, "build", str(wrong))
        return
    pinned = value["image"]
    if isinstance(pinned, dict) and pinned.get("digest") != digest:
        yield Problem(document.file, line, "build.digest", "is not the digest of the pinned image")

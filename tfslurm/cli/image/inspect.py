"""tfslurm image inspect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tfslurm.cli.console import emit, show, table
from tfslurm.cli.image.cells import LONGEST, SHORT, cut, jsonable
from tfslurm.cli.options import common
from tfslurm.document.sizes import size_text
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.images.inspect import Inspection


@click.command()
@click.argument("name", metavar="JOB|RECORD|CRATE|IMAGE|EXP.yaml")
@common
def inspect(session: Session, name: str, as_json: bool) -> None:
    """Show what a registry tells of an image, without a pull.

    That is its digests, platforms, the size to pull, layers with the commands that made them, variables and labels.
    If a job of yours ran it, its Python, TensorFlow, CUDA and packages are shown as they were observed there. What is
    known to be wrong with the image stands first.
    """
    from tfslurm.images.inspect import inspect_image
    from tfslurm.images.named import image_named

    found = inspect_image(session.tracker, image_named(session, name))
    if as_json:
        emit(as_value(found))
        return
    for head, text in lines_of(found):
        show(f"{head:<12}{text}".rstrip())
    show("")
    table(
        ["layer", "size", "made by"],
        [[layer.digest[:SHORT], size_text(layer.bytes), cut(layer.command, LONGEST)] for layer in found.layers],
    )


def as_value(found: Inspection) -> dict[str, Any]:
    """An inspection as JSON values: the details stand beside the rest."""
    value = {**jsonable(found), **asdict(found.details)}
    del value["details"]
    return {key: item for key, item in value.items() if key != "steps"}  # they stand at the layers


def lines_of(found: Inspection) -> Iterator[tuple[str, str]]:
    """An inspection as a person reads it: each line a word and a text; what speaks against the image first."""
    for said in found.known:
        yield "warning", said
    yield "image", found.image
    if found.reference != found.image:
        yield "named", f"{found.reference} (served by {found.served_by})"
    yield "platform", f"{found.platform}, manifest {found.manifest_digest}"
    others = [name for name in found.platforms if name != found.platform]
    if others:
        yield "also for", ", ".join(others)
    yield "to pull", f"{size_text(found.bytes)} in {len(found.layers)} layer{'' if len(found.layers) == 1 else 's'}"
    details = found.details
    for head, value in (("created", details.created), ("user", details.user), ("works in", details.working_dir)):
        if value:
            yield head, value
    for head, words in (("entrypoint", details.entrypoint), ("command", details.command), ("ports", details.ports)):
        if words:
            yield head, " ".join(words)
    for head, values in (("variable", details.environment), ("label", details.labels)):
        for key, value in values.items():
            yield head, cut(f"{key}={value}", LONGEST)
    yield from inside_lines(found)


def inside_lines(found: Inspection) -> Iterator[tuple[str, str]]:
    """The software inside, as a job's record has it."""
    if not found.inside:
        yield "inside", "not known: no record here says what a job found in it"
        return
    versions = {key: value for key, value in found.inside.items() if value and key not in ("job", "packages")}
    yield "inside", f"{', '.join(f'{key} {value}' for key, value in versions.items())} (seen by {found.inside['job']})"
    if packages := found.inside["packages"]:
        yield "", f"{len(packages)} packages: {', '.join(f'{name} {version}' for name, version in packages.items())}"

"""tfslurm image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfslurm.cli.console import common, emit, progress_bar, say, show, table
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.images.compare import ImageDiff
    from tfslurm.images.inspect import Inspection, Layer

SHORT = 19
"Characters of a digest that tell it from others in a table."
WIDEST = 60
"Characters of a cell."
LONGEST = 160
"Characters of a line about a variable, a label or a layer."
MOST_PACKAGES = 40


@click.group()
def image() -> None:
    """Look at the images of your experiments, and keep them."""


@image.command()
@click.argument("name", metavar="JOB|RECORD|CRATE|IMAGE")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The archive, such as IMAGE.tar.")
@common
def save(session: Session, name: str, output: Path, as_json: bool) -> None:
    """Save an image as an OCI archive, so that it outlives its registry.

    For a JOB or a sweep, it is the image that was pinned for it; for a RECORD or a CRATE, the one that ran. The archive
    holds the very bytes that the digest names: save hashes each of them. It asks the mirrors of the cluster first, with
    the logins that `pin` uses, and needs no docker. `podman load` and `docker load` read the archive. If it is
    interrupted, the same command continues.
    """
    from tfslurm.images import save_image
    from tfslurm.images.named import image_named

    found = image_named(session, name)
    try:
        with progress_bar() as step:
            saved = save_image(found.pin, found.mirrors, output, engine=found.engine, step=step)
    except KeyboardInterrupt:
        if Path(f"{output}.part").exists():
            say("", f"{output}.part is kept; the same command continues it")
        raise
    if as_json:
        emit({**saved._asdict(), "file": str(saved.file)})
        return
    kind = "" if saved.digest_kind == "manifest" else f" (an index; of it {saved.platform}, {saved.manifest_digest})"
    origin = "was there already" if saved.was_there else f"{saved.bytes / 2**20:.1f} MiB from {saved.served_by}"
    show(f"{saved.file}: {saved.image}{kind}: {origin}, every digest verified")


@image.command()
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
        ["layer", "MiB", "made by"],
        [[layer.digest[:SHORT], mib(layer.bytes), cut(layer.command, LONGEST)] for layer in found.layers],
    )


@image.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@common
def diff(session: Session, a: str, b: str, as_json: bool) -> int:
    """Compare two images: layers, settings, and the packages that records of your jobs know.

    A and B are images, jobs, records, crates or experiments' files. Exit codes: 0 it is one image, 1 they differ.
    """
    from tfslurm.images.compare import compare_images
    from tfslurm.images.inspect import inspect_image
    from tfslurm.images.named import image_named

    one, other = (inspect_image(session.tracker, image_named(session, each)) for each in (a, b))
    found = compare_images(one, other)
    if as_json:
        emit({"a": one.image, "b": other.image, **jsonable(found)})
    else:
        show_diff(one, other, found)
    return 0 if found.is_same else 1


def as_value(found: Inspection) -> dict[str, Any]:
    """An inspection as JSON values: the details stand beside the rest."""
    value = {**jsonable(found), **asdict(found.details)}
    del value["details"]
    return {key: item for key, item in value.items() if key != "steps"}  # they stand at the layers


def jsonable(found: Inspection | ImageDiff) -> dict[str, Any]:
    """The fields, each list of named values as objects."""
    return {
        name: [each._asdict() if hasattr(each, "_asdict") else each for each in value]
        if isinstance(value, tuple)
        else value
        for name, value in found._asdict().items()
    }


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
    yield "to pull", f"{mib(found.bytes)} MiB in {len(found.layers)} layer{'' if len(found.layers) == 1 else 's'}"
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


def show_diff(one: Inspection, other: Inspection, found: ImageDiff) -> None:
    """The difference of two images for a reader."""
    show(f"A: {one.image}, {mib(one.bytes)} MiB")
    show(f"B: {other.image}, {mib(other.bytes)} MiB")
    if found.is_same:
        show("the same image")
        return
    show(f"{len(found.common)} layers in common ({mib(sum(layer.bytes for layer in found.common))} MiB)")
    rows = [[side, *row_of(layer)]
            for side, layers in (("A", found.only_a), ("B", found.only_b)) for layer in layers]  # fmt: skip
    if rows:
        show("")
        table(["only in", "layer", "MiB", "made by"], rows)
    if found.settings:
        show("")
        table(["what differs", "A", "B"], [[change.what, cut(change.a), cut(change.b)] for change in found.settings])
    show("")
    if found.packages is None:
        show("packages: not known, because no record here is of a job that ran both")
    elif found.packages:
        table(["package", "A", "B"], [list(change) for change in found.packages[:MOST_PACKAGES]])
        if len(found.packages) > MOST_PACKAGES:
            show(f"and {len(found.packages) - MOST_PACKAGES} more packages, in --json")
    else:
        show("packages: the same")


def row_of(layer: Layer) -> list[str]:
    """The cells of a layer."""
    return [layer.digest[:SHORT], mib(layer.bytes), cut(layer.command)]


def cut(text: str, most: int = WIDEST) -> str:
    """A text that fits, in one line; --json has the whole."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def mib(size: int) -> str:
    """Bytes as MiB for a table."""
    return f"{size / 2**20:.1f}"

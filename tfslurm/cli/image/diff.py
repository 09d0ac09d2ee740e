"""tfslurm image diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tfslurm.cli.console import emit, show, table
from tfslurm.cli.image.cells import SHORT, cut, jsonable
from tfslurm.cli.options import common
from tfslurm.document.sizes import size_text
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.images.compare import ImageDiff
    from tfslurm.images.inspect import Inspection, Layer

MOST_PACKAGES = 40


@click.command()
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


def show_diff(one: Inspection, other: Inspection, found: ImageDiff) -> None:
    """The difference of two images for a reader."""
    show(f"A: {one.image}, {size_text(one.bytes)}")
    show(f"B: {other.image}, {size_text(other.bytes)}")
    if found.is_same:
        show("the same image")
        return
    show(f"{len(found.common)} layers in common ({size_text(sum(layer.bytes for layer in found.common))})")
    rows = [[side, *row_of(layer)]
            for side, layers in (("A", found.only_a), ("B", found.only_b)) for layer in layers]  # fmt: skip
    if rows:
        show("")
        table(["only in", "layer", "size", "made by"], rows)
    if found.settings:
        show("")
        table(
            ["what differs", "A", "B"],
            [[change.what, cut(change.a) or "none", cut(change.b) or "none"] for change in found.settings],
        )
    show("")
    if found.packages is None:
        show(f"packages: not known: no job of yours ran {unseen(one, other)}")
    elif found.packages:
        table(["package", "A", "B"], [list(change) for change in found.packages[:MOST_PACKAGES]])
        if len(found.packages) > MOST_PACKAGES:
            show(f"and {len(found.packages) - MOST_PACKAGES} more packages, in --json")
    else:
        show("packages: the same")


def unseen(one: Inspection, other: Inspection) -> str:
    """Which of two images no job ran whose record is here."""
    return " and ".join(side for side, each in (("A", one), ("B", other)) if not each.inside.get("packages"))


def row_of(layer: Layer) -> list[str]:
    """The cells of a layer."""
    return [layer.digest[:SHORT], size_text(layer.bytes), cut(layer.command)]

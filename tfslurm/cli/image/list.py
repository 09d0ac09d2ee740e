"""tfslurm image list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tfslurm.cli.console import emit, say, show, table
from tfslurm.cli.image.cells import SHORT
from tfslurm.cli.options import common
from tfslurm.document.sizes import size_text
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.images.listing import Archive, Images, ListedImage


@click.command("list")
@click.option("--check", is_flag=True, help="Ask registries whether they serve each image; one HEAD each, no pull.")
@common
def list_command(session: Session, check: bool, as_json: bool) -> None:
    """List the images of your jobs: digests, tags, jobs, sizes, and where each is known to be.

    Your clusters are asked what lies in ROOT/images: facts of images, and archives that jobs loaded. An image of which
    a cluster has facts, but which no job of yours used, stands last, with 0 jobs. Nothing is removed.
    """
    from tfslurm.images.listing import list_images

    found = list_images(session, check=check)
    for name, why in found.silent.items():
        say(f"{name}: its images are not known: {why.removeprefix(f'{name}: ')}")
    if as_json:
        emit(as_value(found))
    else:
        show_images(found, check=check)


def as_value(found: Images) -> dict[str, Any]:
    """The list as JSON values."""
    images = [
        {**each._asdict(), "served": each.served._asdict() if each.served else None, "used": each.jobs > 0}
        for each in found.images
    ]
    return {
        "images": images,
        "archives": [each._asdict() for each in found.archives],
        "unknown": dict(found.silent),
    }


def show_images(found: Images, *, check: bool) -> None:
    """The list for a reader."""
    from tfslurm.workspace.clock import local_time

    if not found.images:
        show("no image: no job was submitted from here, and no cluster knows one")
    else:
        rows = [
            [
                each.digest[:SHORT],
                size_text(each.bytes) if each.bytes else "-",
                str(each.jobs),
                local_time(each.newest_at) if each.newest_at else "-",
                ", ".join(dict.fromkeys((*each.ran_on, *each.seen_on))) or "-",
                *([registry(each)] if check else []),
                ", ".join(each.names) or "no job of yours used it",
            ]
            for each in found.images
        ]
        head = ["digest", "size", "jobs", "newest", "clusters", *(["registry"] if check else []), "image"]
        table(head, rows, drops=("size", "newest"))
    for archive in found.archives:
        show(archive_line(archive))


def registry(image: ListedImage) -> str:
    """Who serves it, in a cell."""
    found = image.served
    if found is None:
        return "not asked"
    if found.place:
        return found.place.partition("/")[0]
    return "GONE" if found.is_gone else "unknown"


def archive_line(archive: Archive) -> str:
    """One archive, who needs it, and how to remove it."""
    of = f" of {archive.digest[:SHORT]}" if archive.digest else ""
    line = f"archive on {archive.cluster}{of}, {size_text(archive.bytes)}: {archive.path}"
    if archive.needed_by:
        return f"{line}: {archive.needed_by} of your jobs there have not ended, and load it"
    return f"{line}: no unfinished job of this tracker needs it; to remove it: rm {archive.path}"

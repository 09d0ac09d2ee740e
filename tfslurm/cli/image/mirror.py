"""tfslurm image mirror."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from tfslurm.cli.console import emit, progress_bar, say, show
from tfslurm.cli.options import common
from tfslurm.document.sizes import size_text
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.images.mirror import Mirrored


@click.command()
@click.argument("name", metavar="IMAGE|EXP.yaml|JOB|SWEEP|RECORD|CRATE")
@click.option(
    "--to",
    "target",
    metavar="REGISTRY[/PREFIX]",
    help="The registry, and a path in it. Default: the clusters' registry.",
)
@click.option("--flat", is_flag=True, help="Keep only the last part of the image's name below PREFIX.")
@click.option(
    "--platform", "platforms", multiple=True, metavar="OS/ARCH", help="Of an index, only this one; can be repeated."
)
@click.option("--tag", default="", metavar="TAG", help="The tag there; one that stands for another image is moved.")
@click.option("--with-referrers", is_flag=True, help="Copy attestations and signatures of the image, too.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@common
def mirror(
    session: Session, name: str, target: str | None, flat: bool, platforms: tuple[str, ...], tag: str,
    with_referrers: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Copy an image into another registry, where jobs find it by its digest.

    The bytes go from registry to registry, without docker, and nothing is sent that is there. Of an index, all
    platforms are copied. In the end the mirror is asked for every manifest and every layer, and the line to write into
    the cluster file is printed. If it is interrupted, the same command continues.
    """
    from tfslurm.images.mirror import Wanted, mirror_image
    from tfslurm.images.mirror_names import lines_for, place_of, registry_of
    from tfslurm.images.named import image_named
    from tfslurm.workspace.config import known_clusters

    clusters = [known.cluster for known in known_clusters()]
    target = registry_of(clusters) if target is None else target
    found = image_named(session, name)
    place = place_of(found.pin, target, flat=flat)
    lines = lines_for(found.pin, place, clusters)
    wanted = Wanted(platforms, tag, with_referrers, dry_run)
    with progress_bar() as step:
        done = mirror_image(found, place, wanted, tell=say, step=step)
    if as_json:
        emit(as_value(done, lines))
        return
    for line in (*lines_of(done), *hints(done, lines)):
        show(line)


def as_value(done: Mirrored, lines: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The result as JSON values; ``mirrors``: a line of a cluster file, '' where it needs none, and the clusters."""
    return {
        **done._asdict(),
        "blobs": [blob._asdict() for blob in done.blobs],
        "elsewhere": [part._asdict() for part in done.elsewhere],
        "bytes_sent": done.bytes_sent,
        "mirrors": [{"write": line, "clusters": list(names)} for line, names in lines.items()],
    }


def lines_of(done: Mirrored) -> Iterator[str]:
    """What was done, for a reader."""
    counts = {how: sum(blob.how == how for blob in done.blobs) for how in ("sent", "mounted", "there", "lacking")}
    words = {
        "sent": "sent", "mounted": "taken over from other repositories there", "there": "there already",
        "lacking": "to be sent",
    }  # fmt: skip
    said = [f"{count} {words[how]} ({size_text(done.bytes_of(how))})" for how, count in counts.items() if count]
    whole = "" if done.dry_run else "; it serves every digest"
    yield f"{done.target}@{done.digest}: blobs: {', '.join(said)}{whole}"
    if done.referrers:
        yield f"attestations and signatures: {len(done.referrers)}"
    if done.tag:
        yield f"tag {done.tag} stands for it there"
    if done.tag_kept:
        yield f"the tag there stands for {done.tag_kept}, and stays; --tag moves it"


def hints(done: Mirrored, lines: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """What to write where, so that jobs find it."""
    for line, names in lines.items():
        files = ", ".join(f"{name}.yaml" for name in names) or "the cluster file"
        yield f"write in {files}: {line}" if line else f"the mirrors in {files} name it already"

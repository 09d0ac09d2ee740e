"""tfslurm image save."""

from __future__ import annotations

from pathlib import Path

import click

from tfslurm.cli.console import emit, progress_bar, say, show
from tfslurm.cli.options import common
from tfslurm.document.sizes import size_text
from tfslurm.workspace.session import Session


@click.command()
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
    origin = "was there already" if saved.was_there else f"{size_text(saved.bytes)} from {saved.served_by}"
    show(f"{saved.file}: {saved.image}{kind}: {origin}, every digest verified")

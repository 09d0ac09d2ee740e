"""tfslurm image build."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfslurm.cli.console import emit, progress_bar, show
from tfslurm.cli.options import common, experiment_file
from tfslurm.document.sizes import size_text
from tfslurm.workspace.session import Session

if TYPE_CHECKING:
    from tfslurm.images.building.run import Outcome

MOST_LINES = 30


@click.command()
@experiment_file
@click.option("--check", is_flag=True, help="Say what has changed since it was built, and touch nothing.")
@click.option("--update", is_flag=True, help="Resolve the base and the packages anew, and pin what comes out.")
@click.option("--cluster", default="", metavar="NAME", help="Push to the registry that this cluster's file names.")
@click.option(
    "--builder",
    type=click.Choice(["docker", "podman", "buildah", "node"]),
    default=None,
    help="Build with this program of this machine, or on a node of the cluster. Default: what answers here.",
)
@common
def build(
    session: Session, experiment: Path, check: bool, update: bool, cluster: str, builder: str | None, as_json: bool
) -> int:
    """Build the image that `build` in EXP.yaml describes, push it, and pin it in EXP.lock.yaml.

    The base and every package are pinned by hashes first. The registry that the cluster's file names gets the image,
    and what it serves is compared before the lock is written. Where nothing has changed since the last build, the image
    is built again and compared: exit code 0 says that it came out equal, 1 that it did not, and in what.
    """
    from tfslurm.images.building.run import Wish, build_image, news
    from tfslurm.submission.prepare import read_experiment

    asked = read_experiment(experiment, sweeps=True)
    wish = Wish(cluster, builder or "", update)
    if check:
        found = news(session, asked, wish)
        if as_json:
            emit({"changed": found})
        else:
            show(news_text(experiment, found))
        return 1 if found else 0
    with progress_bar() as step:
        made = build_image(session, asked, wish, step)
    if as_json:
        emit(as_value(made))
    else:
        show("\n".join(lines_of(made)))
    return 0 if made.is_pinned else 1


def news_text(file: Path, found: list[str]) -> str:
    """The answer of --check for a reader: one line each, and what to do."""
    from tfslurm.images.building.run import NEVER_BUILT

    if not found:
        return "nothing has changed since the image was built"
    if found == [NEVER_BUILT]:
        return f"{NEVER_BUILT}; run `tfslurm image build {file}`"
    head = "since the image was built, this has changed:"
    more = " --update" if any("with --update" in each for each in found) else ""
    return "\n".join([head, *(f"  {each}" for each in found), f"run `tfslurm image build {file}{more}`"])


def as_value(made: Outcome) -> dict[str, Any]:
    """What came of it as JSON values."""
    from tfslurm.image.build_lock import build_to_json

    outcome = {"reference": made.reference, "digest": made.build.digest, "is_pinned": made.is_pinned}
    differs = None if made.differs is None else list(made.differs)
    return {**outcome, "differs": differs, "sent_bytes": made.sent_bytes, "build": build_to_json(made.build)}


def lines_of(made: Outcome) -> Iterator[str]:
    """What came of it for a reader."""
    lock = made.build
    name = f"{made.reference.rpartition(':')[0]}@{lock.digest}"
    if not made.is_pinned:
        yield f"{lock.digest}: came out different by {lock.builder}; it was not pushed, and the lock file is kept"
        yield from (f"  {each}" for each in (made.differs or ())[:MOST_LINES])
        yield "`--update` pins what comes out now"
        return
    size = sum(layer.bytes for layer in lock.layers)
    yield f"{name}"
    many = f"{len(lock.layers)} layer{'' if len(lock.layers) == 1 else 's'}"
    told = f"{many} above {lock.base.reference}, {size_text(size)}"
    yield f"built by {lock.builder}: {told}; {size_text(made.sent_bytes)} sent"
    if made.differs == ():
        yield "equal to the image that was pinned, byte for byte"
    elif made.differs:
        yield "not equal to the image that was pinned before:"
        yield from (f"  {each}" for each in made.differs[:MOST_LINES])

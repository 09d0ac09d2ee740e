"""The options by which `tfslurm provenance --format rocrate` writes a crate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import click

from tfslurm.cli.console import emit, say, show
from tfslurm.errors import RecordError, refuse
from tfslurm.export.crate.contents import VERSIONS, Crate
from tfslurm.retrieval.evidence import Evidence, placed
from tfslurm.workspace.session import Session

F = TypeVar("F", bound=Callable[..., Any])
OUTSIDE = "is for --format rocrate"
MOST = 20
"Files left out that are named on stderr."


class CrateOptions(NamedTuple):
    """What a user typed of them."""

    version: str | None
    without_outputs: bool
    with_image: bool
    authors: Sequence[str]
    affiliation: str
    title: str
    licence: str

    def refuse_without_crate(self) -> None:
        """Refuse them where no crate is asked for.

        Raises:
            InputError: one was given.
        """
        names = ("--ro-crate", "--without-outputs", "--with-image", "--author", "--affiliation", "--title", "--license")
        for name, value in zip(names, self, strict=True):
            if value:
                raise refuse(name, OUTSIDE, "add --format rocrate, or leave it out")


def crate_options(function: F) -> F:
    """The options, which come as one argument ``crate_asked``."""

    @wraps(function)
    def command(*args: Any, **options: Any) -> Any:
        asked = CrateOptions(**{name: options.pop(name) for name in CrateOptions._fields})
        return function(*args, crate_asked=asked, **options)

    kinds = (
        click.option("--ro-crate", "version", type=click.Choice(VERSIONS), help="Of --format rocrate; default: 1.1."),
        click.option("--without-outputs", is_flag=True, help="Leave what the program left out of the crate."),
        click.option("--with-image", is_flag=True, help="Put the container image into the crate, as an OCI archive."),
        click.option("--author", "authors", multiple=True, metavar='"FAMILY, GIVEN (ORCID)"', help="Of the crate."),
        click.option("--affiliation", default="", metavar='"NAME (URL)"', help="The authors' institution."),
        click.option("--title", default="", help="Of the crate; default: the experiment's name and job."),
        click.option("--license", "licence", default="", metavar="SPDX", help="Of the crate, such as CC-BY-4.0."),
    )
    wrapped: Callable[..., Any] = command
    for kind in reversed(kinds):
        wrapped = kind(wrapped)
    return cast(F, wrapped)


def save_crate(
    session: Session,
    name: str,
    evidences: Sequence[Evidence],
    asked: CrateOptions,
    output: Path | None,
    *,
    anonymous: bool,
    as_json: bool,
) -> int:
    """Write the crate, and print what is in it; 1 where a file that a record has the hash of is not.

    Raises:
        InputError: no name for it was given, or nobody is known as an author.
    """
    from tfslurm.cli.fetch import progress
    from tfslurm.export.citation.settings import Authorship
    from tfslurm.export.crate.people import missing
    from tfslurm.retrieval.crate.sweep import sweep_parts
    from tfslurm.retrieval.crate.writing import Wanted, write_crate
    from tfslurm.workspace.authorship import authorship

    if output is None:
        raise refuse("--format rocrate", "needs the name of a folder or a .zip", "add -o FOLDER or -o FILE.zip")
    if anonymous and (asked.authors or asked.affiliation):
        raise refuse("--anonymous", "names nobody, and --author and --affiliation do", "leave one of them out")
    if anonymous and asked.with_image:
        raise refuse("--anonymous", "is about every byte, and an image may hold names", "leave --with-image out")
    if not evidences:
        raise RecordError(f"{name}: none of its jobs has a record that can be read")
    by = Authorship(title=asked.title, licence=asked.licence) if anonymous else authorship(
        Path(), asked.authors, asked.title, asked.licence, asked.affiliation
    )  # fmt: skip
    if not anonymous and not by.authors:
        fix = 'name one with --author "Family, Given" or by `git config --global user.name`, or use --anonymous'
        raise refuse("--format rocrate", "has no author", fix)
    for word in () if anonymous else missing(by):
        say(f"note: {word}")
    found = [each if each.host else placed(session, each) for each in evidences]
    notes, texts = sweep_parts(session, name, found)
    version = asked.version or VERSIONS[0]
    wanted = Wanted(output, by, version, anonymous, not asked.without_outputs, asked.with_image)
    images = {"images": partial(save_images, session, found)} if asked.with_image else {}
    crate = write_crate(session, found, wanted, progress, notes=notes, texts=texts, **images)
    return report(crate, output, as_json=as_json)


def save_images(session: Session, evidences: Sequence[Evidence], folder: Path) -> Iterator[Path]:
    """Write each image that the records name into a folder, as `tfslurm image save` does; the archives.

    Raises:
        InputError: no registry has an image.
        RecordError: a record does not have the pin of its image.
    """
    from tfslurm.cli.console import progress_bar
    from tfslurm.export.citation.settings import pin_of
    from tfslurm.export.crate.contents import image_name
    from tfslurm.images import save_image
    from tfslurm.submission.prepare import mirrors_of
    from tfslurm.workspace.config import known_clusters

    pins = {each.record.image.digest: (each, pin_of(each.record)) for each in evidences}
    mirrors, engine = mirrors_of([known.cluster for known in known_clusters(tell=session.say)])
    for digest, (evidence, pin) in pins.items():
        if pin is None:
            raise RecordError(f"{evidence.key}: its record does not have the pin of its image; leave --with-image out")
        with progress_bar() as step:
            yield save_image(pin, mirrors, folder / image_name(digest), engine=engine, step=step).file


def report(crate: Crate, output: Path, *, as_json: bool) -> int:
    """A line for each file that is not in the crate, and one for all; 1 where a record's own file is not."""
    from tfslurm.cli.fetch import plain

    for each in crate.left_out[:MOST]:
        say(f"not in the crate: {plain(each.path)}: {plain(each.why)}")
    if len(crate.left_out) > MOST:
        say(f"not in the crate: {len(crate.left_out) - MOST} more; {output}'s REPRODUCING.md names them")
    runs = f"{len(crate.runs)} job{'s' if len(crate.runs) > 1 else ''}"
    if as_json:
        left_out = [{"path": plain(each.path), "why": plain(each.why)} for each in crate.left_out]
        emit({"crate": str(output), "jobs": len(crate.runs), "files": len(crate.files), "left_out": left_out})
    else:
        show(f"{output}: RO-Crate {crate.version} of {runs}, {len(crate.files)} files")
    return 1 if crate.lacking else 0

"""Where the image of a rerun comes from: a mirror or its registry, or an archive that holds what the digest names."""

from __future__ import annotations

from pathlib import Path

from tfslurm.errors import RegistryError, refuse
from tfslurm.export.crate.contents import image_name
from tfslurm.image import Pin
from tfslurm.registry.served import Served
from tfslurm.reruns.original import Original
from tfslurm.submission.image_archive import ImageArchive
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session

HIDDEN = ".invalid"
"How the stand-in of a registry ends in an anonymous record. Source: RFC 2606, 2."


def archive_file(original: Original, given: Path | None) -> Path | None:
    """The archive that was given, else the one in the original's crate; None: there is none.

    Raises:
        InputError: what has its name in the crate is no file.
    """
    crate, name = original.evidence.crate, image_name(original.record.image.digest)
    if given or crate is None or name not in crate.files:
        return given
    if crate.files[name].kind != "f":
        raise refuse(f"{original.name}: {name}", "is a link, or another thing that is no file", "take a whole crate")
    return crate.folder / name


def find_image(
    session: Session, original: Original, known: Known, pin: Pin, given: Path | None
) -> tuple[ImageArchive | None, list[str]]:
    """The archive that the pinned image comes from on a cluster, where it comes from one, and notes for a reader.

    An archive that was given is used. A crate's own is used where no registry serves the digest.

    Raises:
        InputError: the archive is not the image's; there is none, and an anonymous record hides the registry.
    """
    from tfslurm.images.read_archive import read_archive
    from tfslurm.registry.served import served

    file = archive_file(original, given)
    if file is None and pin.name.partition("/")[0].endswith(HIDDEN):
        fix = f"name an archive with --image-archive, or who serves it: --set image=HOST/NAME@{pin.digest}"
        raise refuse(original.name, f"the anonymous record does not say which registry has {pin.digest}", fix)
    why = ""
    if given is None and pin.pin_kind == "registry":
        answer = served(pin, known.cluster.mirrors, known.cluster.engine)
        if answer.place:
            return None, moves(pin, answer)
        why = f"no registry that this machine reaches serves {pin.digest[:19]}… ({answer.why}); "
    if file is None:
        return None, [
            f"image: {why}only a node that has it already can run it; or name an archive: --image-archive"
        ] if why else []
    shown = given or f"{original.name}: {file.name}"
    session.say(f"image: comparing {shown} with the digest")
    archive = read_archive(file, pin)
    return archive, [f"image: {why}every byte of {shown} was compared with the digest, and the image is loaded from it"]


def moves(pin: Pin, answer: Served) -> list[str]:
    """What is no longer as it was when the image was pinned, although the digest is served."""
    found = [] if answer.place == pin.name else [f"image: {answer.place} serves the digest"]
    if answer.tag_is_gone:
        found.append(f"image: {answer.place} has no tag {pin.tag} any more; what runs is {pin.digest}, as before")
    elif answer.tag_now not in ("", pin.digest, pin.manifest_digest):
        found.append(f"image: {pin.reference} stands for {answer.tag_now} now; what runs is {pin.digest}, as before")
    return found


def pin_by_archive(original: Original, pin: Pin, given: Path | None, failure: RegistryError) -> Pin:
    """The pin of an older record as an archive of the image has it, of which no registry knows any more.

    Raises:
        RegistryError: ``failure``, where there is no archive.
        InputError: the archive is not the image's.
    """
    from tfslurm.images.read_archive import read_archive

    file = archive_file(original, given)
    if file is None:
        raise failure
    return read_archive(file, pin).pin

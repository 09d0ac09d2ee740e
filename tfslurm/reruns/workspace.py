"""The folder that a user would have had: exp.yaml, its lock, the template and the code of one run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tfslurm.document import Refused, nearest
from tfslurm.errors import RecordError, RegistryError, refuse
from tfslurm.image import Pin, lock_text, parse_lock, parse_reference, read_lock
from tfslurm.image.pin import pin_by_digest
from tfslurm.job_plan import DerivedFrom
from tfslurm.local_files import write_file
from tfslurm.record import Record
from tfslurm.record.model import Asked as AskedBefore
from tfslurm.reruns.code_files import bring_code
from tfslurm.reruns.experiment_text import CODE, Text, experiment_text
from tfslurm.reruns.image import find_image, pin_by_archive
from tfslurm.reruns.naming import PREFIX, named_by_record
from tfslurm.reruns.older import asked_of
from tfslurm.reruns.original import Original
from tfslurm.retrieval.comparing import changed_records
from tfslurm.spec import KEYS, Mount
from tfslurm.spec.names import template_file
from tfslurm.submission.image_archive import ImageArchive
from tfslurm.submission.prepare import Asked, read_with, resolve_now
from tfslurm.workspace.clock import now
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session

EXPERIMENT, LOCK = "exp.yaml", "exp.lock.yaml"


class Wish(NamedTuple):
    """What the user wants otherwise: ``settings`` as --set takes them, ``data`` the place of each mount by its target.

    ``here`` is the folder that paths of ``settings`` begin in, and whose repository may have the code. ``is_agreed``:
    the template of somebody else's record may run without a question.
    """

    cluster: str = ""
    is_here: bool = False
    settings: Mapping[str, str] = {}
    data: Mapping[str, str] = {}
    anyway: bool = False
    here: Path = Path()
    image_archive: Path | None = None
    is_agreed: bool = False


class Workspace(NamedTuple):
    """The experiment as the submission reads it, and what a reader must know of how it was made."""

    asked: Asked
    text: Text
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def make_workspace(
    session: Session,
    original: Original,
    known: Known,
    wish: Wish,
    *,
    sweep: Mapping[str, Any] | None = None,
    derived_from: DerivedFrom | None = None,
) -> Workspace:
    """The folder of a run, in this command's own temporary one; ``sweep`` makes many jobs of it.

    Raises:
        InputError: a setting or a place of data fits nothing, or a file of the record is none that a user could write.
        RecordError: a part of the original is not to be had, or was changed.
    """
    record = original.record
    before, notes = asked_of(record)
    if record.asked is None:
        before = completed(session, original, before, known, wish)
    os.environ.pop("SQUEUE_FORMAT", None)  # simple_slurm fails to import where it holds an ordinary value
    is_same = known.cluster.name == record.job.cluster
    text = experiment_text(record, before, is_same_cluster=is_same, sources=sources_of(record, wish.data), sweep=sweep)
    refuse_lost_parameters(original, text, wish.settings)
    folder = Path(session.keep(TemporaryDirectory(prefix=PREFIX))).resolve()
    file = folder / EXPERIMENT
    write_file(file, text.text.encode())
    write_template(original, before, folder)
    archive, told = bring_image(session, original, before, known, wish, folder / LOCK)
    code, warning = None, ""
    if record.code is not None and not {"code", "code.path"} & wish.settings.keys():
        code, warning = bring_code(session, original, known, folder / CODE, wish.here, anyway=wish.anyway)
    with named_by_record(original.name):
        asked = read_with(file, placed(wish), sweeps=sweep is not None)
    asked = asked._replace(derived_from=derived_from or origin_of(original, wish), code=code, archive=archive)
    dropped = [f"slurm option {name} is left out: {why}" for name, why in text.left_out]
    return Workspace(asked, text, (*notes, *dropped, *told), tuple(filter(None, (*original.warnings, warning))))


def origin_of(original: Original, wish: Wish) -> DerivedFrom:
    """The original as the plan and the record of its rerun name it; a record that was changed has not its hash."""
    record = original.record
    is_changed = any(changed_records([original.evidence]))
    said = None if is_changed else record.integrity.record_sha256
    return DerivedFrom(original.evidence.key, said, record.record_id, dict(wish.settings))


def sources_of(record: Record, data: Mapping[str, str]) -> Mapping[str, str]:
    """The places of data by the targets of the record's mounts.

    Raises:
        InputError: a target that nothing is mounted at.
    """
    targets = [str(mount.get("target")) for mount in record.experiment.mounts]
    for target in data:
        if target not in targets:
            have = f"the mounts are at {', '.join(targets)}" if targets else "the original mounts nothing"
            raise refuse(f"--data {target}", "nothing is mounted there", f"{nearest(target, targets)}{have}")
    return data


def placed(wish: Wish) -> dict[str, str]:
    """The settings, with the paths of this machine that they name beginning at its root."""
    local = {name: value for name, value in wish.settings.items() if name in ("code", "code.path") and value[:1] != "{"}
    return {**wish.settings, **{name: str((wish.here / value).resolve()) for name, value in local.items()}}


def refuse_lost_parameters(original: Original, text: Text, settings: Mapping[str, str]) -> None:
    """Refuse a parameter's new value if nobody knows where in the command it stands.

    Raises:
        InputError: it would change nothing.
    """
    names = [name for name in settings if name.partition(".")[0] not in (KEYS - {"parameters"})]
    if text.is_literal and names and "command" not in settings:
        why = f"the record of {original.name} has the command alone, and not where in it the parameters stand"
        raise refuse(f"--set {names[0]}", why, "give the whole command: --set 'command=python train.py …'")


def write_template(original: Original, before: AskedBefore, folder: Path) -> None:
    """Write the experiment's own template beside it.

    Raises:
        RecordError: the record has not its text, or its name is none of a file.
    """
    template = before.template
    if template.name is None:
        return
    try:
        name = template_file(template.name)
    except Refused as error:
        raise RecordError(f"{original.name}: template: {error.why}") from error
    if name in (EXPERIMENT, LOCK, CODE):
        raise RecordError(f"{original.name}: template: {name} is not the name of a template")
    if template.text is None:
        raise RecordError(
            f"{original.name}: the record has not the text of its template {name}: it cannot be run again"
        )
    write_file(folder / name, template.text.encode())


def bring_image(
    session: Session, original: Original, before: AskedBefore, known: Known, wish: Wish, lock_file: Path
) -> tuple[ImageArchive | None, list[str]]:
    """Write the lock file; the archive that the image comes from, where it comes from one, and notes for a reader.

    Raises:
        InputError: the archive is not the image's, or one is given for an image of another name.
        RecordError: the lock file is not of the image that the record names.
    """
    keep_packages(session, before, known, wish, lock_file)
    if "image" in wish.settings:
        if wish.image_archive:
            raise refuse(
                "--image-archive", "is the image of the original, and --set image names another", "leave one out"
            )
        return None, []
    digest = original.record.image.digest
    pin = parse_lock(before.lock, f"{original.name}: lock", original.record.image.reference)
    if pin.digest != digest:
        raise RecordError(f"{original.name}: its lock file is of {pin.digest}, and its image is {digest}")
    write_file(lock_file, before.lock.encode())
    return find_image(session, original, known, pin, wish.image_archive)


def keep_packages(session: Session, before: AskedBefore, known: Known, wish: Wish, lock_file: Path) -> None:
    """Write the lock file of an image that is named by --set, where the original added packages to its image.

    They were locked for the bytes of that image: its digest may be served by somebody else, but be no other.

    Raises:
        InputError: other packages are set, or another image.
    """
    fix = "write an experiment of your own: `tfslurm provenance NAME --json` has its text in asked.spec"
    if "packages" in wish.settings:
        raise refuse("--set packages", "a rerun has the packages of its original, by their hashes", fix)
    packages = read_lock(before.lock, "exp.lock.yaml").packages if before.lock and "image" in wish.settings else None
    if packages is None:
        return
    reference = parse_reference(wish.settings["image"])
    if reference.digest != packages.image:
        why = f"the packages of the original were locked for {packages.image}"
        raise refuse("--set image", why, f"name who serves that: --set image=HOST/NAME@{packages.image}; or {fix}")
    pin = resolve_now(reference, [known.cluster], now(), session.say)
    write_file(lock_file, lock_text(pin, packages).encode())


def completed(session: Session, original: Original, before: AskedBefore, known: Known, wish: Wish) -> AskedBefore:
    """What an older record does not say of its image: the lock file, and the entrypoint in front of its command.

    Raises:
        InputError: its outputs lay somewhere, and nobody says where.
        RecordError, RegistryError: as ``pin_of_older``.
    """
    if original.record.experiment.outputs and "outputs" not in wish.settings:
        why = "the record is of an older tfslurm, which did not write down where in the container its outputs were"
        raise refuse(original.name, why, "say where: --set outputs=/out")
    if "image" in wish.settings:
        return before
    pin = pin_of_older(session, original, known, wish)
    return replace(before, lock=lock_text(pin), entrypoint=pin.entrypoint)


def pin_of_older(session: Session, original: Original, known: Known, wish: Wish) -> Pin:
    """The pin of a record that has not its lock file: what the registry says of the digest, or an archive of it.

    Raises:
        RecordError: it is known on one docker daemon alone.
        RegistryError: neither knows the digest.
    """
    image = original.record.image
    reference = parse_reference(image.reference)
    if image.digest_kind == "config":
        raise RecordError(
            "the image is known by its id on one docker daemon alone, and the record has not its lock file"
        )
    named = replace(reference, tag="", digest=image.digest)
    try:
        found = resolve_now(named, [known.cluster], now(), session.say)
    except RegistryError as error:
        found = pin_by_archive(original, pin_by_digest(named, now()), wish.image_archive, error)
    return replace(found, reference=image.reference, tag=reference.tag)


def changed_mounts(record: Record, mounts: Sequence[Mount], wish: Wish) -> list[str]:
    """The targets of runs' outputs that are another run's here than the original had; ``mounts`` are the new plan's.

    Whatever the record calls them: what counts is that a run of this tracker is mounted. The user may name another.
    """
    if "mounts" in wish.settings:
        return []
    then = {str(mount.get("target")): mount.get("source") for mount in record.experiment.mounts}
    runs = [mount for mount in mounts if mount.run and mount.target not in wish.data]
    return [mount.target for mount in runs if then.get(mount.target) != mount.source]

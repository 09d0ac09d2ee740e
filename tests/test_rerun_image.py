"""The image of a rerun comes from what still serves the digest, else from the archive in its crate, if that is true."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.registry import MANIFEST, StandIn, Start, digest_of, no_settings_of_this_machine, start
from tests.made import CLUSTER
from tests.test_comparison import run
from tests.test_image_archive import Files, made, other, packed, place
from tests.test_record import case
from tfslurm.errors import InputError, RecordError, RegistryError
from tfslurm.export.crate.contents import image_name
from tfslurm.image import Pin, lock_text, parse_reference
from tfslurm.image.pin import pin_by_digest
from tfslurm.images.named import image_named
from tfslurm.record import record_json
from tfslurm.record.model import seal
from tfslurm.registry import resolve
from tfslurm.reruns.image import find_image, pin_by_archive
from tfslurm.reruns.original import Original
from tfslurm.retrieval.crate_files import Crate, CrateFile
from tfslurm.retrieval.evidence import Evidence
from tfslurm.submission.image_archive import ImageArchive
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session

__all__ = ["no_settings_of_this_machine", "start"]
LINE = b"\n"


@pytest.fixture
def image(start: Start) -> tuple[StandIn, Files, Pin]:
    """A registry that serves nothing yet, the files of an image, and its pin there."""
    registry = start()
    files, pin = made()
    name = {"reference": f"{registry.address}/team/tf:1", "registry": registry.address, "repository": "team/tf"}
    return registry, files, replace(pin, **name)  # type: ignore[arg-type]


def serve(registry: StandIn, body: bytes, tag: str = "1") -> None:
    for wanted in (tag, digest_of(body)):
        registry.put(f"/v2/team/tf/manifests/{wanted}", body, MANIFEST)


def original(folder: Path, pin: Pin, files: Files | None = None, kind: str = "f") -> Original:
    """A run of this image out of a crate, with its archive where there are files for it."""
    record = run().record
    record = replace(record, image=replace(record.image, digest=pin.digest))
    name = image_name(pin.digest)
    if files is not None:
        packed(folder / name, files)
    held = {name: CrateFile(kind, 1)} if files is not None else {}
    return Original("crate.zip", Evidence(record, {}, crate=Crate("crate.zip", folder, held)))


def found(
    folder: Path, pin: Pin, files: Files | None, *mirrors: str, given: Path | None = None, kind: str = "f"
) -> tuple[ImageArchive | None, str]:
    cluster = replace(CLUSTER, mirrors={pin.registry: mirrors})
    with Session(lambda *lines: None) as session:
        archive, notes = find_image(session, original(folder, pin, files, kind), Known(cluster, "", None), pin, given)
    return archive, "\n".join(notes)


def test_what_is_served_is_taken_and_a_tag_that_moved_is_told(
    tmp_path: Path, image: tuple[StandIn, Files, Pin], start: Start
) -> None:
    registry, files, pin = image
    manifest, mirror = files[place(pin.digest)], start()
    serve(registry, manifest)
    assert found(tmp_path, pin, files) == (None, "")
    registry.put("/v2/team/tf/manifests/1", manifest + LINE, MANIFEST)
    archive, notes = found(tmp_path, pin, files)
    assert archive is None and f"tf:1 stands for {digest_of(manifest + LINE)} now" in notes
    assert f"what runs is {pin.digest}, as before" in notes
    registry.paths.clear()
    serve(mirror, manifest)
    archive, notes = found(tmp_path, pin, files, mirror.address)
    assert archive is None and notes == f"image: {mirror.address}/team/tf serves the digest"


def test_an_archive_is_taken_where_nothing_serves_the_digest_and_where_one_is_given(
    tmp_path: Path, image: tuple[StandIn, Files, Pin]
) -> None:
    registry, files, pin = image
    archive, notes = found(tmp_path, pin, files)
    assert archive is not None and archive.pin.digest == pin.digest
    assert "no registry that this machine reaches serves sha256:" in notes and "deleted from" in notes
    assert f"every byte of crate.zip: {image_name(pin.digest)} was compared with the digest" in notes
    archive, notes = found(tmp_path, pin, None)
    assert archive is None and "only a node that has it already can run it" in notes
    serve(registry, files[place(pin.digest)])
    registry.asked.clear()
    archive, notes = found(tmp_path, pin, None, given=packed(tmp_path / "own.tar", files))
    assert archive is not None and "own.tar was compared" in notes and registry.asked == []


def test_an_archive_that_lies_or_is_a_link_is_refused(tmp_path: Path, image: tuple[StandIn, Files, Pin]) -> None:
    _, files, pin = image
    for lie in (other(files, pin.digest), {}, made(annotations={})[0]):
        with pytest.raises(InputError, match="is no archive of"):
            found(tmp_path, pin, lie)
    with pytest.raises(InputError, match="is a link"):
        found(tmp_path, pin, files, kind="l")


def test_an_older_record_gets_its_pin_from_the_archive(tmp_path: Path, image: tuple[StandIn, Files, Pin]) -> None:
    registry, files, pin = image
    little = pin_by_digest(parse_reference(f"{pin.name}@{pin.digest}"), pin.pinned_at)
    gone = RegistryError("nobody has it")
    with pytest.raises(RegistryError, match="nobody has it"):
        pin_by_archive(original(tmp_path, pin), little, None, gone)
    by_archive = pin_by_archive(original(tmp_path, pin, files), little, None, gone)
    serve(registry, files[place(pin.digest)])
    for path, body in files.items():
        registry.put(f"/v2/team/tf/{path.replace('/sha256/', '/sha256:')}", body, "application/octet-stream")
    by_registry = resolve(parse_reference(f"{pin.name}@{pin.digest}"), {}, "linux/amd64", pin.pinned_at)
    assert replace(by_archive, served_by="") == replace(by_registry, served_by="")


def test_save_takes_the_image_of_a_record_and_of_a_crate(tmp_path: Path, image: tuple[StandIn, Files, Pin]) -> None:
    _, _, pin = image
    record = case("gpu").build()
    assert record.asked
    lock = lock_text(replace(pin, manifest_digest=pin.digest))
    image_of = replace(record.image, digest=pin.digest, reference=pin.reference)
    record = seal(replace(record, image=image_of, asked=replace(record.asked, lock=lock)))
    values = record_json(record)
    (tmp_path / "record.json").write_text(json.dumps(values))
    (tmp_path / "changed.json").write_text(json.dumps(values | {"run_folder": "/elsewhere"}))
    with Session(lambda *lines: None) as session:
        for name in (tmp_path / "record.json", tmp_path):
            assert image_named(session, str(name)).pin.digest == pin.digest
        with pytest.raises(RecordError, match="is not what its record_sha256 says"):
            image_named(session, str(tmp_path / "changed.json"))

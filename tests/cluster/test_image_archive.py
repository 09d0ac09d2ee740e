"""A node that no registry serves loads the image from the archive that was sent with the job, and proves it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from uuid import uuid4

import pytest

from tfslurm.image import Pin, parse_reference
from tfslurm.images import save_image
from tfslurm.images.read_archive import read_archive
from tfslurm.job_plan import JobPlan, identify
from tfslurm.registry import resolve
from tfslurm.submission.image_archive import ImageArchive

from . import registry
from .bed import REGISTRY
from .jobs import ask, fresh_image, owned, plan, ran, refused, root, submit

pytestmark = [pytest.mark.usefixtures("bed"), pytest.mark.parametrize("engine", ["docker", "podman"])]


def archived(folder: Path) -> tuple[Pin, ImageArchive]:
    """The pin of an image that no registry has any more, and its archive."""
    repository, digest = fresh_image()
    pin = resolve(parse_reference(f"{REGISTRY}/{repository}:1"), {}, "linux/amd64", "2026-01-01T00:00:00Z")
    path = folder / f"{repository.rpartition('/')[2]}.tar"
    save_image(pin, {}, path)
    registry.delete_manifest(REGISTRY, repository, digest)
    return pin, read_archive(path, pin)


def with_archive(asked: JobPlan, archive_sha256: str) -> JobPlan:
    """The same plan as another submission."""
    return identify(dataclasses.replace(asked, image_archive=archive_sha256, planned_at=uuid4().hex))


def test_the_archive_that_was_sent_is_loaded_and_one_of_another_image_never_runs(engine: str, tmp_path: Path) -> None:
    (pin, archive), (_, other) = archived(tmp_path), archived(tmp_path)
    images = root("alpha") / "images"
    images.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in (archive, other):
        (images / f"{each.sha256}.tar").write_bytes(b"".join(each.stream()))
    owned(images)
    good = plan(engine=engine, pin=archive.pin, image_sources=(f"{pin.name}@{pin.digest}",), command=("cat", "/mark"))
    lie = submit(with_archive(good, other.sha256))
    assert "was pulled and the daemon does not list it under that digest" in refused(lie)
    assert "\tpull\t" not in lie.fact("events.tsv"), "no registry is asked"
    job = ran(with_archive(good, archive.sha256))
    assert job.end()["exit_code"] == 0, job.said()
    assert job.output() == pin.repository
    assert job.fact("image-pulled.txt") == f"pulled from the archive sha256:{archive.sha256}\n"
    known = archive.pin.config_digest if engine == "docker" else f"{pin.name}@{pin.digest}"
    assert job.fact("image-source.txt") == f"{known}\n"
    for each in (archive, other):
        ask(engine, "image", "rm", "--force", each.pin.config_digest)

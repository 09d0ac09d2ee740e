"""Where no registry serves an image any more, its archive is loaded, here or on a cluster; and never another's."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from pathlib import Path
from uuid import uuid4

import pytest

from tfslurm.image import Pin, parse_reference
from tfslurm.images import save_image
from tfslurm.images.read_archive import read_archive
from tfslurm.job_plan import identify
from tfslurm.registry import resolve
from tfslurm.submission.image_archive import ImageArchive

from . import registry
from .bed import CLUSTERS, REGISTRY
from .desk import Desk, as_yaml
from .jobs import ask, fresh_image, owned, plan, refused, root, submit

pytestmark = pytest.mark.usefixtures("bed")
BY = ("--license", "CC0-1.0", "--author", "Doe, Alice")


def archived(folder: Path) -> tuple[Pin, ImageArchive]:
    """The pin of an image that no registry has any more, and its archive."""
    repository, digest = fresh_image()
    pin = resolve(parse_reference(f"{REGISTRY}/{repository}:1"), {}, "linux/amd64", "2026-01-01T00:00:00Z")
    path = folder / f"{repository.rpartition('/')[2]}.tar"
    save_image(pin, {}, path)
    registry.delete_manifest(REGISTRY, repository, digest)
    return pin, read_archive(path, pin)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_an_archive_of_another_image_never_runs(engine: str, tmp_path: Path) -> None:
    """The engine itself says what it has loaded, whoever put the file there."""
    (pin, archive), (_, other) = archived(tmp_path), archived(tmp_path)
    images = root("alpha") / "images"
    images.mkdir(mode=0o700, parents=True, exist_ok=True)
    (images / f"{other.sha256}.tar").write_bytes(b"".join(other.stream()))
    owned(images)
    good = plan(engine=engine, pin=archive.pin, image_sources=(f"{pin.name}@{pin.digest}",))
    job = submit(identify(dataclasses.replace(good, image_archive=other.sha256, planned_at=uuid4().hex)))
    assert f"the archive sha256:{other.sha256} was pulled and the daemon does not list it under that" in refused(job)
    assert "\tpull\t" not in job.fact("events.tsv"), "no registry is asked"
    ask(engine, "image", "rm", "--force", other.pin.config_digest)


def test_a_crate_with_its_image_runs_again_when_its_registry_is_gone(desk: Desk) -> None:
    repository, digest = fresh_image()
    name = f"{REGISTRY}/{repository}"
    file = desk.experiment("gone", ["cp", "/mark", "/out/mark"], image=f"{name}:1", reproduce={"files": ["mark"]})
    first = desk.submit(file)
    assert desk.ended(first) == "COMPLETED"
    done = desk.tfslurm("provenance", first, "--format", "rocrate", "--with-image", *BY, "-o", "crate.zip")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(desk.folder / "crate.zip") as crate:
        (file,) = (Path(crate.extract(each, desk.folder)) for each in crate.namelist() if each.endswith(".oci.tar"))
    registry.delete_manifest(REGISTRY, repository, digest)
    config = desk.record(first)["image"]["config_digest"]
    ask("docker", "image", "rm", "--force", f"{name}@{digest}")
    desk.set_up_podman()
    local = {"name": "local", "engine": "podman", "root": str(desk.folder / "data" / "tfslurm" / "local")}
    desk.write("config/tfslurm/clusters/local.yaml", as_yaml(local))
    desk.describe("beta", login={"host": "127.0.0.1", "port": CLUSTERS["beta"].ssh_port})
    by_config = f"id is the digest of the config that the pinned manifest names, {config}"
    ways: list[tuple[str, str, list[str | Path]]] = [
        ("local:", f"this digest as {name}", ["crate.zip", "--local"]),
        ("beta:", by_config, [first, "--cluster", "beta", "--wait", "--image-archive", file]),
    ]
    for cluster, known, words in ways:
        again = desk.tfslurm("rerun", *words)
        assert again.returncode == 0, again.stdout + again.stderr
        assert "results      bit-identical\n             identical: mark\n" in again.stdout
        verdict = desk.record(re.findall(rf"^{cluster}\d+", again.stdout + again.stderr, re.MULTILINE)[0])["verified"]
        assert verdict["image"]["status"] == "ok" and known in verdict["image"]["reason"]
        assert ", loaded from the archive sha256:" in verdict["image"]["reason"]
    ask("docker", "image", "rm", "--force", config)
    ask("podman", "image", "rm", "--force", config)

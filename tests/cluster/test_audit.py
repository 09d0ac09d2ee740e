"""What becomes of a record when its registries, its tag and its files change; and its image, saved in time."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from . import images, registry
from .bed import MIRROR, REGISTRY
from .desk import Desk
from .docker import docker


def audited(desk: Desk, job: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and the statuses by name with the whole answer under ''."""
    done = desk.tfslurm("audit", job, "--json")
    (found,) = json.loads(done.stdout)
    return done.returncode, {each["name"]: each["status"] for each in found["findings"]} | {"": json.dumps(found)}


def test_a_record_is_followed_from_whole_to_rotten_and_its_image_outlives_its_registries(desk: Desk) -> None:
    repository = f"desk-{desk.token}/audited"
    reference = f"{REGISTRY}/{repository}:1"
    digest = images.push_small(repository, "1", {"/mark": desk.token})
    desk.write("code/train.sh", "echo 1 >/out/metrics.json\n")
    job = desk.submit(desk.experiment("kept", ["sh", "train.sh"], image=reference, code="code"))
    assert desk.ended(job) == "COMPLETED"
    record = desk.record(job)

    code, found = audited(desk, job)
    whole = {"image": "ok", "tag": "ok", "code": "ok", "outputs": "ok"}
    assert (code, {name: found[name] for name in whole}) == (0, whole), found
    assert f"{REGISTRY}/{repository} serves {digest[:19]}" in found[""]

    images.push_small(repository, "1", {"/mark": "another"})
    code, found = audited(desk, job)
    assert (code, found["image"], found["tag"]) == (0, "ok", "note")

    registry.put_manifest(REGISTRY, repository, "kept", registry.manifest(REGISTRY, repository, digest)[0])  # type: ignore[index]
    images.copy(repository, "kept")
    registry.delete_manifest(REGISTRY, repository, digest)
    code, found = audited(desk, job)
    assert (code, found["image"]) == (0, "ok") and f"{MIRROR}/{repository} serves" in found[""]

    saved = desk.tfslurm("image", "save", job, "-o", "kept.oci.tar")
    assert saved.returncode == 0, saved.stderr
    assert f"{REGISTRY}/{repository}@{digest}" in saved.stdout and f"from {MIRROR}/{repository}" in saved.stdout
    again = desk.tfslurm("image", "save", job, "-o", "kept.oci.tar", "--json")
    assert (json.loads(again.stdout)["digest"], json.loads(again.stdout)["was_there"]) == (digest, True)
    loads(desk, desk.folder / "kept.oci.tar", reference, digest, record["image"]["config_digest"])

    registry.delete_manifest(MIRROR, repository, digest)
    shutil.rmtree(desk.root("alpha") / "code" / record["code"]["tree"])
    (desk.run_folder(job) / "out" / "metrics.json").unlink()
    code, found = audited(desk, job)
    assert code == 1 and {name: found[name] for name in ("image", "outputs")} == {"image": "rot", "outputs": "rot"}
    assert found["code"] in ("rot", "unknown") and "metrics.json" in found[""]
    lost = desk.tfslurm("image", "save", job, "-o", "lost.oci.tar")
    assert lost.returncode == 1 and "it has no such digest" in lost.stderr
    table = desk.tfslurm("audit", "--all")
    assert table.returncode == 1 and f"{job}  rot" in table.stdout and "1 rot" in table.stderr


def loads(desk: Desk, archive: Path, reference: str, digest: str, config: str) -> None:
    """docker and podman read the archive; podman keeps the digest, docker the config's as its id."""
    images.remove(reference)
    assert docker("load", "--input", str(archive)).returncode == 0
    assert docker("image", "inspect", "--format", "{{.Id}}", reference).stdout.strip() == config
    images.remove(reference)
    with TemporaryDirectory() as folder:
        podman = ["podman", f"--root={folder}/root", f"--runroot={folder}/run", "--storage-driver=vfs"]
        loaded = subprocess.run([*podman, "load", "--input", str(archive)], capture_output=True, text=True)
        assert loaded.returncode == 0, loaded.stderr
        ask = [*podman, "image", "inspect", "--format", "{{.Digest}} {{.Id}}", reference]
        assert subprocess.run(ask, capture_output=True, text=True).stdout.split() == [digest, config[len("sha256:") :]]

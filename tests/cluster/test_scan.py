"""Images scanned by the real trivy, from a real registry, and what the rule of an experiment or a cluster makes of it.

The vulnerabilities are made up: the true database is on the internet. See tests/trivy/database.py.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from shutil import copy
from uuid import uuid4

import pytest

from tests import trivy
from tests.trivy.database import advisory, database

from . import images, registry
from .bed import CACHE, REGISTRY
from .desk import SMALL, Desk, Done, ids
from .docker import docker
from .own_registries import DOCKER_CONFIG, DOCKER_MANIFEST, PASSWORD, USER, Served, htpasswd, serve

pytestmark = pytest.mark.usefixtures("bed")
STATUS = "".join(
    f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\nMaintainer: nobody\n\n"
    for name, version in (("openssl", "3.0.1-1"), ("zlib1g", "1.2.13-1"))
)
DEBIAN = {
    "/etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
    "/etc/debian_version": "12.5\n",
    "/var/lib/dpkg/status": STATUS,
}
KNOWN = {
    "CVE-2026-10001": advisory(Title="made up: a hole", Severity="CRITICAL"),
    "CVE-2026-10002": advisory(Title="made up: another", Severity="HIGH"),
}
ADVISORIES = {"openssl": {"CVE-2026-10001": advisory(FixedVersion="3.0.2-1")}, "zlib1g": {"CVE-2026-10002": advisory()}}
TODAY, NEVER = "2026-11-29T00:00:00Z", "2099-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def program() -> Path:
    """The folder of the real trivy, where every user may read it."""
    source, folder = trivy.installed() / "trivy", CACHE / "trivy"
    mark = hashlib.sha256(trivy.LOCK.read_bytes()).hexdigest()[:16]
    if not (folder / mark / "trivy").exists():
        (folder / mark).mkdir(parents=True, exist_ok=True)
        copy(source, folder / mark / f"{os.getpid()}")
        (folder / mark / f"{os.getpid()}").rename(folder / mark / "trivy")
    return folder / mark


def typed(desk: Desk, program: Path, *words: str | Path, found: bool = True, **more: str) -> Done:
    """A command with the real trivy on PATH; ``found``: it has a database."""
    env = desk.environment("alpha")
    folder = desk.folder / ("known" if found else "nothing")
    own = {"PATH": f"{program}:{env['PATH']}", "TRIVY_CACHE_DIR": str(folder)}
    return desk.tfslurm(*words, env={**own, **more})


def with_database(desk: Desk, updated_at: str = TODAY) -> Path:
    """The desk, whose trivy knows of two vulnerabilities."""
    folder = desk.folder / "known"
    database(folder, ADVISORIES, KNOWN, updated_at=updated_at, next_at=NEVER)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *ids())
    return folder


def scans(desk: Desk) -> list[Path]:
    """The files of all scans that the desk keeps."""
    return sorted((desk.folder / "data" / "tfslurm" / "scans").glob("*/*"))


def debian() -> tuple[str, str]:
    """An image with two packages of Debian: its repository and its digest."""
    repository = f"tfslurm/scan-{uuid4().hex[:12]}"
    return repository, images.push_small(repository, "1", {**DEBIAN, "/mark": repository})


@pytest.mark.parametrize(("image", "packages"), [(SMALL, 0), (f"{REGISTRY}/tensorflow/tensorflow:2.16.1-gpu", 100)])
def test_without_a_database_the_sbom_is_made_and_the_refusal_is_one_line(
    desk: Desk, program: Path, image: str, packages: int
) -> None:
    nowhere = {"TRIVY_DB_REPOSITORY": "127.0.0.1:9/none"}
    done = typed(desk, program, "image", "scan", image, found=False, **nowhere)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("tfslurm: trivy has no vulnerability database and could not get one: trivy: DB error: Get ")
    assert last.endswith("or bring it from a machine with internet: docs/scanning.md")
    assert "known" not in done.stdout and "report" not in done.stdout, "nothing is pretended"
    described, sbom = sorted(scans(desk), key=lambda path: path.name, reverse=True)
    assert (sbom.stat().st_mode & 0o777, described.name) == (0o600, "scan.json")
    kept, value = json.loads(described.read_text()), json.loads(sbom.read_text())
    assert (kept["report_sha256"], kept["tool"]) == (None, "trivy 0.76.0")
    assert kept["sbom_sha256"] == hashlib.sha256(sbom.read_bytes()).hexdigest()
    assert kept["digest"].removeprefix("sha256:") == sbom.parent.name
    assert value["bomFormat"] == "CycloneDX" and kept["manifest_digest"] in value["metadata"]["component"]["purl"]
    assert len(value.get("components", ())) >= packages


def test_a_job_is_held_by_what_is_known_and_goes_when_that_is_ignored(desk: Desk, program: Path) -> None:
    repository, digest = debian()
    image, rule = f"{REGISTRY}/{repository}:1", {"fail_on": "CRITICAL", "on_unknown": "refuse"}
    file = desk.experiment("held", "true", image=image, scan=rule)
    held = typed(desk, program, "submit", file, "--cluster", "alpha")
    assert (held.returncode, held.stdout) == (1, "")
    assert "alpha: scan: not verifiable: this image was never scanned here; `tfslurm image scan " in held.stderr
    with_database(desk)
    done = typed(desk, program, "image", "scan", file, "--fixable")
    assert done.returncode == 0, done.stderr
    assert "known     1 CRITICAL (1 with a fix), 1 HIGH (0 with a fix)\n" in done.stdout
    assert "CRITICAL  CVE-2026-10001  openssl  3.0.1-1    3.0.2-1   made up: a hole" in done.stdout
    assert "CVE-2026-10002" not in done.stdout
    held = typed(desk, program, "submit", file, "--cluster", "alpha")
    assert (held.returncode, held.stdout) == (1, "")
    assert (
        "scan: held: 1 known vulnerability of severity CRITICAL (the experiment's rule): CVE-2026-10001 CRITICAL in"
        in held.stderr
    )
    ignore = {"id": "CVE-2026-10001", "until": "2098-12-31", "why": "the job opens no connection"}
    file = desk.experiment("held", "true", image=image, scan={**rule, "ignore": [ignore]})
    plan = typed(desk, program, "plan", file, "--cluster", "alpha")
    assert "scan     passes: 1 CRITICAL, 1 HIGH (trivy 0.76.0, database of 2026-11-29); 1 ignored" in plan.stdout
    job = desk.submit(file)
    assert desk.ended(job) == "COMPLETED"
    found = desk.record(job)["asked"]["scan"]
    assert (found["answer"], found["tool"], found["database_updated_at"]) == ("passes", "trivy 0.76.0", TODAY)
    assert found["ignored"] == [{"of": "experiment", **ignore}]
    assert found["counts"] == {"CRITICAL": 1, "HIGH": 1, "MEDIUM": 0, "LOW": 0, "UNKNOWN": 0}
    assert "\nscan     passes: 1 CRITICAL, 1 HIGH (trivy 0.76.0" in desk.tfslurm("provenance", job).stdout
    for words, there in ((("--author", "Doe, Alice"), 2), (("--anonymous",), 0)):
        crate = f"crate{there}.zip"
        form = ("--format", "rocrate", "--license", "CC0-1.0")
        done = desk.tfslurm("provenance", job, *form, *words, "-o", crate)
        assert done.returncode == 0, done.stderr
        with zipfile.ZipFile(desk.folder / crate) as packed:
            parts = [name for name in packed.namelist() if name.startswith(("scan-", "sbom-"))]
            sums = sorted(hashlib.sha256(packed.read(name)).hexdigest() for name in parts)
        assert sums == sorted([found["report_sha256"], found["sbom_sha256"]])[:there]
        assert desk.tfslurm("verify", crate).returncode == 0
    desk.describe("alpha", scan={"fail_on": "HIGH"})
    held = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert (
        held.returncode == 1
        and "2 known vulnerabilities of severity HIGH or higher (the cluster's rule): CVE-2026-10001 CRITICAL"
        in held.stderr
    ), held.stderr
    assert digest.removeprefix("sha256:") == scans(desk)[0].parent.name


def test_the_image_of_trivy_does_the_same_by_the_engine_and_an_archive_will_do(desk: Desk, program: Path) -> None:
    """An image of the tests' own, with the real program in it."""
    repository, _ = debian()
    with_database(desk)
    desk.tfslurm("image", "save", f"{REGISTRY}/{repository}:1", "-o", "image.tar")
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        tar.add(program / "trivy", "trivy")
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(folder)
    plain = tarred.getvalue()
    layer = images.Layer(plain, f"sha256:{hashlib.sha256(plain).hexdigest()}")  # docker sees that it is not packed
    own = f"tfslurm/trivy-{uuid4().hex[:12]}"
    scanner = f"{REGISTRY}/{own}@{images.push(images.Image((layer,), entrypoint=('/trivy',), command=()), own, '1')}"
    digest = images.push_small(repository, "2", {**DEBIAN, "/mark": f"{repository} 2"})
    more = {"TFSLURM_TRIVY_IMAGE": scanner, "TRIVY_CACHE_DIR": str(desk.folder / "known")}
    try:
        done = desk.tfslurm("image", "scan", f"{REGISTRY}/{repository}:2", "--json", env=more)
    finally:
        docker("image", "rm", "--force", scanner)
        registry.delete_manifest(REGISTRY, own, scanner.partition("@")[2])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["digest"], found["tool"], found["counts"]["CRITICAL"]) == (digest, "trivy 0.76.0", 1)
    kept = f"{REGISTRY}/{repository}:1"
    done = typed(desk, program, "image", "scan", kept, "--archive", desk.folder / "image.tar", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["source"], found["counts"]["HIGH"]) == (str(desk.folder / "image.tar"), 1)


def test_a_password_reaches_the_real_trivy(desk: Desk, program: Path, tmp_path: Path) -> None:
    with_database(desk)
    layer = images.layer_of(dict(DEBIAN))
    config = images.Image((layer,)).config()
    assert isinstance(layer.source, bytes)
    parts = {"application/vnd.docker.image.rootfs.diff.tar.gzip": layer.source, DOCKER_CONFIG: config}
    for address in serve(tmp_path, htpasswd(tmp_path)):
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        served = Served(address, f"Basic {pair}")
        described = [
            {"mediaType": kind, "digest": served.blob("team/tf", body), "size": len(body)}
            for kind, body in parts.items()
        ]
        manifest = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": described[1], "layers": described[:1]}
        digest = served.manifest("team/tf", "1", manifest)
        file = desk.write("docker/config.json", json.dumps({"auths": {address: {"auth": pair}}}), 0o600)
        done = typed(desk, program, "image", "scan", f"{address}/team/tf:1", "--json", DOCKER_CONFIG=str(file.parent))
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["digest"], found["counts"]["CRITICAL"], found["packages"]) == (digest, 1, 2)
    assert pair not in "".join(path.read_text() for path in scans(desk)) + done.stdout + done.stderr

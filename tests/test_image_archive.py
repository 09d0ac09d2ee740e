"""An image's archive by anybody is proved against the pinned digest before a byte of it is sent, or refused."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import CONFIG, INDEX, MANIFEST, digest_of, image_config
from tfslurm.errors import InputError
from tfslurm.host.local import LocalHost
from tfslurm.image import Pin
from tfslurm.images.read_archive import MOST_HEADERS, read_archive
from tfslurm.remote_programs import program

LAYERS = (b"one" * 2**16, b"two", b"two")
Files = dict[str, bytes]


def place(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def described(kind: str, blob: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest_of(blob), "size": len(blob), **more}


def made(*, index: bool = False, unsaid: bool = False, **change: Any) -> tuple[Files, Pin]:
    """The files of an image's archive, as another tool may write it, and its pin by a record that knows little."""
    config = image_config()
    layers = [described("application/vnd.oci.image.layer.v1.tar+gzip", each) for each in LAYERS]
    value = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described(CONFIG, config), "layers": layers}
    value |= change
    if unsaid:  # which OCI allows
        del value["mediaType"]
    manifest = json.dumps(value).encode()
    top = manifest
    files = {place(digest_of(each)): each for each in (config, *LAYERS, manifest)}
    if index:
        entry = described(MANIFEST, manifest, platform={"os": "linux", "architecture": "amd64"})
        kind = {} if unsaid else {"mediaType": INDEX}
        top = json.dumps({"schemaVersion": 2, **kind, "manifests": [entry]}).encode()
        files[place(digest_of(top))] = top
    files = {"oci-layout": b"{}", "index.json": b"{}", **files}
    pin = Pin(
        "reg.example/team/tf:1", "reg.example", "team/tf", "1", digest_of(top), "index" if index else "manifest",
        "registry", "linux/amd64", "", "", 0, "", "", "", "2026-01-01T00:00:00Z", (), {},
    )  # fmt: skip
    return files, pin


def packed(path: Path, files: Mapping[str, bytes], *more: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in more:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return path


@pytest.mark.parametrize("unsaid", [False, True], ids=["said", "unsaid"])
@pytest.mark.parametrize("index", [False, True], ids=["manifest", "index"])
def test_what_is_sent_is_laid_out_anew_from_what_the_digest_names(tmp_path: Path, index: bool, unsaid: bool) -> None:
    files, pin = made(index=index, unsaid=unsaid)
    folder = tarfile.TarInfo("blobs/sha256/")
    folder.type = tarfile.DIRTYPE
    found = read_archive(packed(tmp_path / "a.tar", files, folder), pin)
    sent = b"".join(found.stream())
    assert (len(sent), hashlib.sha256(sent).hexdigest()) == (found.size_bytes, found.sha256)
    assert (found.pin.digest, found.pin.digest_kind) == (pin.digest, "index" if index else "manifest")
    assert found.pin.config_digest == digest_of(image_config()) and found.pin.environment == {"CUDA_VERSION": "12.3.0"}
    with tarfile.open(fileobj=io.BytesIO(sent)) as tar:
        inside = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert {name: data for name, data in inside.items() if name.startswith("blobs/")} == {
        name: data for name, data in files.items() if name.startswith("blobs/")
    }
    (docker,) = json.loads(inside["manifest.json"])
    (top,) = json.loads(inside["index.json"])["manifests"]
    tag = f"reg.example/team/tf:tfslurm-{pin.digest[7:19]}"  # no tag that means anything to others
    assert docker["RepoTags"] == [tag] and docker["Config"] == place(found.pin.config_digest)
    assert (top["digest"], top["annotations"]["org.opencontainers.image.ref.name"]) == (pin.digest, tag)


def without(files: Files, digest: str) -> Files:
    return {name: data for name, data in files.items() if name != place(digest)}


def other(files: Files, digest: str, *, same_size: bool = True) -> Files:
    data = files[place(digest)]
    return {**files, place(digest): data[:-1] + bytes([data[-1] ^ 1]) if same_size else data + b"!"}


CONFIG_DIGEST, LAYER = digest_of(image_config()), digest_of(LAYERS[0])
LIES: dict[str, tuple[Callable[[Files, Pin], Files], str]] = {
    "another image": (lambda files, pin: without(files, pin.digest), "is not in it"),
    "an altered manifest": (lambda files, pin: other(files, pin.digest), "has the digest"),
    "an altered config": (lambda files, pin: other(files, CONFIG_DIGEST), "has the digest"),
    "an altered layer": (lambda files, pin: other(files, LAYER), "has the digest"),
    "a layer with more": (lambda files, pin: other(files, LAYER, same_size=False), "by its manifest"),
    "no config": (lambda files, pin: without(files, CONFIG_DIGEST), "is not in it"),
    "no layer": (lambda files, pin: without(files, LAYER), "is not in it"),
    "a layer too many": (lambda files, pin: {**files, place(digest_of(b"!")): b"!"}, "no part of this image"),
    "a file beside": (lambda files, pin: {**files, "run.sh": b"!"}, "no part of an image"),
    "a way out": (lambda files, pin: {**files, "blobs/sha256/../../../../etc/x": b"!"}, "no part of an image"),
    "an absolute name": (lambda files, pin: {**files, "/etc/x": b"!"}, "no part of an image"),
    "a huge manifest": (lambda files, pin: {**files, place(pin.digest): bytes(5 * 2**20)}, "at most"),
    "too many files": (lambda files, pin: files | {place(f"sha256:{n:064x}"): b"" for n in range(1200)}, "more than"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_an_archive_that_lies_is_refused(tmp_path: Path, lie: str) -> None:
    change, why = LIES[lie]
    files, pin = made()
    with pytest.raises(InputError, match=why) as refused:
        read_archive(packed(tmp_path / "a.tar", change(files, pin)), pin)
    assert "\n" not in str(refused.value) and str(tmp_path / "a.tar") in str(refused.value)


def a_link() -> tarfile.TarInfo:
    info = tarfile.TarInfo(place(LAYER))
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def a_device() -> tarfile.TarInfo:
    info = tarfile.TarInfo("blobs/x")
    info.type = tarfile.CHRTYPE
    return info


def a_long_name() -> tarfile.TarInfo:
    info = tarfile.TarInfo("oci-layout")
    info.pax_headers = {"comment": "x" * MOST_HEADERS}
    return info


def twice() -> tarfile.TarInfo:
    return tarfile.TarInfo(place(LAYER))


@pytest.mark.parametrize("member", [a_link, a_device, a_long_name, twice])
def test_a_member_that_no_image_has_is_refused(tmp_path: Path, member: Callable[[], tarfile.TarInfo]) -> None:
    files, pin = made()
    with pytest.raises(InputError, match=r"is no archive of reg\.example/team/tf@sha256"):
        read_archive(packed(tmp_path / "a.tar", files, member()), pin)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    files, pin = made()
    whole = packed(tmp_path / "a.tar", files).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: 2**16])
    (tmp_path / "zeros").write_bytes(bytes(2**20))
    (tmp_path / "empty").touch()
    packed(tmp_path / "small", files, mode="w:gz")
    for name in ("cut", "zeros", "empty", "small", ".", "absent"):
        with pytest.raises(InputError, match=r"no archive|cannot be read|is a folder"):
            read_archive(tmp_path / name, pin)
    with pytest.raises(InputError, match="no archive can be compared with it"):
        read_archive(tmp_path / "a.tar", replace(pin, pin_kind="image-id"))
    bads: tuple[dict[str, Any], ...] = ({"config": {}}, {"layers": [{"digest": LAYER}]}, {"schemaVersion": 1})
    for bad in bads:
        files, pin = made(**bad)
        with pytest.raises(InputError, match="is no archive of"):
            read_archive(packed(tmp_path / "bad.tar", files), pin)


def test_a_file_that_changes_before_it_is_sent_is_refused(tmp_path: Path) -> None:
    files, pin = made()
    found = read_archive(packed(tmp_path / "a.tar", files), pin)
    packed(tmp_path / "a.tar", other(files, LAYER))
    with pytest.raises(InputError, match="was changed while it was sent"):
        list(found.stream())


def test_a_cluster_keeps_an_archive_once_and_only_the_bytes_that_were_read(tmp_path: Path) -> None:
    folder, data = tmp_path / "root" / "images", b"archive" * 1000
    name = hashlib.sha256(data).hexdigest()

    def put(content: bytes) -> int:
        argv = program("put-image", str(folder), name, "", "accept")
        return LocalHost("here").run(argv, input=content).exit_code

    assert put(data[:-1]) == 1 and list(folder.iterdir()) == []
    assert put(data) == 0 and (folder / f"{name}.tar").read_bytes() == data
    assert (folder / f"{name}.tar").stat().st_mode & 0o777 == 0o600
    there = (folder / f"{name}.tar").stat().st_ino
    assert put(data) == 0 and (folder / f"{name}.tar").stat().st_ino == there
    (folder / f"{name}.tar").write_bytes(data[:-5])  # by a purge
    assert put(data) == 0 and (folder / f"{name}.tar").read_bytes() == data
    assert [path.name for path in folder.iterdir()] == [f"{name}.tar"]
    subprocess.run(["ln", "-sf", "/etc/passwd", folder / f"{name}.tar"], check=True)
    assert put(data) == 0 and not (folder / f"{name}.tar").is_symlink()

"""Small images made from nothing and put straight into a registry; and what is done with images in the daemon."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import packages, registry
from .bed import CACHE, MIRROR, REGISTRY, BedError, say
from .docker import docker

SMALL = "tfslurm/small"
SMALL_TAG = "1"
LABEL = "org.tfslurm.bed"
_EPOCH = "2024-03-08T00:00:00Z"  # nothing here knows what time it is: the same content is the same digest
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Layer:
    """A gzipped tar, and the digest of the tar inside it."""

    source: bytes | Path
    diff_id: str


@dataclass(frozen=True)
class Image:
    """What goes into a registry: layers and the config that `docker inspect` shows."""

    layers: tuple[Layer, ...]
    env: tuple[str, ...] = (_PATH,)
    labels: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = ("sh",)
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""

    def config(self) -> bytes:
        """The image config; its sha256 is what docker calls the image id."""
        ran: dict[str, object] = {"Env": list(self.env), "Cmd": list(self.command), "Labels": dict(self.labels)}
        ran |= {"User": self.user, "WorkingDir": self.workdir, "Entrypoint": list(self.entrypoint) or None}
        rootfs = {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]}
        history = [{"created": _EPOCH, "created_by": "test bed"} for _ in self.layers]
        image = {"architecture": "amd64", "os": "linux", "created": _EPOCH, "config": ran, "rootfs": rootfs}
        return json.dumps({**image, "history": history}, sort_keys=True).encode()


def push(image: Image, repository: str, tag: str, address: str = REGISTRY) -> str:
    """Puts an image into a registry under a tag; the manifest's digest comes out."""
    config = image.config()
    registry.put_blob(address, repository, config)
    layers = [
        {
            "mediaType": _LAYER,
            "size": _size(layer.source),
            "digest": registry.put_blob(address, repository, layer.source),
        }
        for layer in image.layers
    ]
    described = {"mediaType": _CONFIG, "size": len(config), "digest": registry.digest_of(config)}
    manifest = {"schemaVersion": 2, "mediaType": registry.MANIFEST, "config": described, "layers": layers}
    return registry.put_manifest(address, repository, tag, json.dumps(manifest, indent=1).encode())


def _size(source: bytes | Path) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def layer_of(files: Mapping[str, str | bytes | tuple[str, str]], folders: Iterable[str] = ()) -> Layer:
    """A layer with these files (all executable), links (a pair, its second word is the target) and folders."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(folders):
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name.endswith("tmp") else 0o755
            tar.addfile(entry)
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name.lstrip("/"))
            if isinstance(content, tuple):
                entry.type, entry.linkname = tarfile.SYMTYPE, content[1]
                tar.addfile(entry)
                continue
            data = content.encode() if isinstance(content, str) else content
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    tarred = plain.getvalue()
    return Layer(gzip.compress(tarred, 6, mtime=0), f"sha256:{hashlib.sha256(tarred).hexdigest()}")


def _busybox() -> Layer:
    """A root file system of one static program and its many names."""
    folder = CACHE / "busybox"
    program = folder / "bin" / "busybox"
    if not program.exists():
        packages.unpack("busybox-static", folder)
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    files: dict[str, str | bytes | tuple[str, str]] = {"/bin/busybox": program.read_bytes()}
    files |= {f"/bin/{name}": ("link", "busybox") for name in names if name != "busybox"}
    files["/etc/passwd"] = "root:x:0:0:root:/root:/bin/sh\n"
    files["/etc/group"] = "root:x:0:\n"
    return layer_of(
        files, ("/bin", "/dev", "/etc", "/proc", "/root", "/sys", "/tmp", "/usr", "/usr/bin", "/var", "/var/tmp")
    )


def push_small(
    repository: str,
    tag: str,
    files: Mapping[str, str | bytes] | None = None,
    *,
    env: Iterable[str] = (),
    labels: Mapping[str, str] | None = None,
    entrypoint: Iterable[str] = (),
    user: str = "",
    address: str = REGISTRY,
) -> str:
    """Pushes busybox with these files on top (another content is another digest); the manifest's digest comes out."""
    layers = [_busybox()]
    if files:
        layers.append(layer_of(dict(files)))
    image = Image(
        tuple(layers),
        env=(_PATH, *env),
        labels={LABEL: "busybox for tests", **(labels or {})},
        entrypoint=tuple(entrypoint),
        user=user,
    )
    return push(image, repository, tag, address)


def copy(repository: str, tag: str, source: str = REGISTRY, target: str = MIRROR) -> str:
    """Copies an image from one registry to another byte for byte; the digest, the same at both, comes out."""
    found = registry.manifest(source, repository, tag)
    if found is None:
        raise BedError(f"images: {source}/{repository}:{tag} does not exist")
    body, digest = found
    described = json.loads(body)
    for blob in (described["config"], *described["layers"]):
        registry.copy_blob(source, target, repository, str(blob["digest"]))
    registry.put_manifest(target, repository, tag, body, str(described["mediaType"]))
    return digest


def present(reference: str) -> bool:
    """Whether the daemon has the image."""
    return docker("image", "inspect", "--format", "{{.Id}}", reference).returncode == 0


def pull(reference: str) -> None:
    """Afterwards the daemon has what the registry has under this reference."""
    done = docker("pull", "--quiet", reference)
    if done.returncode:
        raise BedError(f"images: docker pull {reference}: {done.stderr.strip()}")


def remove(reference: str) -> bool:
    """Whether the daemon had the image; afterwards it has not."""
    return docker("image", "rm", "--force", reference).returncode == 0


def ensure_small() -> None:
    """Afterwards the small image is in both registries and in the daemon."""
    reference = f"{REGISTRY}/{SMALL}:{SMALL_TAG}"
    if registry.tag_digest(REGISTRY, SMALL, SMALL_TAG) is None:
        say(f"images: making {reference}")
        push_small(SMALL, SMALL_TAG)
    if registry.tag_digest(MIRROR, SMALL, SMALL_TAG) is None:
        copy(SMALL, SMALL_TAG)
    if not present(reference):
        pull(reference)

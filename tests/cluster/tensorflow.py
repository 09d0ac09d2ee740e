"""The stand-in for tensorflow/tensorflow:2.16.1-gpu: the real TensorFlow under the official image's environment.

It is built once from Debian and PyPI, without a daemon, as two layers that stay in the bed's cache. The wheel is the
official image's own (it knows its CUDA and cuDNN versions); the CUDA libraries are not there, so it runs on the CPU.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from . import images, registry
from .bed import CACHE, MIRROR, REGISTRY, SYSTEM_PATH, BedError, say
from .images import Image, Layer

REPOSITORY = "tensorflow/tensorflow"
TAG = "2.16.1-gpu"
REFERENCE = f"{REGISTRY}/{REPOSITORY}:{TAG}"

_FOLDER = CACHE / "tensorflow"
_MADE = _FOLDER / "image.json"
_DEBS = "python3,python3-distutils"
_WHEELS = (
    "tensorflow==2.16.1",
    "keras==3.0.5",
    "tf_keras==2.16.0",
    "scikit-learn==1.4.2",
    "setuptools==69.1.1",
    "pip==24.0",
)
_BRANDS = (
    "tesla",
    "unknown",
    "nvidia",
    "nvidiartx",
    "geforce",
    "geforcertx",
    "quadro",
    "quadrortx",
    "titan",
    "titanrtx",
)
_BRANCHES = (470, 525, 535)
_REQUIRE = " ".join(
    ["cuda>=12.3", *(f"brand={b},driver>={d},driver<{d + 1}" for d in _BRANCHES for b in _BRANDS)],
)
_ENV = (
    "PATH=/usr/local/nvidia/bin:/usr/local/cuda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "NVARCH=x86_64",
    f"NVIDIA_REQUIRE_CUDA={_REQUIRE}",
    "NV_CUDA_CUDART_VERSION=12.3.52-1",
    "NV_CUDA_COMPAT_PACKAGE=cuda-compat-12-3",
    "CUDA_VERSION=12.3.0",
    "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64",
    "NVIDIA_VISIBLE_DEVICES=all",
    "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    "DEBIAN_FRONTEND=noninteractive",
    "LANG=C.UTF-8",
)
_LABELS = {images.LABEL: f"stand-in for {REPOSITORY}:{TAG}: real TensorFlow on Debian 12, without CUDA libraries"}
_UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/log")


def _stamp() -> str:
    recipe = json.dumps([_DEBS, _WHEELS, _ENV, _LABELS, _UNUSED])
    return hashlib.sha256(recipe.encode()).hexdigest()


class Build:
    """The image being made beside everything else."""

    def __init__(self) -> None:
        self._layers: dict[str, Layer] = {}
        self._wrong: list[Exception] = []
        self._children: list[subprocess.Popen[str]] = []
        parts = () if _made() else (("debian", self._debian), ("wheels", self._wheels))
        self._threads = [threading.Thread(target=self._guard, args=part, daemon=True) for part in parts]
        if parts:
            say("images: building the TensorFlow image (about two minutes, once)")
            _FOLDER.mkdir(parents=True, exist_ok=True)
            _MADE.unlink(missing_ok=True)
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Afterwards the image is in both registries, under the same digest, and in the daemon."""
        if self._threads:
            say("images: waiting for the TensorFlow image")
            for thread in self._threads:
                thread.join()
            if self._wrong:
                raise self._wrong[0]
            _write_down(self._layers)
            say("images: TensorFlow image built")
        digest = registry.tag_digest(REGISTRY, REPOSITORY, TAG)
        if self._threads or digest is None:
            digest = images.push(_image(), REPOSITORY, TAG)
        if registry.tag_digest(MIRROR, REPOSITORY, TAG) != digest:
            images.copy(REPOSITORY, TAG)
        if self._threads or not images.present(REFERENCE):
            say(f"images: pulling {REFERENCE}")
            images.pull(REFERENCE)

    def abandon(self) -> None:
        """Ends the programs that are still building."""
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, 9)

    def _guard(self, name: str, build: Callable[[], Layer]) -> None:
        try:
            self._layers[name] = build()
        except Exception as error:  # carried to the thread that waits
            self._wrong.append(error)

    def _run(self, *argv: str | Path) -> None:
        words = [str(word) for word in argv]
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        self._children.append(child)
        output = child.communicate()[0]
        if child.returncode:
            last = " | ".join(output.strip().splitlines()[-4:])
            raise BedError(f"images: `{' '.join(words)[:120]}` failed: {last}; see if the package mirrors answer")

    def _debian(self) -> Layer:
        root = _fresh("debian")
        self._run("debootstrap", "--variant=minbase", f"--include={_DEBS}", "bookworm", root, _debian_mirror())
        for path in (*(root / unused for unused in _UNUSED), *(root / "var/lib/apt/lists").iterdir()):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for folder in ("var/log", "var/cache/apt/archives/partial"):
            (root / folder).mkdir(parents=True)
        (root / "usr/bin/python").symlink_to("python3")
        return _pack(root, "--exclude=./dev/*")

    def _wheels(self) -> Layer:
        root, venv = _fresh("wheels"), _fresh("venv")
        local = root / "usr" / "local"
        self._run("/usr/bin/python3", "-m", "venv", venv)
        self._run(
            venv / "bin" / "python",
            "-m",
            "pip",
            "--quiet",
            "--disable-pip-version-check",
            "install",
            "--no-cache-dir",
            "--no-compile",
            "--no-warn-script-location",
            "--ignore-installed",
            f"--prefix={local}",
            *_WHEELS,
        )
        packages = local / "lib" / "python3.11" / "dist-packages"
        packages.with_name("site-packages").rename(packages)
        _lighten(packages)
        for script in (local / "bin").iterdir():
            script.write_text(script.read_text().replace(f"{venv}/bin/python", "/usr/bin/python", 1))
        # The tar has no times of day, so the bytecode must not be compared with them.
        compiled = (
            "-m",
            "compileall",
            "-q",
            "-j2",
            "--invalidation-mode=unchecked-hash",
            "-s",
            root,
            "-p",
            "/",
            packages,
        )
        self._run("/bin/sh", "-c", '/usr/bin/python3 "$@" >/dev/null 2>&1; true', "sh", *compiled)
        shutil.rmtree(venv)
        return _pack(root, "--owner=0", "--group=0", "--mtime=2024-03-08 00:00Z")


@contextlib.contextmanager
def building() -> Iterator[Build]:
    """Starts the build unless it is done; whoever leaves with an error ends it."""
    build = Build()
    try:
        yield build
    except BaseException:
        build.abandon()
        raise


def _made() -> bool:
    return _MADE.exists() and json.loads(_MADE.read_text())["stamp"] == _stamp()


def _fresh(name: str) -> Path:
    folder = _FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _lighten(packages: Path) -> None:
    """Removes the headers and the packages' own tests, which no program asks for."""
    shutil.rmtree(packages / "tensorflow" / "include")
    for package in ("numpy", "scipy", "sklearn"):
        for folder in sorted((packages / package).rglob("tests")):
            shutil.rmtree(folder)


def _debian_mirror() -> str:
    """The mirror that this machine's apt uses, for it is the one that answers."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Codename: bookworm", "Component: main"]
    lines = subprocess.run(asked, capture_output=True, text=True).stdout.split()
    return lines[0] if lines else "http://deb.debian.org/debian"


def _pack(root: Path, *options: str) -> Layer:
    """Packs a folder into a gzipped tar beside it, and removes the folder."""
    packed = root.with_name(f"{root.name}.tar.gz")
    digest = hashlib.sha256()
    command = ["tar", "--create", "--sort=name", "--numeric-owner", *options, f"--directory={root}", "."]
    with (
        packed.open("wb") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE) as tar,
        subprocess.Popen(["gzip", "-n", "-1"], stdin=subprocess.PIPE, stdout=file) as gzip,
    ):
        assert tar.stdout and gzip.stdin
        while chunk := tar.stdout.read(1 << 20):
            digest.update(chunk)
            gzip.stdin.write(chunk)
        gzip.stdin.close()
    if tar.returncode or gzip.returncode:
        raise BedError(f"images: packing {root} failed: see if the disk is full")
    shutil.rmtree(root)
    return Layer(packed, f"sha256:{digest.hexdigest()}")


def _write_down(layers: dict[str, Layer]) -> None:
    made = {name: layer.diff_id for name, layer in layers.items()}
    _MADE.write_text(json.dumps({"stamp": _stamp(), "layers": made}, indent=1))


def _image() -> Image:
    made: dict[str, str] = json.loads(_MADE.read_text())["layers"]
    layers = tuple(Layer(_FOLDER / f"{name}.tar.gz", made[name]) for name in ("debian", "wheels"))
    return Image(layers, env=_ENV, labels=_LABELS, command=("/bin/bash",))

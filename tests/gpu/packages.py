"""Debian packages that are carried along, such as podman's, unpacked into a folder: nothing of the machine changes."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAGIC = b"!<arch>\n"
PROGRAMS = ("usr/bin", "usr/sbin", "bin", "sbin", "usr/libexec/podman", "usr/lib/podman", "usr/libexec")
HEADER = 60  # bytes before each member of an ar archive. Source: deb(5), ar(5)


class PackageError(Exception):
    """A package cannot be unpacked: which, and why."""


def unpack(folder: Path, target: Path) -> dict[str, str]:
    """Unpack every package of a folder; the variables with which what lies there can be run."""
    packages = sorted(folder.glob("*.deb"))
    if not packages:
        raise PackageError(f"{folder}: holds no *.deb")
    options: dict[str, Any] = {"filter": "tar"} if hasattr(tarfile, "tar_filter") else {}
    for package in packages:
        try:
            with tarfile.open(fileobj=io.BytesIO(data(package.read_bytes()))) as tar:
                tar.extractall(target, **options)
        except (OSError, ValueError, tarfile.TarError) as error:
            raise PackageError(f"{package}: {error}") from error
    return variables(target)


def data(raw: bytes) -> bytes:
    """The member data.tar… of a package."""
    for name, content in members(raw):
        if name.startswith("data.tar"):
            return content
    raise ValueError("has no data.tar: it is no Debian package, or was cut off")


def members(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member of an ar archive."""
    if not raw.startswith(MAGIC):
        raise ValueError("is no ar archive")
    at = len(MAGIC)
    while at + HEADER <= len(raw):
        name, size = raw[at : at + 16].decode("ascii", "replace").strip().rstrip("/"), int(raw[at + 48 : at + 58])
        yield name, raw[at + HEADER : at + HEADER + size]
        at += HEADER + size + size % 2


def variables(target: Path) -> dict[str, str]:
    """PATH and the loader's path with what was unpacked there before what the machine has."""
    programs = [str(target / name) for name in PROGRAMS]
    places = [target / "usr/lib", target / "lib", *target.glob("usr/lib/*-linux-gnu"), *target.glob("lib/*-linux-gnu")]
    return {
        "PATH": os.pathsep.join([*programs, os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join(str(place) for place in places if place.is_dir()),
    }

"""The files that a program wrote where nothing keeps them: gone with the container. Pure.

The engine lists every path that differs from the image. Most of that is its own doing, or that of NVIDIA's
hook, which puts the driver's libraries into each container; what is left is the program's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from tfslurm.record.engines import OWN_FILES
from tfslurm.record.model import LostFile

SHOWN = 5
"Names in a sentence."
CHANGES = {"A": "added", "C": "changed"}  # what the program deleted was the image's, not its own work
# Put there by NVIDIA's hook: tools, libraries, firmware, settings.
NVIDIA = re.compile(
    r"/usr(/local)?/s?bin/nvidia-[^/]+|(/usr)?/lib(32|64)?/(.*/)?(lib(nvidia|cuda|nvcuvid|nvoptix|vdpau_nvidia)[^/]*"
    r"|lib(EGL|GLX|GLESv\d|GLESv\d_CM)_nvidia[^/]*|nvidia[^/]*)(/.*)?|(/usr)?/lib/firmware/nvidia(/.*)?"
    r"|/(usr/share|etc)/(nvidia|vulkan|egl|glvnd)(/.*)?|/usr/local/cuda[^/]*/compat(/.*)?"
)
# Made again by themselves: compiled Python, CUDA's cache of compiled kernels.
CACHES = re.compile(r".*/__pycache__(/.*)?|.*\.pyc|(/.*)?/\.nv(/.*)?")

# Folders by their names: one changes when a file in it is made and removed again, as programs do in /tmp.
FOLDERS = re.compile(r"/((var/)?tmp|root|home|opt|srv|mnt|media|etc|usr|usr/local|var|var/(cache|lib|log))?")


def lost_files(changes: Iterable[tuple[str, str]], mounts: Sequence[str]) -> tuple[LostFile, ...]:
    """The program's own files outside every mount, sorted; folders are left out where they hold something listed.

    ``changes`` are those that the engine lists; ``mounts`` the container paths that are kept elsewhere.
    """
    listed = {path: kind for kind, path in changes}
    parents = {str(parent) for path in listed for parent in PurePosixPath(path).parents}
    return tuple(
        LostFile(path, CHANGES[kind])
        for path, kind in sorted(listed.items())
        if kind in CHANGES and path not in parents and not belongs(path, mounts)
    )


def in_words(lost: Sequence[LostFile], outputs: str | None) -> str:
    """The sentence on files that are gone, the first of them by name; '' for none. ``outputs`` is what was kept."""
    if not lost:
        return ""
    names = ", ".join(entry.path for entry in lost[:SHOWN]) + (", …" if len(lost) > SHOWN else "")
    kept = f"only {outputs} and writable mounts are kept" if outputs else "no `outputs` folder is kept"
    many = f"{len(lost)} files were" if len(lost) > 1 else "1 file was"
    return f"{many} lost with the container: {names}; {kept}"


def belongs(path: str, mounts: Sequence[str]) -> bool:
    """Is the path the engine's, NVIDIA's, a cache's, or below or on the way to a mount?"""
    if any(pattern.fullmatch(path) for pattern in (OWN_FILES, NVIDIA, CACHES, FOLDERS)):
        return True
    return any(path == mount or path.startswith(f"{mount}/") or mount.startswith(f"{path}/") for mount in mounts)

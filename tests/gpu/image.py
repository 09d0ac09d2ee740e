"""An image of this machine's own files: a shell, a few tools, this Python, and what they and nvidia-smi load."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.gpu.commands import Commands
from tests.gpu.work import PROGRAM

TOOLS = ("sh", "cat", "ls", "sleep", "env", "mkdir", "id")
SKIPPED = {"site-packages", "dist-packages", "test", "idlelib", "tkinter", "ensurepip", "lib2to3", "__pycache__"}
FOLDERS = ("tmp", "proc", "sys", "dev", "run", "etc", "root")


def python() -> str:
    """This Python without the links on the way to it."""
    return str(Path(sys.executable).resolve())


def write(commands: Commands, program: str, target: Path) -> None:
    """Write the image's root file system as a tar; ``program`` is nvidia-smi, which the image gets from elsewhere."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    programs = [python(), *(path for path in map(shutil.which, TOOLS) if path)]
    extensions = [str(path) for path in stdlib.glob("lib-dynload/_ctypes*.so")]
    files = {"/bin/sh", *programs, *extensions, *libraries(commands, [*programs, *extensions, program])}
    modules = [path for path in stdlib.rglob("*.*") if not SKIPPED & {*path.relative_to(stdlib).parts}]
    files |= {str(path) for path in modules if path.is_file()}
    with tarfile.open(target, "w") as tar:
        for path in sorted(files):
            add(tar, path, path)
        add(tar, str(PROGRAM), f"/{PROGRAM.name}")
        for name in FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(folder)


def add(tar: tarfile.TarFile, path: str, name: str) -> None:
    """A file as it is found behind every link; one that cannot be read is left out."""
    with contextlib.suppress(OSError), Path(path).open("rb") as file:
        entry = tar.gettarinfo(name.lstrip("/"), arcname=name.lstrip("/"), fileobj=file)
        entry.type, entry.uid, entry.gid, entry.uname, entry.gname = tarfile.REGTYPE, 0, 0, "root", "root"
        tar.addfile(entry, file)


def libraries(commands: Commands, programs: Iterable[str]) -> set[str]:
    """What they load, the loader too. Source: ldd(1)."""
    ran = commands.run("ldd", ["ldd", *programs], 20)
    return {*re.findall(r"(?:=> |^\s+)(/\S+) \(0x", ran.out, re.MULTILINE)}

"""The folder that a builder gets: the Dockerfile, the files that it copies, and what `apt` and `pip` need."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from tfslurm.errors import TfslurmError
from tfslurm.image import PackageLock, Pin
from tfslurm.image.dockerfile import FOLDER, composed
from tfslurm.local_files import open_file
from tfslurm.remote_programs import packaged
from tfslurm.snapshot import Snapshot
from tfslurm.submission.build_inputs import Recipe

DOCKERFILE = f"{FOLDER}/Dockerfile"
IGNORE = ".dockerignore"
PIECE = 2**20


def dockerfile(recipe: Recipe, base: Pin, packages: PackageLock | None, user: str) -> str:
    """The text that is built, in which the base has its digest; ``user`` is the base's own, '' for root."""
    steps = []
    if recipe.build.apt:
        steps.append(ran("apt.sh", *recipe.build.apt))
    if packages and packages.wheels:
        steps.append(ran("pip.sh"))
    if steps:
        steps = [f"COPY {FOLDER} /{FOLDER}", *steps]
        steps = ["USER root", *steps, f"USER {user}"] if user else steps
    return composed(recipe.text, recipe.build.base, f"{base.name}@{base.digest}", steps)


def ran(*words: str) -> str:
    """A RUN of one of our programs, whose words no shell reads."""
    return f"RUN {json.dumps(['sh', f'/{FOLDER}/{words[0]}', *words[1:]])}"


def requirements(packages: PackageLock) -> str:
    """The wheels as pip's own file of requirements with hashes."""
    return "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in packages.wheels)


def write_context(
    folder: Path, text: str, context: Snapshot | None, packages: PackageLock | None, wheels: Mapping[str, Path]
) -> None:
    """Write the folder; ``wheels`` are the files of the locked ones by their names.

    Raises:
        TfslurmError: a file was changed meanwhile, or the disk refuses.
    """
    try:
        if context:
            for inside, mode, piece in unpacked(context):
                write(folder / inside, mode, piece)
        own = {"Dockerfile": text, "apt.sh": packaged("build/apt.sh"), "pip.sh": packaged("build/pip.sh")}
        own |= {"requirements.txt": requirements(packages)} if packages else {}
        for name, content in own.items():
            write(folder / FOLDER / name, 0o644, [content.encode("utf-8", "surrogateescape")])
        for name, path in wheels.items():
            with open_file(path) as file:
                write(folder / FOLDER / "wheels" / name, 0o644, pieces(file))
        if (folder / IGNORE).exists():
            with (folder / IGNORE).open("ab") as ignore:  # the last rule that fits a name counts
                ignore.write(f"\n!{FOLDER}\n".encode())
    except OSError as error:
        raise TfslurmError(f"{folder}: {error.strerror}; free some space, or name another folder in TMPDIR") from error


def unpacked(context: Snapshot) -> Iterator[tuple[PurePosixPath, int, Sequence[bytes] | Iterator[bytes] | str]]:
    """Each file of a snapshot: its name, mode and content; of a link its target."""
    reader = Stream(context.stream())
    with tarfile.open(fileobj=cast(BinaryIO, reader), mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if name.parts[0] != "tree" or len(name.parts) < 2:
                continue
            inside = name.relative_to("tree")
            if member.issym():
                yield inside, 0o777, member.linkname
            elif file := archive.extractfile(member):
                yield inside, 0o755 if member.mode & 0o100 else 0o644, pieces(cast(BinaryIO, file))


class Stream:
    """Chunks as a file that is read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def read(self, size: int) -> bytes:
        """As many bytes, fewer at the end."""
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The bytes of a file."""
    while piece := file.read(PIECE):
        yield piece


def write(path: Path, mode: int, content: Sequence[bytes] | Iterator[bytes] | str) -> None:
    """A new file, or a link, with a mode that is the same whatever the umask is."""
    above = path.parent
    missing = []
    while not above.exists():
        missing.append(above)
        above = above.parent
    for each in reversed(missing):
        each.mkdir()
        each.chmod(0o755)
    if isinstance(content, str):
        path.symlink_to(content)
        return
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "wb") as file:
        for piece in content:
            file.write(piece)
        os.fchmod(number, mode)

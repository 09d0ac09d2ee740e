"""The wheels of a lock in the user's cache: fetched by pip from the user's indexes, each by its sha256."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import TfslurmError, refuse
from tfslurm.image import PackageLock, Wheel
from tfslurm.image.facts import ImageFacts
from tfslurm.local_files import make_folder, write_file
from tfslurm.packages.programs import GET, call, find_pip, for_pip, indexes, without_logins
from tfslurm.packages.refusals import ENDLESS, ENDLESS_FIX, ENDLESS_WHY, FULL, FULL_FIX
from tfslurm.packages.targets import pip_words
from tfslurm.workspace.folders import cache_folder

PATIENCE_S = 3600.0
_READ = 2**20
_TENSORFLOW = re.compile(r"([^/]+\.data/(pure|plat)lib/)?tensorflow(/__init__)?\.[^/]+")
_WORK = "packages-"
_OLD_S = 86400.0


class Wanted(NamedTuple):
    """One wheel as pip is asked for it."""

    name: str
    version: str
    file: str
    sha256: str


class WheelFiles(Mapping[str, Path]):
    """File name -> where the wheel lies on this machine. It is looked for, hashed and fetched when it is asked for.

    Raises (``[file]``):
        TfslurmError: it is not in the cache, and cannot be fetched, or the index has other bytes under its name.
    """

    def __init__(self, lock: PackageLock) -> None:
        self._lock, self._good = lock, dict[str, Path]()
        self._wheels = {wheel.file: wheel for wheel in lock.wheels}

    def __getitem__(self, file: str) -> Path:
        if file not in self._good:
            wheel = self._wheels[file]
            if not is_good(wheel):
                fetch([_wanted(each) for each in self._wheels.values() if not is_good(each)], _facts(self._lock))
            self._good[file] = place(wheel.sha256, file)
        return self._good[file]

    def __iter__(self) -> Iterator[str]:
        return iter(self._wheels)

    def __len__(self) -> int:
        return len(self._wheels)


def place(sha256: str, file: str) -> Path:
    """Where the wheel with this hash is kept."""
    return cache_folder() / "wheels" / sha256 / file


def is_good(wheel: Wheel) -> bool:
    """Whether the wheel lies in the cache with the bytes that its hash names."""
    path = place(wheel.sha256, wheel.file)
    return path.is_file() and path.stat().st_size == wheel.bytes and sha256_of(path) == wheel.sha256


def holds_tensorflow(path: Path) -> bool:
    """Whether a wheel has a module `tensorflow`, whatever its own name is. What is no wheel has none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(_TENSORFLOW.fullmatch(member) for member in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(_READ):
            found.update(part)
    return found.hexdigest()


def fetch(wanted: Sequence[Wanted], facts: ImageFacts) -> dict[str, Path]:
    """Put wheels into the cache, and say where each file is: pip finds them on the user's indexes.

    Only bytes with the wanted hash are taken; where none is known yet, those that the index has.

    Raises:
        TfslurmError: an index does not have one, or has other bytes, or there is no pip.
    """
    pip = find_pip()
    if not pip:
        raise refuse("packages", "pip is not installed beside tfslurm", GET)
    known = all(each.sha256 for each in wanted)
    with work_folder() as work:
        lines = (f"{each.name}=={each.version}{f' --hash=sha256:{each.sha256}' if known else ''}" for each in wanted)
        write_file(work / "wheels.txt", "".join(f"{line}\n" for line in lines).encode())
        words = ("--no-deps", "--dest", str(work / "new"), "--requirement", str(work / "wheels.txt"))
        only = ("--require-hashes",) if known else ()
        done = call((*pip, "download", *pip_words(facts), *only, *words), for_pip(indexes(pip), facts), PATIENCE_S)
        if done.exit_code:
            raise TfslurmError(_failure(f"{done.stdout}\n{done.stderr}", wanted))
        return {each.file: _kept(work / "new" / each.file, each) for each in wanted}


def _kept(path: Path, wanted: Wanted) -> Path:
    """Where the wheel is in the cache from now on."""
    sha256 = sha256_of(path) if path.is_file() else ""
    if not sha256 or sha256 != (wanted.sha256 or sha256):
        raise TfslurmError(f"packages: {wanted.file}: the index has another wheel than the lock; {_RENEW}")
    kept = place(sha256, wanted.file)
    make_folder(kept.parent)
    path.replace(kept)
    return kept


_RENEW = "`tfslurm pin EXP.yaml --update` takes what it has now"


def _failure(said: str, wanted: Sequence[Wanted]) -> str:
    """The error for a fetch that failed, in one line."""
    lines = [line.strip() for line in without_logins(said).splitlines()]
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in said:
        named = next((each.file for each in wanted if f"{each.name}==" in said), "a wheel")
        return (
            f"packages: {named}: the index serves other bytes than the lock's sha256; ask whoever runs it, or {_RENEW}"
        )
    if re.search(FULL, said):
        return f"packages: the disk of uv's and pip's caches is full; {FULL_FIX}"
    if re.search(ENDLESS, said):
        return f"packages: {ENDLESS_WHY}; {ENDLESS_FIX}"
    why = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1] if lines else "")
    return f"packages: the wheels cannot be fetched: {why.removeprefix('ERROR:').strip()[:400]}; {_RENEW}"


def _wanted(wheel: Wheel) -> Wanted:
    return Wanted(wheel.name, wheel.version, wheel.file, wheel.sha256)


def _facts(lock: PackageLock) -> ImageFacts:
    """What pip is told of the image, from its lock alone: ``manylinux_2_36_x86_64``."""
    _, _, minor, machine = (*lock.platform.split("_", 3), "", "", "")[:4]
    return ImageFacts(lock.python, f"2.{minor}", machine, {})


@contextmanager
def work_folder() -> Iterator[Path]:
    """An empty folder of this command's own, on the file system of the cache; it is removed at the end.

    Raises:
        TfslurmError: this machine refuses.
    """
    try:
        make_folder(cache_folder())
        _remove_old()
        with tempfile.TemporaryDirectory(prefix=_WORK, dir=cache_folder()) as folder:
            yield Path(folder)
    except OSError as error:
        where = os.fspath(error.filename or cache_folder())
        raise TfslurmError(
            f"{where}: cannot be written: {error.strerror}; free some space, or set XDG_CACHE_HOME"
        ) from error


def _remove_old() -> None:
    """Remove such folders of commands that were killed: those that nobody has touched for a day."""
    for folder in cache_folder().glob(f"{_WORK}*"):
        with suppress(OSError):
            if time.time() - folder.lstat().st_mtime > _OLD_S and not folder.is_symlink():
                shutil.rmtree(folder)

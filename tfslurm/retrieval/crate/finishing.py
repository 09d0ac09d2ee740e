"""Give a whole crate its name: as a folder, or as a zip archive, of which the same files give the same bytes."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from tfslurm.errors import refuse

ZIP = ".zip"
STORED = 2**24
"Bytes from which on a file is not compressed: weights hardly get smaller, and it takes long."
FIRST = 1980
"The first year that a zip archive can say."


def is_archive(output: Path) -> bool:
    """Whether a crate's name is that of one file."""
    return output.suffix.lower() == ZIP


def room(folder: Path) -> int:
    """The bytes that are free for a folder."""
    return shutil.disk_usage(folder).free


def move(source: Path, target: Path) -> None:
    """Give a file of a crate that is being made another place in it."""
    source.rename(target)


def finish(work: Path, output: Path, names: Sequence[str], moment: datetime) -> None:
    """Give the crate in ``work``, made of these files, its name, and remove the folder in which it was made.

    Raises:
        InputError: this machine refuses, or the name is taken by now.
    """
    folder = work / "crate"
    remove_others(folder, set(names))
    try:
        if is_archive(output):
            archive = work / f"crate{ZIP}"
            archive.unlink(missing_ok=True)
            pack(folder, names, archive, moment)
            os.link(archive, output)
        else:
            folder.rename(output)  # refused where there is something by now, but for an empty folder
    except OSError as error:
        raise refuse(str(output), f"cannot be written: {error.strerror}", "name another place") from error
    shutil.rmtree(work)


def pack(folder: Path, names: Sequence[str], archive: Path, moment: datetime) -> None:
    """Write a new archive of these files, by name; each is of this moment, and nobody's.

    Raises:
        OSError: this machine refuses.
    """
    when = moment.timetuple()[:6] if moment.year >= FIRST else (FIRST, 1, 1, 0, 0, 0)
    with zipfile.ZipFile(archive, "x") as packed:
        for name in sorted(names):
            status = (folder / name).stat()
            info = zipfile.ZipInfo(name, when)
            info.create_system = 3  # Unix, on every machine
            info.external_attr = (stat.S_IFREG | (0o755 if status.st_mode & stat.S_IXUSR else 0o644)) << 16
            info.compress_type = zipfile.ZIP_DEFLATED if status.st_size < STORED else zipfile.ZIP_STORED
            info.file_size = status.st_size
            with (folder / name).open("rb") as file, packed.open(info, "w") as inside:
                shutil.copyfileobj(file, inside, 2**20)


def remove_others(folder: Path, names: set[str]) -> None:
    """Remove what is in the crate's folder and not in the crate: a file that is left out, or is of another call."""
    for path, folders, files in os.walk(folder, topdown=False):
        for name in files:
            whole = Path(path, name)
            if str(whole.relative_to(folder)) not in names:
                whole.unlink()
        for name in folders:
            with suppress(OSError):
                Path(path, name).rmdir()  # one that holds something stays

"""A crate's folder as a zip archive; the same files give the same bytes on the same machine."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

STORED = 2**24
"Bytes from which on a file is not compressed: weights hardly get smaller, and it takes long."
FIRST = 1980
"The first year that a zip archive can say."


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

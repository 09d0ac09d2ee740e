"""What this machine remembers of the uploads to a registry: where each was when it was interrupted, and which blobs
are in which repository, so that another one there takes them over without sending them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from tfslurm.document.bounded_json import read_json
from tfslurm.errors import InputError, refuse
from tfslurm.image import check_digest
from tfslurm.local_files import claimed, make_folder, read_text, write_file
from tfslurm.registry.push import Upload
from tfslurm.workspace.folders import data_folder

LONGEST_LOCATION = 8192
MOST_REPOSITORIES = 200
"Of one registry, the newest."
MOST_BYTES = 4 * 2**20


class Uploads:
    """A context manager: within it, this process alone uploads to the repository ``name`` (REGISTRY/REPOSITORY)."""

    def __init__(self, name: str) -> None:
        self._name, self._registry = name, name.partition("/")[0]
        self._folder = folder_of(name)
        self._lock: IO[str] | None = None

    def __enter__(self) -> Uploads:
        try:
            make_folder(self._folder)
            self._lock = claimed(self._folder / "lock", wait=False)
        except OSError as error:
            raise refuse(str(self._folder), f"cannot be written: {error.strerror}", "free some space there") from error
        if self._lock is None:
            raise refuse(self._name, "another tfslurm is uploading there on this machine", "wait for it")
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock:
            self._lock.close()

    def begun(self, digest: str) -> Upload | None:
        """The upload of a blob that was interrupted; None: none is known."""
        found = kept(self._file(digest))
        location, offset = found.get("location"), found.get("offset")
        if not isinstance(location, str) or len(location) > LONGEST_LOCATION or type(offset) is not int or offset < 0:
            return None
        return Upload(location, offset)

    def keep(self, digest: str, upload: Upload) -> None:
        """Remember how far an upload is. It is not worth a failure: what is not remembered is sent again."""
        text = json.dumps({"location": upload.location, "offset": upload.offset})
        with suppress(OSError, InputError):
            write_file(self._file(digest), text.encode())

    def forget(self, digest: str) -> None:
        """The upload of a blob is over."""
        with suppress(OSError):
            self._file(digest).unlink(missing_ok=True)

    def remember(self, digests: Sequence[str]) -> None:
        """The repository has these blobs."""
        text = json.dumps({"name": self._name, "blobs": sorted({*digests, *self._blobs(self._folder)})})
        with suppress(OSError, InputError):
            write_file(self._folder / "there.json", text.encode())

    def repositories_with(self, digest: str) -> Iterator[str]:
        """Other repositories of the registry that had the blob when something was uploaded there."""
        with suppress(OSError):
            others = sorted(self._folder.parent.glob("*/there.json"), key=lambda file: -file.stat().st_mtime)
            for file in others[:MOST_REPOSITORIES]:
                name = str(kept(file).get("name"))
                registry, _, repository = name.partition("/")
                if registry == self._registry and name != self._name and digest in self._blobs(file.parent):
                    yield repository

    def _blobs(self, folder: Path) -> list[str]:
        blobs = kept(folder / "there.json").get("blobs")
        return [each for each in blobs if isinstance(each, str) and not check_digest(each)] if blobs else []

    def _file(self, digest: str) -> Path:
        return self._folder / f"{digest.partition(':')[2]}.json"


def folder_of(name: str) -> Path:
    """Where it is kept what was uploaded to a repository."""
    return data_folder() / "uploads" / sha256(name.encode()).hexdigest()[:24]


def kept(file: Path) -> dict[str, Any]:
    """What a file of ours holds; {} where it is not there, or is not what we wrote."""
    try:
        value = read_json(read_text(file, MOST_BYTES))
    except (InputError, ValueError, OSError):
        return {}
    return value if isinstance(value, dict) else {}

"""The user's YAML files, each checked once: the typed value of a text is kept until the text, or tfslurm, changes.

To load pydantic and yaml, build their models and check a file takes a third of a `submit` and more of a `status`.
Kept is what was accepted, never an error. It is a pickle of this package's own dataclasses, and nothing else is made
of it; the folder is the user's alone. See docs/adr/0089.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tfslurm import __version__
from tfslurm.cluster import Cluster, parse_cluster
from tfslurm.image.lock import Lock, read_lock
from tfslurm.local_files import KeptFiles, read_text
from tfslurm.spec import Experiment
from tfslurm.workspace.folders import data_folder

if TYPE_CHECKING:
    from tfslurm.spec.parsing import Check

T = TypeVar("T")

CHECKING = ("document", "spec", "cluster", "sweeps", "image", "slurm", "submission")
"The rooms whose code decides what a text means."
VALUES = {
    "tfslurm.spec.experiment",
    "tfslurm.cluster",
    *(f"tfslurm.image.{name}" for name in ("lock", "pin", "packages", "build_lock")),
}
"The modules whose classes a value is made of."
PLACES = 1024  # the most texts of a kind that are kept
SUM_BYTES = hashlib.sha256().digest_size


@lru_cache(maxsize=64)  # a command meets the same text several times
def checked_cluster(text: str, file: str) -> Cluster:
    """As ``parse_cluster``."""
    return once(Cluster, file, text, [], lambda text: parse_cluster(text, file))[1]


def checked_experiment(file: Path, overrides: Mapping[str, str], checks: Sequence[Check]) -> tuple[str, Experiment]:
    """The text of a file, and as ``parse_experiment``; ``checks`` are the package's own, known by their names."""

    def read(text: str) -> Experiment:
        from tfslurm.spec.parsing import parse_experiment

        return parse_experiment(text, str(file), overrides, checks)

    asked = [list(overrides.items()), [check.__qualname__ for check in checks]]
    return once(Experiment, str(file), None, asked, read)


def checked_lock(file: Path, image: str) -> Lock:
    """As ``read_lock``."""
    return once(Lock, str(file), None, [image], lambda text: read_lock(text, str(file), image))[1]


def once(
    kind: type[T], file: str, text: str | None, asked: Sequence[object], read: Callable[[str], T]
) -> tuple[str, T]:
    """The text of a file, unless it is given, and what ``read`` makes of it: as it was kept, else anew.

    Kept counts what was made of the same text, for the same ``asked``, by the same code. The value of the file's next
    text takes its place, and so may that of another file.
    """
    name = f"{kind.__name__.lower()}-{int.from_bytes(_sum(file)[:4], 'big') % PLACES}"
    kept = KeptFiles(_folder())
    text = read_text(Path(file)) if text is None else text
    data = kept.read(name) or b""
    of = _sum(kind.__name__, file, text, asked, CODE)
    head, pickled = data[: 2 * SUM_BYTES], data[2 * SUM_BYTES :]
    if head == of + hashlib.sha256(pickled).digest():
        with suppress(Exception):  # of a pickle that is none of ours, anything
            value = _Values(io.BytesIO(pickled)).load()
            if type(value) is kind:
                return text, value
    value = read(text)
    pickled = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    kept.write(name, of + hashlib.sha256(pickled).digest() + pickled)
    return text, value


def _folder() -> Path:
    try:
        return data_folder() / "checked"
    except RuntimeError:  # nobody's home
        return Path(os.devnull, "checked")


def _code() -> str:
    """What stands for the code that checks: the version and Python, and of each module its size and time of change."""
    package = Path(__file__).parent.parent
    modules = [
        (each.path, each.stat().st_size, each.stat().st_mtime_ns)
        for room in CHECKING
        for each in os.scandir(package / room)
        if each.name.endswith(".py")
    ]
    return json.dumps([__version__, sys.implementation.cache_tag, sorted(modules)])


CODE = _code()  # as this process has it, whatever is installed while it goes on


class _Values(pickle.Unpickler):
    """Makes the values of a file, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module in VALUES or (module, name) == ("pathlib", "PurePosixPath"):
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no value of a file")


def _sum(*words: object) -> bytes:
    return hashlib.sha256(json.dumps(words).encode()).digest()

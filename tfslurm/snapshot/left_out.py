"""The parts of a folder that are not sent as code: what `code: {exclude: […]}` names, and results that were fetched.

A stranger can write both into what he gives away. So a snapshot names each thing that it leaves out, and a marker takes
away no file that Git tracks.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

MARKER = ".tfslurm-fetched"
"The file that `tfslurm fetch` leaves in a folder of results."
MARKED = re.compile(r"tfslurm\.fetched/1 ([A-Za-z0-9][A-Za-z0-9:._-]{0,127})")
"Its first line, with the job or the sweep."


def marker(job: str) -> str:
    """Return the text of a marker."""
    return (
        f"tfslurm.fetched/1 {job}\n"
        "`tfslurm fetch` brought this folder. tfslurm sends nothing in it as code, but what Git tracks.\n"
        "If it is code now, remove this file and the .gitignore beside it.\n"
    )


def fetched_from(folder: Path) -> str:
    """Return the job or the sweep whose results a folder holds; '' where it has no marker of fetch."""
    with suppress(OSError):
        file = os.open(folder / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            text = os.read(file, 256) if stat.S_ISREG(os.fstat(file).st_mode) else b""
        finally:
            os.close(file)
        found = MARKED.fullmatch(text.decode("utf-8", "replace").partition("\n")[0])
        return found[1] if found else ""
    return ""


@dataclass(slots=True)
class LeftOut:
    """What one snapshot leaves out. Names are relative to its folder, which itself is code whatever marker it has.

    ``results`` are the folders with a marker that were met, with the job that each names.
    """

    folder: Path
    patterns: Sequence[str] = ()
    results: dict[str, str] = field(default_factory=dict)
    _fitting: dict[str, str] = field(default_factory=dict)
    _excluded: dict[str, bool] = field(default_factory=lambda: {"": False})
    _is_result: dict[str, bool] = field(default_factory=lambda: {"": False})

    def excludes(self, name: str, *, is_folder: bool = False) -> bool:
        """Whether a pattern fits the name, or a folder that it lies in."""
        above = name.rpartition("/")[0]
        if above not in self._excluded:
            self._excluded[above] = self.excludes(above, is_folder=True)
        return self._excluded[above] or self._fits(name, is_folder)

    def is_result(self, folder: str) -> bool:
        """Whether a folder has a marker, or lies in one that has."""
        if folder not in self._is_result:
            self._is_result[folder] = self.is_result(folder.rpartition("/")[0])
            if not self._is_result[folder] and (job := fetched_from(self.folder / folder)):
                self._is_result[folder], self.results[folder] = True, job
        return self._is_result[folder]

    def lines(self) -> tuple[str, ...]:
        """What was left out so far, and each pattern that nothing fits, for a reader."""
        results = [f"{folder}/ (fetched from {job})" for folder, job in sorted(self.results.items())]
        return (*results, *(f"{text} (exclude: {self._fitting.get(text, 'nothing fits')})" for text in self.patterns))

    def _fits(self, name: str, is_folder: bool) -> bool:
        path = name.split("/")
        fitting = [text for text in self.patterns if (is_folder or text[-1] != "/") and _fit(_parts(text), path)]
        for text in fitting:
            others = f"{self._fitting[text].removesuffix(', …')}, …" if text in self._fitting else name
            self._fitting[text] = others
        return bool(fitting)


@lru_cache(maxsize=1000)
def _parts(text: str) -> tuple[str, ...]:
    """The parts of a pattern as .gitignore reads it: without a `/` before its end it fits at any depth."""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    whole = parts if "/" in text.removesuffix("/") else ["**", *parts]
    return tuple(part for at, part in enumerate(whole) if part != "**" or whole[at - 1 : at] != ["**"])


def _fit(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether a pattern fits the whole path; `**` stands for any number of folders."""
    if pattern[0] == "**" and len(pattern) == 2:
        return fnmatchcase(path[-1], pattern[1])
    places = {0}
    for part in path:
        places = {after for place in places for after in _after(pattern, place, part)}
        if not places:
            return False
    return any(all(each == "**" for each in pattern[place:]) for place in places)


def _after(pattern: Sequence[str], place: int, part: str) -> Iterator[int]:
    if place == len(pattern):
        return
    if pattern[place] == "**":
        yield place
        yield from _after(pattern, place + 1, part)
    elif fnmatchcase(part, pattern[place]):
        yield place + 1

"""The code of two runs beside each other: which files differ, and how, as `diff -u` writes it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import unified_diff
from hashlib import sha256
from typing import NamedTuple

MOST_LINES = 3000
"Of one file, without the lines at both ends that are the same: a longer one is named with its size."
LONGEST_LINE = 2000
CONTEXT = 3
SUM = re.compile(rb"([0-9a-f]{64})  \./(.+)", re.DOTALL)
LINK = re.compile(rb"[0-9]{1,18} \./(.+?) -> (.*)", re.DOTALL)
RUNS = re.compile(rb"x \./(.+)", re.DOTALL)


class CodeFile(NamedTuple):
    """One file of a tree: what identifies it, and its bytes if they were read; else why not."""

    sha256: str
    content: bytes | None = None
    why: str = ""
    is_executable: bool = False
    target: str | None = None  # of a link

    @property
    def mode(self) -> str:
        """Its mode as Git writes it."""
        return "120000" if self.target is not None else "100755" if self.is_executable else "100644"


Tree = Mapping[str, CodeFile]


class FileChange(NamedTuple):
    """One file that differs; ``lines`` are those of a unified diff, without line ends; none where ``note`` says why.

    ``is_lock``: it is the lock file that the runs were submitted with.
    """

    path: str
    change: str  # 'added' | 'removed' | 'changed'
    note: str
    lines: tuple[str, ...]
    is_lock: bool = False

    @property
    def name(self) -> str:
        """The path, and what a reader should know of this file beside it."""
        return f"{self.path} (the lock file: what it pins is compared apart)" if self.is_lock else self.path


def tree_of(listed: bytes, contents: Mapping[str, bytes]) -> dict[str, CodeFile]:
    """The tree that a list of a snapshot names (``snapshot.files.contents``), with the contents that were read."""
    files: dict[str, CodeFile] = {}
    executable: set[str] = set()
    for row in listed.split(b"\0"):
        if found := SUM.fullmatch(row):
            path = found[2].decode("utf-8", "surrogateescape")
            why = contents.get(f"{path}.error", b"it was not read").decode("utf-8", "replace")
            files[path] = CodeFile(found[1].decode(), contents.get(path), "" if path in contents else why)
        elif found := RUNS.fullmatch(row):
            executable.add(found[1].decode("utf-8", "surrogateescape"))
        elif found := LINK.fullmatch(row):
            target = found[2].decode("utf-8", "surrogateescape")
            files[found[1].decode("utf-8", "surrogateescape")] = CodeFile("", b"", target=target)
    return {path: each._replace(is_executable=path in executable) for path, each in files.items()}


def changes(a: Tree, b: Tree, *, locks: tuple[str, str] = ("", "")) -> list[FileChange]:
    """The files that are not the same, in the order of their names; ``locks`` are the texts of the runs' lock files."""
    both = ((path, a.get(path), b.get(path)) for path in sorted(a.keys() | b.keys()))
    return [
        with_lock(change_of(path, one, other), one, other, locks)
        for path, one, other in both
        if not is_same(one, other)
    ]


def with_lock(found: FileChange, a: CodeFile | None, b: CodeFile | None, locks: tuple[str, str]) -> FileChange:
    """The change, marked where each file that there is has the text of its own run's lock file."""
    pairs = [(file, text) for file, text in zip((a, b), locks, strict=True) if file is not None]
    is_lock = all(text and file.sha256 == sha256(text.encode()).hexdigest() for file, text in pairs)
    return found._replace(is_lock=is_lock)


def is_same(a: CodeFile | None, b: CodeFile | None) -> bool:
    """Whether a file is the same in both trees."""
    return a is not None and b is not None and (a.sha256, a.mode, a.target) == (b.sha256, b.mode, b.target)


def change_of(path: str, a: CodeFile | None, b: CodeFile | None) -> FileChange:
    """How one file differs."""
    kind = "added" if a is None else "removed" if b is None else "changed"
    notes = [f"mode {a.mode} -> {b.mode}"] if a and b and a.mode != b.mode else []
    if any(each is not None and each.target is not None for each in (a, b)):
        old, new = (target_of(each) for each in (a, b))
        return FileChange(path, kind, ", ".join([*notes, f"{old} -> {new}"]), ())
    if a and b and a.sha256 == b.sha256:
        return FileChange(path, kind, ", ".join(notes), ())
    for each in (a, b):
        if each is not None and each.content is None:
            return FileChange(path, kind, ", ".join([*notes, each.why]), ())
    old_bytes, new_bytes = (b"" if each is None else each.content or b"" for each in (a, b))
    lines, why = text_diff(path, None if a is None else old_bytes, None if b is None else new_bytes)
    return FileChange(path, kind, ", ".join([*notes, why] if why else notes), lines)


def target_of(file: CodeFile | None) -> str:
    """A link, or what stands in its place."""
    return "none" if file is None else "a file" if file.target is None else f"a link to {file.target}"


def text_diff(path: str, a: bytes | None, b: bytes | None) -> tuple[tuple[str, ...], str]:
    """The lines of a unified diff, None: there is no such file; or none, and why."""
    sizes = f"{'none' if a is None else len(a)} -> {'none' if b is None else len(b)} bytes"
    try:
        old, new = ((each or b"").decode("utf-8") for each in (a, b))
    except UnicodeDecodeError:
        return (), f"binary, {sizes}"
    if "\0" in old or "\0" in new:
        return (), f"binary, {sizes}"
    one, other = lines_of(old), lines_of(new)
    first, last = same_ends(one, other)
    longest = max(len(one), len(other)) - first - last
    if longest > MOST_LINES or any(len(line) > LONGEST_LINE for side in (one, other) for line in side):
        return (), f"too long to compare line by line, {sizes}"
    names = "/dev/null" if a is None else f"a/{path}", "/dev/null" if b is None else f"b/{path}"
    return tuple(unified(one, other, max(0, first - CONTEXT), max(0, last - CONTEXT), names)), ""


def lines_of(text: str) -> list[str]:
    """The lines with their ends, as Git splits them: at line feeds alone."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def same_ends(a: list[str], b: list[str]) -> tuple[int, int]:
    """How many lines are the same at the beginning, and at the end beyond these."""
    most, first, last = min(len(a), len(b)), 0, 0
    while first < most and a[first] == b[first]:
        first += 1
    while last < most - first and a[-1 - last] == b[-1 - last]:
        last += 1
    return first, last


def unified(a: list[str], b: list[str], first: int, last: int, names: tuple[str, str]) -> Iterator[str]:
    """A unified diff of two texts without so many lines at their begin and their end, which both have."""
    one, other = a[first : len(a) - last], b[first : len(b) - last]
    for number, line in enumerate(unified_diff(one, other, *names, n=CONTEXT, lineterm="")):
        if number < 2:
            yield line
        elif line.startswith("@@"):
            yield re.sub(r"([-+])([0-9]+)", lambda found: f"{found[1]}{int(found[2]) + first}", line)
        else:
            yield line.removesuffix("\n")
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"

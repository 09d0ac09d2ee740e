"""Whether the files of a folder are those of its commit. Not by `git status`: settings change it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tfslurm.snapshot.files import EXECUTABLE, REGULAR, REPOSITORY, Entry, blob_id, pointer_id, tree_id
from tfslurm.snapshot.git import Head, committed_files, head_of


def is_committed(folder: Path, head: Head | None, entries: Sequence[Entry], nested: Sequence[str]) -> bool:
    """Say whether the commit names these very bytes and no others: the id of their tree is the one in the commit.

    A nested repository (a submodule) must be at the commit that this one names, and its files must be that commit's.
    Of a file in Git LFS a commit names the SHA-256, which must be the file's.
    """
    if head is None or not head.tree:
        return False
    own = _own(folder, head, entries, nested)
    if own is None:
        return False
    return tree_id(own, head.algorithm) == head.tree or _is_in_lfs(folder, head, own)


def _own(folder: Path, head: Head, entries: Sequence[Entry], nested: Sequence[str]) -> list[Entry] | None:
    """Return the entries of this repository's tree, one for each nested repository; None where one of those differs."""
    direct = [name for name in nested if not any(name.startswith(f"{other}/") for other in nested)]
    prefixes = tuple(f"{name}/" for name in direct)
    own = [entry for entry in entries if not entry.name.startswith(prefixes)]
    if head.algorithm != "sha1":
        own = [entry._replace(blob=blob_id(folder, entry, head.algorithm)) for entry in own]
    for name in direct:
        inside = folder / name
        theirs = [entry._replace(name=below) for entry, below in _below(name, entries)]
        deeper = [other.removeprefix(f"{name}/") for other in nested if other.startswith(f"{name}/")]
        its_head = head_of(inside, inside)
        if its_head is None or not is_committed(inside, its_head, theirs, deeper):
            return None
        own.append(Entry(name, REPOSITORY, its_head.commit, 0, ""))
    return own


def _below(folder: str, entries: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    for entry in entries:
        if entry.name.startswith(f"{folder}/"):
            yield entry, entry.name.removeprefix(f"{folder}/")


def _is_in_lfs(folder: Path, head: Head, own: Sequence[Entry]) -> bool:
    """Say whether every file that is not the commit's is one whose SHA-256 the commit names."""
    committed = committed_files(folder, head.tree, [entry.name for entry in own])
    if {entry.name for entry in own} != set(committed):
        return False
    rows: list[Entry] = []
    for entry in own:
        mode, blob = committed[entry.name]
        row = entry
        if entry.blob != blob and mode == entry.mode and mode in (REGULAR, EXECUTABLE):
            row = entry._replace(blob=pointer_id(entry, head.algorithm))
        if row.blob != blob:
            return False
        rows.append(row)
    return tree_id(rows, head.algorithm) == head.tree  # Git's list is not taken on trust

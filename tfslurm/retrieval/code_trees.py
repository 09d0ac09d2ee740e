"""The code that a record names by its tree: from its cluster or crate, else from the repository of this folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from tfslurm.errors import CommandFailed, HostError, TfslurmError, last_words
from tfslurm.host import Host, get
from tfslurm.host.files import tree_contents
from tfslurm.job_plan import TREE
from tfslurm.record.comparison.code import CodeFile, Tree, is_same, tree_of
from tfslurm.retrieval.evidence import Evidence
from tfslurm.snapshot.files import EXECUTABLE, REGULAR, SYMLINK, Entry, tree_id
from tfslurm.snapshot.git import contents_of, files_of_tree, top_of

MOST_BYTES = 16 * 2**20
"Of the files of one tree that are read."
MOST_OF_ONE = 2**20
SHOWN = 5
"Names of files that are not as they were."
GIT = "git:"
"How the id of a file begins whose content was not read."
NOTHING = CodeFile("")


def code_of(evidence: Evidence, here: Path) -> tuple[Tree | None, str]:
    """The tree of a record's code, and why it is not to be had; {} where no code was sent.

    Raises nothing: a cluster that does not answer is a reason.
    """
    code = evidence.record.code
    if code is None:
        return {}, ""
    if not TREE.fullmatch(code.tree):
        return None, f"{evidence.key}: {code.tree[:80]!r} is not the id of a tree"
    found, why = None, evidence.why or "its code is not on a machine that is known here"
    if evidence.host and evidence.code:
        found, why = tree_on(evidence.host, evidence.code, code.tree)
    if found is None:
        found = tree_in_git(here, code.tree)
    return found, "" if found is not None else f"{evidence.key}: {why}"


def tree_on(host: Host, folder: PurePosixPath, tree: str) -> tuple[Tree | None, str]:
    """The tree in a folder of code on a machine, and why it is not the one of this id."""
    found, why = files_on(host, folder)
    if found and is_whole(found) and id_of(found, tree) != tree:
        return None, f"{folder} was changed: it is not the tree of its name any more"
    return found, why


def files_on(
    host: Host, folder: PurePosixPath, most: int = MOST_BYTES, most_of_one: int = MOST_OF_ONE
) -> tuple[Tree | None, str]:
    """The files in a folder of code on a machine, whatever tree they are, and why they cannot be read."""
    try:
        listed = tree_contents(host, folder)
        contents = get(host, folder, max_bytes=most, max_file_bytes=most_of_one) if listed else {}
    except CommandFailed as error:
        return None, f"{folder} cannot be read on {host.name}: {last_words(error.completed)}"
    except HostError as error:
        return None, str(error).splitlines()[0]
    if not listed:
        return None, f"{folder} is not there any more"
    return {path: proved(each) for path, each in tree_of(listed, contents).items()}, ""


def proved(file: CodeFile) -> CodeFile:
    """The file without a content that is not the listed one."""
    if file.content is None or file.target is not None or hashlib.sha256(file.content).hexdigest() == file.sha256:
        return file
    return file._replace(content=None, why="it changed while it was read")


def is_whole(tree: Tree) -> bool:
    """Whether every file was read, so that the id of the tree can be computed."""
    return all(file.content is not None for file in tree.values())


def id_of(tree: Tree, like: str) -> str:
    """The id that Git gives to a tree, by the algorithm that made another id."""
    algorithm = "sha256" if len(like) == 64 else "sha1"
    return tree_id([entry_of(path, file, algorithm) for path, file in tree.items()], algorithm)


def entry_of(path: str, file: CodeFile, algorithm: str) -> Entry:
    """A file as the snapshot had it."""
    mode = SYMLINK if file.target is not None else EXECUTABLE if file.is_executable else REGULAR
    content = os.fsencode(file.target) if file.target is not None else file.content or b""
    blob = hashlib.new(algorithm, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return Entry(path, mode, blob, len(content), file.sha256)


def changed_files(tree: str, now: Tree, then: Tree | None, here: Path) -> str:
    """The files in which a tree of code is not the one of its id any more; '' where what they were is not to be had.

    ``then`` is the tree as it was, where that is known; else the repository of the folder ``here`` may have it.
    """
    before = then or tree_in_git(here, tree)
    if before is None:
        return ""
    names = [
        path
        for path in sorted(before.keys() | now.keys())
        if not is_same(before.get(path), now.get(path)) and not before.get(path, NOTHING).sha256.startswith(GIT)
    ]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}" if names else ""


def tree_in_git(here: Path, tree: str, most: int = MOST_BYTES, most_of_one: int = MOST_OF_ONE) -> Tree | None:
    """The tree as the repository of a folder has it; None where it has not, or not the whole."""
    try:
        if top_of(here.resolve()) is None:
            return None
        blobs = files_of_tree(here, tree)
        small, left = {}, most
        for name, blob in sorted(blobs.items(), key=lambda item: item[1].size):
            if 0 <= blob.size <= min(most_of_one, left):
                small[name] = blob
                left -= blob.size
        contents = contents_of(here, small.values())
    except TfslurmError:
        return None
    entries = [Entry(name, blob.mode, blob.id, blob.size, "") for name, blob in blobs.items()]
    if not blobs or tree_id(entries, "sha256" if len(tree) == 64 else "sha1") != tree:
        return None
    return {name: of_blob(blob.mode, blob.size, blob.id, contents) for name, blob in blobs.items()}


def of_blob(mode: int, size: int, blob: str, contents: Mapping[str, bytes]) -> CodeFile:
    """A file of a commit; what was not read is known by Git's id of it alone."""
    content = contents.get(blob)
    if mode == SYMLINK and content is not None:
        return CodeFile("", b"", target=os.fsdecode(content))
    digest = f"{GIT}{blob}" if content is None else hashlib.sha256(content).hexdigest()
    why = f"it was not read: {size} bytes" if content is None else ""
    return CodeFile(digest, content, why, mode == EXECUTABLE)

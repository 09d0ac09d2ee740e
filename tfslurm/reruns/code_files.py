"""The code of a run, written into a folder of this command's own, where it is proved by its tree id."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from tfslurm.errors import HostError, InputError, RecordError
from tfslurm.host import Host
from tfslurm.job_plan import TREE
from tfslurm.local_files import make_folder, write_file
from tfslurm.record.comparison.code import CodeFile, Tree
from tfslurm.reruns.original import Original
from tfslurm.retrieval.code_trees import files_on, id_of, is_whole, tree_in_git
from tfslurm.snapshot import LIMIT_BYTES, Snapshot, take_all
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session

CHANGED = "its files are not those of the tree that the record names"


def bring_code(
    session: Session, original: Original, known: Known, folder: Path, here: Path, *, anyway: bool
) -> tuple[Snapshot, str]:
    """The code as it lies in the new ``folder`` now, and a warning where it is not the record's.

    It comes from the original's crate or cluster, else from the cluster where it is to run, else from the repository
    that ``here`` lies in.

    Raises:
        RecordError: it is nowhere to be had, or it was changed; ``anyway``: the changed code is taken.
    """
    found, warning = found_code(session, original, known, here, anyway=anyway)
    write_tree(found, folder, original.name)
    taken = take_all(folder)
    tree = original.record.code.tree if original.record.code else ""
    if taken.tree != tree and not warning:
        raise RecordError(f"{original.name}: code: {CHANGED}: {taken.tree}, not {tree}; take the original")
    return taken, warning


def found_code(session: Session, original: Original, known: Known, here: Path, *, anyway: bool) -> tuple[Tree, str]:
    """The files of the code, and a warning where they are not the record's."""
    evidence = original.evidence
    assert original.record.code is not None  # noqa: S101 - asked for where there is code
    tree = original.record.code.tree
    if not TREE.fullmatch(tree):
        raise RecordError(f"{original.name}: code: {tree[:80]!r} is not the id of a tree")
    why = evidence.why or "its files are not on a machine that is known here"
    if evidence.host and evidence.code:
        there, why = whole(evidence.host, evidence.code)
        if there and id_of(there, tree) == tree:
            return there, ""
        if there and anyway:
            return there, f"code: {evidence.code}: {CHANGED}; --anyway runs it"
        if there:
            fix = "take the original, or add --anyway to run it as it is"
            raise RecordError(f"{original.name}: code: {evidence.code}: {CHANGED}; {fix}")
    found = on_cluster(session, known, tree) or tree_in_git(here, tree, LIMIT_BYTES, LIMIT_BYTES)
    if found is None:
        raise RecordError(f"{original.name}: code: {why}; run this in a clone of its repository")
    return found, ""


def whole(host: Host, folder: PurePosixPath) -> tuple[Tree | None, str]:
    """All files of a folder of code, and why they cannot be had."""
    found, why = files_on(host, folder, LIMIT_BYTES, LIMIT_BYTES)
    if found and not is_whole(found):
        return None, f"{folder}: " + next(f"{path}: {file.why}" for path, file in found.items() if file.content is None)
    return found, why


def on_cluster(session: Session, known: Known, tree: str) -> Tree | None:
    """The tree as the cluster has it where another job brought it; None where it has not, or does not answer."""
    try:
        found, _ = whole(session.reach(known), known.cluster.root / "code" / tree)
    except HostError:
        return None
    return found if found and id_of(found, tree) == tree else None


def write_tree(tree: Tree, folder: Path, name: str) -> None:
    """Write the files of the run ``name`` into a new folder: links last, so that nothing is written through one.

    Raises:
        RecordError: a name leads out of the folder, or is a repository's own.
    """
    make_folder(folder)
    here = Path(os.path.realpath(folder))
    for path, file in sorted(tree.items(), key=lambda item: item[1].target is not None):
        parts = PurePosixPath(path).parts
        if path.startswith("/") or not parts or ".." in parts or ".git" in (part.lower() for part in parts):
            raise RecordError(f"{name}: code: {path[:200]!r} is no name of a file of code")
        try:
            put_file(here / path, file)
        except (OSError, ValueError, InputError) as error:
            raise RecordError(f"{name}: code: {path[:200]!r} cannot be written here: {error}") from error


def put_file(path: Path, file: CodeFile) -> None:
    """Write one file or link, of which nothing is there.

    Raises:
        OSError: a link is on the way, which Git can name and no folder has; what it leads to is not touched.
    """
    if os.path.realpath(path.parent) != str(path.parent):
        raise OSError("it lies below a link")
    make_folder(path.parent)
    if file.target is not None:
        path.symlink_to(file.target)
    else:
        write_file(path, file.content or b"", mode=0o700 if file.is_executable else 0o600, replace=False)

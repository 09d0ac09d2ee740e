"""The errors that keep the tracker's file from being used, in words, each with its own fix."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from tfslurm.errors import TrackerError
from tfslurm.local_files import ANOTHERS

ELSEWHERE = "or set XDG_DATA_HOME to a folder that has room and may be written"
BY_WORDS = (  # SQLite's words for its result codes; source: sqlite3ErrStr in SQLite's main.c
    ("is locked", "another process has been writing it for 30 s", "wait for that, then try again"),
    (
        "readonly database",
        "may not be written",
        f"give yourself the right to write the file and its folder, {ELSEWHERE}",
    ),
    ("is full", "there is no space left, or your quota is used up", f"free some space, {ELSEWHERE}"),
    ("disk I/O error", "the disk refused: no space, no quota, or a fault", f"look with `df` and `quota`, {ELSEWHERE}"),
    ("unable to open", "may not be opened", f"give yourself the right to write the file and its folder, {ELSEWHERE}"),
    ("same thread", "was opened by another thread of this program", "call tfslurm from that one only"),  # sqlite3's own
)
BY_NUMBER = {
    errno.ENOSPC: BY_WORDS[2][1:],
    errno.EDQUOT: BY_WORDS[2][1:],
    errno.EACCES: BY_WORDS[1][1:],
    errno.EPERM: BY_WORDS[1][1:],
    errno.EROFS: ("is on a file system that may only be read", f"have it made writable, {ELSEWHERE}"),
    errno.ENOTDIR: ("a file stands where a folder must be", f"move that file away, {ELSEWHERE}"),
}
DAMAGED = "move the file away and run `tfslurm tracker rebuild`"


def trouble(path: Path, error: sqlite3.Error | OSError) -> TrackerError:
    """The error as a user can act on it; only a file that is damaged is to be moved away."""
    said = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror == ANOTHERS:
        return TrackerError(f"{error.filename or path}: {ANOTHERS}; move it away, {ELSEWHERE}")
    if isinstance(error, OSError):
        why, fix = BY_NUMBER.get(error.errno or 0, (error.strerror or said, f"look at its folder, {ELSEWHERE}"))
        where = error.filename or path
        return TrackerError(f"{where}: {why}; {fix}")
    for words, why, fix in BY_WORDS:
        if words in said:
            return TrackerError(f"{path}: {why} ({said}); {fix}", transient="locked" in said)
    return TrackerError(f"{path}: is damaged, or is not a tracker ({said}); {DAMAGED}")

"""Which paths a glob means. Part by part, so that no glob of a stranger takes long. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase


def is_meant(path: str, glob: str) -> bool:
    """Whether a path is one that bash finds with a glob: ``**`` is any number of folders, and what fits nothing is a
    name.
    """
    reached = {0}  # how many parts of the path the parts of the glob so far may stand for
    parts = path.split("/")
    for each in glob.replace("[^", "[!").split("/"):
        if each == "**":
            reached = set(range(min(reached, default=len(parts) + 1), len(parts) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatchcase(parts[at], each)}
    return len(parts) in reached or path == glob

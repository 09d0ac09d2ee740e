"""Which folders are a file's own: where it lies, and the repository around it."""

from __future__ import annotations

import os
from pathlib import Path


def own_folders(folder: Path) -> list[Path]:
    """The folder, and the top of the repository that it lies in.

    The top is the nearest folder above with a `.git` of this user's own, so that nobody else can widen it, and none
    that holds this user's home: a home may be a repository, and is no project.
    """
    above = [folder, *folder.parents]
    top = next((path for path in above if os.path.lexists(path / ".git")), None)
    return [folder, top] if top and _is_mine(top / ".git") and not holds_home(top) else [folder]


def belongs_to(folder: Path, place: Path) -> bool:
    """Whether a folder came with the files of a place: the place's own folders hold it.

    A home's hidden folders did not come with a file that lies there.
    """
    return any(_holds(own, folder) for own in own_folders(place))


def _holds(own: Path, folder: Path) -> bool:
    if not folder.is_relative_to(own):
        return False
    return not (any(part.startswith(".") for part in folder.relative_to(own).parts) and holds_home(own))


def _is_mine(path: Path) -> bool:
    return path.lstat().st_uid == os.geteuid()


def holds_home(folder: Path) -> bool:
    """Whether it is the home of this user, or holds it (`/`, `/home`): then it is no project's folder."""
    homes = {Path(os.path.expanduser(name)).resolve() for name in ("~", f"~{_login()}")}  # noqa: PTH111 - HOME may lack
    return any(home.is_relative_to(folder) for home in homes)


def _login() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # no entry for this user: HOME alone says it
        return ""

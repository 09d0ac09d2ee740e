"""The folders that tfslurm has on this machine: the user's configuration, its own data, and what it can get again."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class UserFolders(NamedTuple):
    """The two that hold what a user cannot get again, and the list of the folders that the user trusts."""

    config: Path
    data: Path
    trusted: Path


def user_folders() -> UserFolders:
    """Where these are for this command."""
    return UserFolders(config_folder(), data_folder(), trust_file())


def config_folder() -> Path:
    """~/.config/tfslurm, or where XDG_CONFIG_HOME says."""
    import platformdirs

    return _absolute(Path(platformdirs.user_config_dir("tfslurm")), ".config")


def data_folder() -> Path:
    """~/.local/share/tfslurm, or where XDG_DATA_HOME says."""
    import platformdirs

    return _absolute(Path(platformdirs.user_data_dir("tfslurm")), ".local/share")


def cache_folder() -> Path:
    """~/.cache/tfslurm, or where XDG_CACHE_HOME says: what it holds can be removed at any time."""
    import platformdirs

    return _absolute(Path(platformdirs.user_cache_dir("tfslurm")), ".cache")


def _absolute(folder: Path, usual: str) -> Path:
    """The folder; where XDG names a relative one, which would be another in each current folder, the usual one.

    Source: XDG Base Directory Specification, "consider the path invalid and ignore it".
    """
    return folder if folder.is_absolute() else Path.home() / usual / "tfslurm"


def tracker_file() -> Path:
    """Where the tracker is."""
    return data_folder() / "tracker.sqlite"


def trust_file() -> Path:
    """Where it is written which folders the user trusts."""
    return data_folder() / "trusted.json"

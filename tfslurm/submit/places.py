"""Where this user's own files are: the cluster files and the tracker."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from tfslurm.cluster import Cluster, parse_cluster
from tfslurm.errors import InputError, Problem, refuse
from tfslurm.local_files import read_text
from tfslurm.tracker import Tracker

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Known:
    """A cluster and the text that describes it; ``file`` None: it needs no file."""

    cluster: Cluster
    text: str
    file: Path | None

    @property
    def user(self) -> str:
        """Whose jobs: the login's user, else who runs this command."""
        login = self.cluster.login
        return login.user if login and login.user else getpass.getuser()


def config_folder() -> Path:
    """~/.config/tfslurm, or where XDG_CONFIG_HOME says."""
    import platformdirs

    return Path(platformdirs.user_config_dir("tfslurm"))


def data_folder() -> Path:
    """~/.local/share/tfslurm, or where XDG_DATA_HOME says."""
    import platformdirs

    return Path(platformdirs.user_data_dir("tfslurm"))


def open_tracker() -> Tracker:
    """This user's tracker."""
    return Tracker(data_folder() / "tracker.sqlite")


def cluster_files() -> dict[str, Path]:
    """Name -> file: ./cluster_configs first, then ~/.config/tfslurm/clusters. The file's name is the cluster's."""
    found: dict[str, Path] = {}
    for folder in (Path("cluster_configs"), config_folder() / "clusters"):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def read_cluster(path: Path) -> Known:
    """The cluster that a file describes.

    Raises:
        InputError: its problems, or a name that is not the file's.
    """
    text = read_text(path)
    cluster = parse_cluster(text, str(path))
    if cluster.name != path.stem:
        problem = cluster.problem(("name",), f"is {cluster.name!r} in a file named {path.name}", "make the two equal")
        raise InputError([problem])
    return Known(cluster, text, path)


def known_clusters(names: Sequence[str] = ()) -> list[Known]:
    """The named clusters in that order; all of them when none is named.

    Raises:
        InputError: an unknown name, or every problem of every file that is read.
    """
    files = cluster_files()
    for name in names:
        if name not in files and name != LOCAL:
            near = get_close_matches(name, files, 1)
            have = ", ".join(files) or "none: run `tfslurm init`"
            raise refuse(
                f"cluster {name!r}", f"is not known (known: {have})", f"did you mean {near[0]!r}?" if near else ""
            )
    found: list[Known] = []
    problems: list[Problem] = []
    for name in names or files:
        try:
            found.append(read_cluster(files[name]) if name in files else local_cluster())
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return found


def local_cluster() -> Known:
    """The cluster `local` for one that has no file: docker here, run folders under the user's data folder."""
    files = cluster_files()
    if LOCAL in files:
        return read_cluster(files[LOCAL])
    home = PurePosixPath(Path.home())
    root = PurePosixPath(data_folder()) / LOCAL
    text = f"name: {LOCAL}\nroot: {root}\nmounts: {{allow: [{home}, {PurePosixPath(Path.cwd())}]}}\n"
    cluster = Cluster(name=LOCAL, root=root, mounts_allow=(home, PurePosixPath(Path.cwd())))
    return Known(cluster, text, None)


def choose_clusters(asked: Sequence[str], experiment: Sequence[str]) -> list[Known]:
    """Where one experiment goes: --cluster, else its own `clusters`, else the only one that is configured.

    Raises:
        InputError: none is configured, or there are several and none was named.
    """
    names = list(asked or experiment)
    if not names:
        files = [name for name in cluster_files() if name != LOCAL]
        if len(files) != 1:
            have = ", ".join(files) if files else "none"
            fix = (
                "name one with --cluster"
                if files
                else "write ~/.config/tfslurm/clusters/NAME.yaml (`tfslurm init` makes one)"
            )
            raise refuse("cluster", f"which one? configured: {have}", fix)
        names = files
    return known_clusters(names)


def by_name(clusters: Sequence[Known]) -> Mapping[str, Known]:
    """The clusters by their names."""
    return {known.cluster.name: known for known in clusters}

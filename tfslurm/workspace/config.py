"""The clusters of a command, and this user's tracker."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from shutil import which
from typing import NamedTuple

from tfslurm.cluster import Cluster, Engine
from tfslurm.document import nearest
from tfslurm.errors import InputError, Problem, refuse
from tfslurm.host import remote_user, user_name
from tfslurm.local_files import as_text, read_own
from tfslurm.tracker import Tracker
from tfslurm.workspace.checked_files import checked_cluster
from tfslurm.workspace.cluster_files import (
    LARGEST,
    NEARBY,
    ClusterFile,
    ClusterFiles,
    Origin,
    Tell,
    cluster_files,
    named_files,
    tell_unused,
)
from tfslurm.workspace.folders import config_folder, data_folder, tracker_file, user_folders
from tfslurm.workspace.project import own_folders
from tfslurm.workspace.trust import OWN_FIX, read_trusted, refuse_reach

LOCAL = "local"


class Known(NamedTuple):
    """A cluster and the text that describes it; ``file`` None: it needs no file.

    ``origin``: the user's own file, one that the user trusts, one of the folder of --clusters, the text that a plan was
    submitted with, or tfslurm itself. ``files``: all cluster files, as they were when its own was looked up; None: it
    was not looked up among them.
    """

    cluster: Cluster
    text: str
    file: Path | None
    origin: Origin = "own"
    files: ClusterFiles | None = None

    @property
    def user(self) -> str:
        """Whose jobs: the user who logs in there, as the cluster file or else ssh has it; here who runs this command.

        Raises:
            HostError: ssh's settings cannot be understood.
        """
        login = self.cluster.login
        return remote_user(self.cluster.name, login) if login else user_name()


def open_tracker() -> Tracker:
    """This user's tracker."""
    return Tracker(tracker_file())


def has_tracker() -> bool:
    """Whether there is one yet; opening it makes one."""
    return tracker_file().exists()


def tracker_if_made() -> Tracker | None:
    """This user's tracker, None if there is none yet."""
    file = tracker_file()
    return Tracker(file) if file.exists() else None


def offered(folder: Path) -> list[Known]:
    """The clusters that a folder describes, for the user to look at before they are trusted.

    Raises:
        InputError: somebody else can change one of its files, one is no cluster file, or there is none.
    """
    real = Path(os.path.realpath(folder))
    found: list[Known] = []
    problems: list[Problem] = []
    for name in named_files(real):
        try:
            found.append(read_cluster(ClusterFile(real / f"{name}.yaml", "trusted")))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return found


def read_cluster(file: ClusterFile) -> Known:
    """The cluster that a file describes.

    Raises:
        InputError: its problems, or a name that is not the file's.
    """
    path, text = file.path, text_of(file)
    cluster = parse_known(text, str(path), path.stem, file.origin)
    if file.origin == "trusted":
        refuse_reach(cluster, came_with(Path(os.path.realpath(path.parent))))
    return Known(cluster, text, path, file.origin)


def text_of(file: ClusterFile) -> str:
    """The text of a cluster file.

    Raises:
        InputError: it cannot be read, or somebody else can change it.
    """
    return as_text(file.path, read_own(file.path, LARGEST, OWN_FIX) if file.data is None else file.data)


def came_with(folder: Path) -> list[Path]:
    """The folders that came with the cluster files of a folder: it, its project's, and the top of their repository."""
    project = folder.parent if folder.name == NEARBY.name else folder
    return [folder, *own_folders(project)]


def parse_known(text: str, where: str, name: str, origin: Origin) -> Cluster:
    """The cluster ``name`` that a text describes.

    Raises:
        InputError: its problems, another name, or what only a file of the user's own may say.
    """
    cluster = checked_cluster(text, where)
    if cluster.name != name:
        problem = cluster.problem(("name",), f"is {cluster.name!r} in a file named {name}.yaml", "make the two equal")
        raise InputError([problem])
    if origin != "own":
        refuse_reach(cluster)
    return cluster


def known_clusters(
    names: Sequence[str] = (), tell: Tell | None = None, files: ClusterFiles | None = None
) -> list[Known]:
    """The named clusters in that order; all of them when none is named.

    ``tell`` is called with a line for each file that could be meant and is not used. ``files``, where they were looked
    up already, have every one of the names.

    Raises:
        InputError: an unknown name, or every problem of every file that is read.
    """
    files = files or cluster_files(user_folders(), names)
    for name in names:
        if name not in files.used and name != LOCAL:
            raise unknown(name, files)
    if tell and (files.unused or files.shadowed):
        tell_unused(files, names, tell)
    found: list[Known] = []
    problems: list[Problem] = []
    for name in names or files.used:
        try:
            found.append(read_cluster(files.used[name]) if name in files.used else local_cluster())
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return [each._replace(files=files) for each in found]


def unknown(name: str, files: ClusterFiles) -> InputError:
    """The error for a cluster that has no file, or one that is not used."""
    if name in files.unused:
        each = files.unused[name]
        return refuse(f"cluster {name!r}", f"{each.path} is not used: {each.why}", each.fix)
    from difflib import get_close_matches

    trusted = read_trusted(files.folders.trusted).folders.items()
    elsewhere = (path for folder, names in trusted for path in map(Path(folder).joinpath, names) if path.is_file())
    have = list(dict.fromkeys([*files.used, *(path.stem for path in elsewhere)]))
    near = get_close_matches(name, have, 1)
    why = f"is not known (known: {', '.join(have) or 'none: run `tfslurm init`'})"
    write = f"describe it in {files.folders.config / 'clusters'}/NAME.yaml, or name another folder with --clusters DIR"
    return refuse(f"cluster {name!r}", why, f"did you mean {near[0]!r}?" if near else write)


def local_cluster(tell: Tell | None = None) -> Known:
    """The cluster `local`: as a file describes it, else this machine's engine, run folders among the user's data."""
    files = cluster_files(user_folders())
    if tell:
        tell_unused(files, [LOCAL], tell)
    return read_cluster(files.used[LOCAL]) if LOCAL in files.used else local_without_file()


def local_without_file() -> Known:
    """The same where no file speaks of it, be there one or not."""
    root = PurePosixPath(data_folder()) / LOCAL
    allow = here_to_mount()
    engine: Engine = "podman" if which("podman") and not which("docker") else "docker"
    mounts = json.dumps([str(one) for one in allow])
    text = f"name: {LOCAL}\nroot: {json.dumps(str(root))}\nengine: {engine}\nmounts: {{allow: {mounts}}}\n"
    return Known(Cluster(name=LOCAL, root=root, engine=engine, mounts_allow=allow), text, None, "built in")


def here_to_mount() -> tuple[PurePosixPath, ...]:
    """The folders that `local` lets an experiment mount where no file says so: the current one.

    Nothing, where that holds the home or tfslurm's own folders, or lies in a hidden folder of the home: keys,
    credentials and start-up files are there.
    """
    here = Path(os.path.realpath("."))
    home = Path(os.path.realpath(Path.home()))
    for private in (home, *(Path(os.path.realpath(each)) for each in (config_folder(), data_folder()))):
        if here == private or here in private.parents or (private != home and private in here.parents):
            return ()
    hidden = here.is_relative_to(home) and any(part.startswith(".") for part in here.relative_to(home).parts)
    return () if hidden else (PurePosixPath(here),)


def choose_clusters(asked: Sequence[str], experiment: Sequence[str], tell: Tell | None = None) -> list[Known]:
    """Where one experiment goes: --cluster, else its own `clusters`, else the only one that is configured.

    Raises:
        InputError: none is configured, there are several and none was named, or one is named where the experiment may
            not run.
    """
    for name in asked if experiment else ():
        if name not in experiment:
            fix = f"{nearest(name, experiment)}name one of these, or add it to `clusters` in the file"
            raise refuse(f"--cluster {name}", f"the experiment runs on {', '.join(experiment)} alone", fix)
    names, files = list(asked or experiment), None
    if not names:
        files = cluster_files(user_folders())
        names = [name for name in files.used if name != LOCAL]
        if not names and files.unused:
            raise unknown(next(iter(files.unused)), files)
        if len(names) != 1:
            have = ", ".join(names) if names else "none"
            fix = (
                "name one with --cluster"
                if names
                else "write ~/.config/tfslurm/clusters/NAME.yaml (`tfslurm init` makes one)"
            )
            raise refuse("cluster", f"which one? configured: {have}", fix)
    return known_clusters(names, tell, files)

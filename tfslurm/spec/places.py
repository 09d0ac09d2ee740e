"""Paths of the cluster and of the container: their form, and the places that are never mounted or covered."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from tfslurm.document import Refused, show

# Mounting one of these, or a folder that holds it, hands the node to whoever wrote the file.
_NEVER_SOURCES = {
    "/etc": "the node's configuration and password hashes",
    "/root": "the home of root",
    "/proc": "the node's processes",
    "/sys": "the node's kernel settings",
    "/dev": "the node's devices; GPUs are passed by `resources: {gpus: …}`",
    "/boot": "the node's kernel",
    "/run": "the sockets of the node's services, docker's among them",
    "/var/run": "the sockets of the node's services, docker's among them",
    "/var/lib/docker": "docker's own files",
    "/var/lib/containerd": "containerd's own files",
    "/var/lib/containers": "podman's own files",
    "/var/lib/lxd": "the socket of lxd, which is root on the node",
    "/var/snap/lxd": "the socket of lxd, which is root on the node",
    "/var/lib/incus": "the socket of incus, which is root on the node",
    "/var/lib/kubelet": "the kubelet's own files",
    "/var/spool/slurmd": "the scripts and credentials of running jobs",
    "/var/spool/slurm": "the scripts and credentials of running jobs",
    "/var/spool/cron": "commands that the node runs as root",
}
_NEVER_TARGETS = {
    "/workspace": "the code is there",
    "/run/tfslurm": "tfslurm's own files are there",
    "/run/secrets": "secrets are there",
    "/proc": "the container's kernel files are there",
    "/sys": "the container's kernel files are there",
    "/dev": "the container's devices are there",
    # https://github.com/NVIDIA/nvidia-container-toolkit: accept-nvidia-visible-devices-as-volume-mounts
    "/run/nvidia-container-devices": "NVIDIA's hook takes the names there for GPUs to give",
    "/var/run/nvidia-container-devices": "NVIDIA's hook takes the names there for GPUs to give",
    "/etc/passwd": "tfslurm puts the job's user there",
    "/etc/group": "tfslurm puts the job's user there",
    "/bin": "the image's programs are there, its shell among them",
    "/sbin": "the image's programs are there",
    "/usr/bin": "the image's programs are there",
    "/usr/sbin": "the image's programs are there",
}
# These may not be covered themselves; a folder below them may.
_NEVER_WHOLE = {
    "/run": "the container's own files are there",
    "/var/run": "it is /run in most images",
    "/home": "the program's home is made there",
    "/lib": "the image's libraries are there",
    "/lib32": "the image's libraries are there",
    "/lib64": "the image's libraries are there",
    "/usr/lib": "the image's libraries are there",
    "/usr/lib64": "the image's libraries are there",
}
_RUN = re.compile(
    r"run:(?P<cluster>[a-z0-9][a-z0-9-]{0,63}):(?P<job>[0-9]+(?:_[0-9]+(?:\.[0-9]+)?)?)/out(?P<below>/.*)?"
)
_NAMED = re.compile(r"(?P<name>[a-z0-9][a-z0-9_-]{0,63}):(?P<below>.*)", re.DOTALL)
_LONGEST = 4096
RUN = "run:"


def absolute(text: str) -> str:
    """The text, if it is an absolute path in its shortest form.

    Raises:
        Refused: a relative path, ``..``, ``.``, doubled or trailing slashes, control characters.
    """
    if not text.isprintable() and any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise Refused(f"{show(text)} holds a control character", "rename the folder")
    if not text.startswith("/"):
        raise Refused(f"{show(text)} is not an absolute path", "begin it with /; ~ and variables are not expanded")
    if ".." in text.split("/"):
        raise Refused(f"{show(text)} holds `..`", "write the path that is meant")
    shortest = "/" + str(PurePosixPath(text)).lstrip("/")
    if shortest != text:
        raise Refused(f"{show(text)} is not the shortest form of that path", f"write {shortest}")
    if len(text.encode("utf-8", "surrogatepass")) >= _LONGEST:
        raise Refused(f"a path of {len(text)} characters is too long", f"{_LONGEST - 1} bytes are the most")
    return text


def source(text: str) -> str:
    """The text, if it names the outputs of a run, data of the cluster's file, or a path that may ever be mounted.

    Raises:
        Refused: it is none of these.
    """
    if text.startswith(RUN):
        run_outputs(text)
    elif is_named(text):
        named(text)
    else:
        folder(text)
    return text


def is_named(text: str) -> bool:
    """Whether a source is `NAME:PATH`, of which the cluster's file says what the name stands for."""
    return bool(_NAMED.fullmatch(text)) and not text.startswith(RUN)


def named(text: str) -> tuple[str, str]:
    """Name and path below it of ``moons:train/a``: moons, ``train/a``; of ``moons:`` the path is ''.

    Raises:
        Refused: the path is absolute, not in its shortest form, or leads out.
    """
    name, _, below = text.partition(":")
    if below.startswith("/"):
        shorter = f"{name}:{below.strip('/')}"
        raise Refused(
            f"{show(text)}: the path behind a name is not absolute", f"write {shorter}, below the folder {name}"
        )
    if below:
        try:
            absolute(f"/{below}")
        except Refused as refused:
            raise Refused(
                f"{show(text)}: {refused.why}", "write a path below the named folder, as short as it can be"
            ) from None
    return name, below


def data_name(text: str) -> str:
    """The text, if it can be a name of data: `moons` of ``moons:train``.

    Raises:
        Refused: it cannot.
    """
    if ":" not in text and _NAMED.fullmatch(f"{text}:") and f"{text}:" != RUN:
        return text
    taken = ": `run:` names the outputs of runs" if text == "run" else ""
    raise Refused(f"{show(text)} is not a name of data{taken}", "write one of a-z, 0-9, - and _, such as moons")


def folder(text: str) -> str:
    """The text, if it is a path of the cluster that may ever be mounted; the cluster's own list narrows it further.

    Raises:
        Refused: it is none, or it is, lies in, or holds a place that is never mounted.
    """
    if absolute(text) == "/":
        raise Refused("'/' is the whole node, which is never mounted", "name the folder with the data")
    for place, why in _NEVER_SOURCES.items():
        if inside(text, place):
            raise Refused(f"{show(text)} is never mounted: {why}", "copy what the job needs to a data folder")
        if inside(place, text):
            raise Refused(f"{show(text)} is never mounted: it holds {place}, {why}", "name the folder with the data")
    return text


def target(text: str) -> str:
    """The text, if it is a container path that a mount or the outputs may cover.

    Raises:
        Refused: it is none, or it is ``/``, or something that must stay as it is lies there.
    """
    if absolute(text) == "/":
        raise Refused("'/' would cover the whole image", "name a folder such as /data")
    for place, why in _NEVER_TARGETS.items():
        if inside(text, place) or inside(place, text):
            raise Refused(f"{show(text)} cannot be covered: {why} ({place})", "name another folder such as /data")
    for place, why in _NEVER_WHOLE.items():
        if inside(place, text):
            raise Refused(f"{show(text)} cannot be covered: {why} ({place})", "name another folder such as /data")
    if text.startswith(("/run/tfslurm", "/var/run/tfslurm", "/var/run/secrets")):
        raise Refused(f"{show(text)} cannot be covered: names that begin so are tfslurm's", "name another folder")
    return text


def run_outputs(text: str) -> tuple[str, str, str]:
    """Cluster, job id and path below the job's folder of ``run:alpha:1234/out/model``: alpha, 1234, ``out/model``.

    Raises:
        Refused: it does not name the outputs of a run.
    """
    found = _RUN.fullmatch(text)
    if not found:
        fix = "write run:CLUSTER:JOB/out, such as run:alpha:1234/out/model"
        raise Refused(f"{show(text)} does not name the outputs of a run", fix)
    below = found["below"] or ""
    if below:
        absolute(below)
    return found["cluster"], found["job"], f"out{below}"


def meets(path: PurePosixPath, roots: Iterable[PurePosixPath]) -> PurePosixPath | None:
    """The first of the folders that a path is, holds or lies in, by components; None: it keeps clear of them all."""
    return next((root for root in roots if path == root or path in root.parents or root in path.parents), None)


def inside(path: str, folder: str) -> bool:
    """Whether a path is the folder itself or lies under it, by components; both in their shortest form."""
    return path == folder or path.startswith(f"{folder}/")

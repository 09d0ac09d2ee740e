"""The hunt for what must stand nowhere: a service's token, and the secrets of an experiment."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .bed import LOG
from .desk import USER, Desk, Done
from .docker import docker
from .podman import podman
from .users import run_as

FORMS = ("text", "json", "in-toto", "prov", "mlperf")


def hunt(desk: Desk, job: str, token: str, secret: str = "") -> None:
    """A token stands in no process, container, queue, account, log, file of the job or file of the desk.

    A secret of the experiment neither, but in the variables of the program and in its own file; both are the user's
    alone. And nobody else looks into the job's folder. For a job of any kind that runs, or has ended.
    """
    cluster, _, number = job.partition(":")
    places = {**dict(processes()), **queues(cluster, number), **containers(number)}
    for folder in (desk.root(cluster), desk.folder, LOG):
        places |= {str(path): text(path) for path in folder.rglob("*") if path.is_file()}
    assert number in places["scontrol"] and any(name.endswith("stderr.log") for name in places)
    found = [name for name, said in places.items() if token in said]
    if secret:
        own = re.compile(r"/proc/\d+/environ|.*/secrets/[^/]+")
        found += [name for name, said in places.items() if secret in said and not own.fullmatch(name)]
    assert not found, found
    assert run_as("bob", ["ls", desk.run_folder(job)]).returncode != 0


def hunt_what_is_kept(desk: Desk, job: str, token: str, secret: str = "") -> None:
    """Nor in what a user keeps of a job that has ended: its record in each form, its logs, and a crate of it."""
    shown = [desk.tfslurm("provenance", job, "--format", form) for form in FORMS]
    shown += [desk.tfslurm("provenance", job, "--format", "rocrate", "--anonymous", "-o", desk.folder / "crate")]
    shown += [desk.tfslurm("logs", job), desk.tfslurm("status", job, "-vv")]
    assert [each.returncode for each in shown] == [0] * len(shown), [each.stderr for each in shown]
    told = [each.args for each in shown for word in (token, secret) if word and word in each.stdout + each.stderr]
    assert not told, told
    hunt(desk, job, token, secret)  # the crate lies at the desk


def processes() -> Iterator[tuple[str, str]]:
    """The command line and the variables of every process of this host, on which all nodes are."""
    for path in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        try:
            yield str(path), path.read_bytes().decode("latin-1")
        except OSError:
            continue


def queues(cluster: str, number: str) -> dict[str, str]:
    """All that Slurm says of a job, to its user and to another."""
    asked = {
        "scontrol": ["scontrol", "show", "job", "--details", number],
        "scontrol steps": ["scontrol", "show", "step", number],
        "batch script": ["scontrol", "write", "batch_script", number, "-"],
        "squeue": ["squeue", f"--jobs={number}", "--format=%all"],
        "squeue steps": ["squeue", "--steps", f"--jobs={number}", "--format=%all"],
        "sacct": ["sacct", f"--jobs={number}", "--parsable", "--duplicates", "--format=ALL"],
    }
    return {
        name if user == USER else f"{name} by {user}": (done := run_as(user, argv, cluster)).stdout + done.stderr
        for user in (USER, "bob")
        for name, argv in asked.items()
    }


def containers(number: str) -> dict[str, str]:
    """What both engines know and keep of a job's containers."""
    label, found = f"label=tfslurm.slurm_job_id={number}", dict[str, str]()
    engines: dict[str, Callable[..., Done]] = {"docker": docker, "podman": partial(podman, USER)}
    for name, engine in engines.items():
        for each in engine("ps", "--all", "--quiet", "--filter", label).stdout.split():
            for verb in ("inspect", "logs"):
                done = engine(verb, each)
                found[f"{name} {verb} {each}"] = done.stdout + done.stderr
    return found


def text(path: Path) -> str:
    """The bytes of a file; '' where it has gone."""
    try:
        return path.read_bytes().decode("latin-1")
    except OSError:
        return ""

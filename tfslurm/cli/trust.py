"""tfslurm trust."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tfslurm.cli.console import agreed, emit, say, show
from tfslurm.cli.options import plain
from tfslurm.document.tree import printable
from tfslurm.errors import TfslurmError, refuse
from tfslurm.spec import Scan
from tfslurm.workspace.cluster_files import NEARBY, cluster_files, trusted_files
from tfslurm.workspace.config import Known, offered
from tfslurm.workspace.folders import trust_file, user_folders
from tfslurm.workspace.trust import Trusted, change_trusted, content_id, read_trusted

INDENT = len(f"  {'':12} ")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="[DIR]", required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--list", "list_them", is_flag=True, help="Show what you trust; change nothing.")
@click.option("--revoke", is_flag=True, help="End your trust in the files of DIR.")
@plain
def trust(folder: Path | None, yes: bool, list_them: bool, revoke: bool, as_json: bool) -> None:
    """Trust the cluster files of DIR (default: ./cluster_configs), until one of them changes.

    A cluster file decides where commands run, and as whom. The files of the current folder may come from a stranger,
    so tfslurm reads them only after this command. trust shows what each file says, and asks. If a file is changed or
    added later, tfslurm does not use it until you trust it again. Your own files in ~/.config/tfslurm/clusters always
    come first.
    """
    if list_them + revoke + yes > 1 or (list_them and folder):
        raise click.UsageError("--list, --revoke and --yes exclude each other, and --list takes no DIR")
    if list_them:
        show_trusted(read_trusted(trust_file()), as_json)
        return
    real = Path(os.path.realpath(folder or NEARBY))
    if revoke:
        no_more(real, as_json)
        return
    found = offered(real)
    before = read_trusted(trust_file())
    for known in found:
        say(*described(known, news(known, before)))
    files = {file_of(known).name: known.text.encode() for known in found}
    if before.trusting(real, files) != before:
        confirm(real, yes)
        change_trusted(trust_file(), lambda now: now.trusting(real, files))
    own = cluster_files(user_folders()).used
    for known in found:
        mine = own.get(known.cluster.name)
        if mine and mine.origin == "own" and os.path.realpath(mine.path) != str(file_of(known)):
            say(f"note: {file_of(known)} is not used all the same: {mine.path} is yours and has that name")
    if as_json:
        emit({"folder": str(real), "files": [as_value(known) for known in found]})
    else:
        show(f"{printable(str(real))}: {', '.join(known.cluster.name for known in found)}: trusted, as they are now")


def file_of(known: Known) -> Path:
    """The file of a cluster that was offered."""
    assert known.file is not None  # noqa: S101 - it was read from one
    return known.file


def news(known: Known, before: Trusted) -> str:
    """Whether a file is new, has changed, or is trusted already."""
    file = file_of(known)
    had = before.sha256(file.parent, file.name)
    if not had:
        return "new"
    return "trusted already" if had == content_id(known.text.encode()) else "CHANGED since you trusted it"


def described(known: Known, state: str) -> list[str]:
    """The decisions of a cluster file, line by line, for a person to judge."""
    rows = (line for key, text in decisions(known) for line in folded(key, printable(text)))
    return [f"{file_of(known)}: {state}", *rows]


def folded(key: str, text: str) -> list[str]:
    """A row in lines that fit the terminal, each under the first: none looks like a row of its own."""
    room = max(shutil.get_terminal_size().columns - INDENT - 1, 20)
    room = room if text.isascii() else room // 2  # some characters are two columns wide
    parts = [text[start : start + room] for start in range(0, len(text), room)] or [""]
    return [f"  {head:12} {part}" for head, part in zip([key, *[""] * len(parts)], parts, strict=False)]


def decisions(known: Known) -> list[tuple[str, str]]:
    """All that a cluster file says: what runs where, as whom, what it may see, and who may see it."""
    cluster = known.cluster
    login = cluster.login
    where = "none: its commands run on this machine, as you"
    if login:
        user, port = f"{login.user}@" if login.user else "", f":{login.port}" if login.port else ""
        over = f" over {login.proxy_jump}" if login.proxy_jump else ""
        where = f"{user}{login.host}{port}{over} ({login.transport})"
    rows = [("login", where), ("root", str(cluster.root))]
    if cluster.slurm_bin:
        rows.append(("slurm_bin", f"{cluster.slurm_bin}  (its programs run as you)"))
    rows += [("environment", f"{key}={value}  (it names plugins)") for key, value in cluster.environment.items()]
    engine = cluster.engine_environment.items()
    rows += [
        ("engine_environment", f"{key}={value}  (the engine's programs on the nodes obey it)") for key, value in engine
    ]
    rows.append(("mounts", ", ".join(map(str, cluster.mounts_allow)) or "nothing"))
    rows += [("mounts", f"{name}: is {folder}") for name, folder in cluster.data.items()]
    rows += [("mirrors", f"{name} from {', '.join(places)}") for name, places in cluster.mirrors.items()]
    rows += [("slurm", f"{key}: {value}") for key, value in cluster.slurm.items()]
    rows += [("plugin_options", f"{key}: {value}") for key, value in cluster.plugin_options.items()]
    others = "  (others may replace the root, and what runs leave)" if cluster.shared_parents == "accept" else ""
    rest = {
        "shared_parents": f"{cluster.shared_parents}{others}",
        "read_group": f"{cluster.read_group}  (may read what runs leave)",
        "ask": f"memory by --{cluster.ask.memory}, gpus by --{cluster.ask.gpus}",
        "engine": cluster.engine,
        "cgroup_parent": cluster.cgroup_parent,
        "limits": ", ".join(f"{key}: {value}" for key, value in asdict(cluster.limits).items()),
        "poll": f"min_interval: {cluster.min_interval_s}",
        "registry": f"{cluster.registry}  (images that you build go there)",
        "scan": rule_line(cluster.scan) if cluster.scan else "",
    }
    return [*rows, *((key, text) for key, text in rest.items() if (key,) in cluster.lines)]


def rule_line(rule: Scan) -> str:
    """A rule for what is known against an image, in one line."""
    ignored = ", ".join(each.id for each in rule.ignore) or "nothing"
    return f"fail_on: {rule.fail_on}, on_unknown: {rule.on_unknown}, max_age: {rule.max_age_s} s, ignore: {ignored}"


def confirm(folder: Path, yes: bool) -> None:
    """Ask whether the files are to be trusted.

    Raises:
        InputError: nobody can be asked.
        TfslurmError: they are not.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise refuse(str(folder), "nothing was trusted: there is no terminal to ask on", "add --yes")
    if not agreed("trust these files?"):
        raise TfslurmError(f"{folder}: nothing was trusted")


def no_more(folder: Path, as_json: bool) -> None:
    """Forget a folder.

    Raises:
        InputError: it was not trusted.
    """
    if not read_trusted(trust_file()).knows(folder):
        raise refuse(str(folder), "is not trusted", "`tfslurm trust --list` shows what is")
    change_trusted(trust_file(), lambda now: now.revoking(folder))
    if as_json:
        emit({"folder": str(folder), "files": []})
    else:
        text = "no longer trusted; tfslurm asks no more about jobs that were submitted with its files"
        show(f"{printable(str(folder))}: {text}")


def show_trusted(trusted: Trusted, as_json: bool) -> None:
    """Print the folders that are trusted, and how their files are now."""
    rows: list[dict[str, Any]] = []
    for folder, hashes in sorted(trusted.folders.items()):
        _, unused = trusted_files(Path(folder), user_folders())
        for name in sorted({*hashes, *(each.path.name for each in unused.values())}):
            each = unused.get(name.removesuffix(".yaml"))
            why = each.why if each else None if os.path.lexists(Path(folder, name)) else "it is gone"
            rows.append({"folder": folder, "file": name, "sha256": hashes.get(name), "unused": why})
    if as_json:
        emit(rows)
        return
    for row in rows:
        show(printable(f"{row['folder']}/{row['file']}") + (f": not used: {row['unused']}" if row["unused"] else ""))
    if not rows:
        say("nothing is trusted; your own cluster files need no trust")


def as_value(known: Known) -> dict[str, Any]:
    """One file for --json."""
    return {
        "file": str(file_of(known)),
        "cluster": known.cluster.name,
        "sha256": content_id(known.text.encode()),
        "decides": [{"key": key, "value": text} for key, text in decisions(known)],
    }

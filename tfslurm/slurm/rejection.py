"""Explain why sbatch refused a job, with the names and sizes that it would have taken. Pure.

sbatch's words are those of slurm_errno.c, which have not changed between 20.11 and 24.11 in the lines looked for here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tfslurm.errors import LONGEST_WORDS
from tfslurm.slurm.site import Account, Partition

MOST_NAMES = 200
LONGEST_NAME = 100
"Of what is compared with what was typed, and listed."


@dataclass(frozen=True, slots=True)
class Site:
    """The cluster and the job as far as they are known when sbatch refuses; empty where it could not be asked."""

    partitions: Sequence[Partition]
    accounts: Sequence[Account]
    asked: Mapping[str, str]
    partition: str = ""  # as sbatch repeated it


def explain_rejection(
    stderr: str,
    partitions: Sequence[Partition] = (),
    accounts: Sequence[Account] = (),
    asked: Mapping[str, str] | None = None,
) -> str:
    """The fix, in one or two lines; '' when there is nothing to add to sbatch's own words.

    ``asked`` are the job's directives (long names), which say what to compare with what the site has.
    """
    for pattern, explain in WORDS:
        if found := re.search(pattern, stderr[-LONGEST_WORDS:], re.IGNORECASE):
            typed = found.groupdict().get("partition") or ""
            site = Site(partitions[:MOST_NAMES], accounts[:MOST_NAMES], asked or {}, typed)
            return explain if isinstance(explain, str) else explain(site)
    return ""


def unknown_partition(site: Site) -> str:
    """The partitions there are."""
    typed = site.partition or site.asked.get("partition", "")
    if not site.partitions:
        return "write a partition that `sinfo` lists as `slurm: {partition: …}`"
    return f"partition {typed!r} is not on this cluster; it has: {partition_list(site, typed)}"


def no_default(site: Site) -> str:
    """The partitions there are, none of which Slurm takes by itself."""
    return f"this cluster has no default partition; write one as `slurm: {{partition: …}}`: {partition_list(site, '')}"


def partition_list(site: Site, typed: str) -> str:
    """The partitions' names, the nearest first."""
    labels = {part.name: part.name + (" (default)" if part.is_default else "") for part in site.partitions}
    return ", ".join(labels[name] for name in nearest(typed, tuple(labels))) or "none that you may see"


def unknown_account(site: Site) -> str:
    """The user's accounts that fit the partition."""
    typed = site.asked.get("account", "")
    partition = site.asked.get("partition", "")
    usable = [entry for entry in site.accounts if entry.partition in ("", partition) or not partition]
    names = nearest(typed, tuple(dict.fromkeys(entry.account for entry in usable)))
    if not names:
        return "Slurm knows no account of yours here; ask the administrators to add you (`sacctmgr add user`)"
    what = f"account {typed!r} is not yours here" if typed else "your default account cannot be used here"
    return f"{what}; write one of these as `slurm: {{account: …}}`: {', '.join(names)}"


def unknown_qos(site: Site) -> str:
    """The QOS that the user's account may name."""
    typed, account = site.asked.get("qos", ""), site.asked.get("account", "")
    usable = [entry for entry in site.accounts if account in ("", entry.account)]
    names = nearest(typed, tuple(dict.fromkeys(name for entry in usable for name in entry.qos)))
    what = f"qos {typed!r} is not yours" if typed else "your default qos cannot be used"
    return f"{what}; yours are: {', '.join(names)}" if names else f"{what}; `sacctmgr show qos` lists them"


def too_long(site: Site) -> str:
    """The longest time of each partition."""
    limits = {part.name: part.time_limit_s for part in site.partitions}
    words = ", ".join(f"{name} {duration(limit)}" for name, limit in limits.items())
    asked = f"time {site.asked['time']!r}" if "time" in site.asked else "no `time`"
    return f"the job asks for {asked}; the longest per partition: {words}" if words else "ask for less time"


def too_large(site: Site) -> str:
    """The size of each partition's nodes."""
    rows = [
        f"{part.name}: {part.nodes} nodes of up to {part.cpus_per_node} cpus, {part.memory_mib_per_node} MiB, "
        + (", ".join(part.gres) or "no GPUs")
        for part in site.partitions
    ]
    keys = ("nodes", "cpus-per-task", "mem", "mem-per-cpu", "gres", "gpus-per-node")
    asked = [f"{key}={site.asked[key]}" for key in keys if key in site.asked]
    head = f"the job asks for {' '.join(asked)}; write `resources` that fit; available"
    return f"{head}: {'; '.join(rows)}" if rows else "ask for less in `resources`"


WANTS, THERE = "wants it so, write", "in the cluster file"
WORDS: tuple[tuple[str, str | Callable[[Site], str]], ...] = (
    (r"invalid partition (?:name )?specified(?:: (?P<partition>\S+))?", unknown_partition),
    (r"no partition specified", no_default),
    (r"invalid account or account/partition", unknown_account),
    (r"invalid qos specification", unknown_qos),
    (r"requested time limit is invalid|time limit .*exceeds", too_long),
    (r"node configuration is not available|memory specification can not be satisfied", too_large),
    (r"invalid generic resource|invalid trackable resource", too_large),
    (r"node count specification invalid|more processors requested than permitted", too_large),
    (r"violates accounting/qos policy", "you are at a limit of your account or QOS: `sacctmgr show assoc`"),
    (r"group not permitted to use this partition", "another partition may be open to you: see `sinfo`"),
    (r"invalid feature specification", "`sinfo --format=%f` lists the features that `constraint` may name"),
    (r"invalid node name", "`sinfo --Node` lists the nodes"),
    (r"reservation is invalid|requested reservation", "`scontrol show reservation` lists them"),
    (r"invalid job array specification", "the sweep is larger than MaxArraySize: `tfslurm check` shows it"),
    # a site's own submit filter, in its own words; after Slurm's
    (
        r"mem[- ]per[- ]cpu|memory per (?:cpu|core)|--mem\b",
        f"if the site {WANTS} `ask: {{memory: mem-per-cpu}}` {THERE}",
    ),
    (r"gpus[- ]per[- ]node|--gres\b", f"if the site {WANTS} `ask: {{gpus: gpus-per-node}}` {THERE}"),
    (r"required node not available", "a node that you name is down or reserved: see `sinfo -R`"),
    (  # sbatch gave up waiting, which says nothing about the job
        r"socket timed out|zero bytes were transmitted|unexpected message received",
        "the controller may have taken the job all the same: look for its name in `squeue` before submitting again",
    ),
    (r"unable to contact slurm controller", "slurmctld does not answer; try again in a minute"),
)


def nearest(typed: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names, those most like what was typed first."""
    names = [name for name in names if len(name) <= LONGEST_NAME][:MOST_NAMES]
    close = difflib.get_close_matches(typed, names, n=len(names) or 1, cutoff=0.5)
    return (*close, *(name for name in names if name not in close))


def duration(seconds: int | None) -> str:
    """The seconds as Slurm writes them."""
    if seconds is None:
        return "unlimited"
    days, rest = divmod(seconds, 86400)
    return f"{days}-{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"

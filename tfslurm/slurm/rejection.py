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


def explain_rejection(
    stderr: str,
    partitions: Sequence[Partition] = (),
    accounts: Sequence[Account] = (),
    asked: Mapping[str, str] | None = None,
) -> str:
    """The fix, in one or two lines; '' when there is nothing to add to sbatch's own words.

    ``asked`` are the job's directives (long names), which say what to compare with what the site has.
    """
    site = Site(partitions[:MOST_NAMES], accounts[:MOST_NAMES], asked or {})
    for pattern, explain in WORDS:
        found = re.search(pattern, stderr[-LONGEST_WORDS:], re.IGNORECASE)
        if found:
            return explain(found, site)
    return ""


def unknown_partition(found: re.Match[str], site: Site) -> str:
    """The partitions there are."""
    typed = found["name"] if found["name"] else site.asked.get("partition", "")
    if not site.partitions:
        return "write a partition that `sinfo` lists as `slurm: {partition: …}`"
    return f"partition {typed!r} is not on this cluster; it has: {partition_list(site, typed)}"


def no_default(found: re.Match[str], site: Site) -> str:
    """The partitions there are, none of which Slurm takes by itself."""
    return f"this cluster has no default partition; write one as `slurm: {{partition: …}}`: {partition_list(site, '')}"


def partition_list(site: Site, typed: str) -> str:
    """The partitions' names, the nearest first."""
    labels = {part.name: part.name + (" (default)" if part.is_default else "") for part in site.partitions}
    return ", ".join(labels[name] for name in nearest(typed, tuple(labels))) or "none that you may see"


def unknown_account(found: re.Match[str], site: Site) -> str:
    """The user's accounts that fit the partition."""
    typed = site.asked.get("account", "")
    partition = site.asked.get("partition", "")
    usable = [entry for entry in site.accounts if entry.partition in ("", partition) or not partition]
    names = nearest(typed, tuple(dict.fromkeys(entry.account for entry in usable)))
    if not names:
        return "Slurm knows no account of yours here; ask the administrators to add you (`sacctmgr add user`)"
    what = f"account {typed!r} is not yours here" if typed else "your default account cannot be used here"
    return f"{what}; write one of these as `slurm: {{account: …}}`: {', '.join(names)}"


def unknown_qos(found: re.Match[str], site: Site) -> str:
    """The QOS that the user's account may name."""
    typed, account = site.asked.get("qos", ""), site.asked.get("account", "")
    usable = [entry for entry in site.accounts if account in ("", entry.account)]
    names = nearest(typed, tuple(dict.fromkeys(name for entry in usable for name in entry.qos)))
    what = f"qos {typed!r} is not yours" if typed else "your default qos cannot be used"
    return f"{what}; yours are: {', '.join(names)}" if names else f"{what}; `sacctmgr show qos` lists them"


def too_long(found: re.Match[str], site: Site) -> str:
    """The longest time of each partition."""
    limits = {part.name: part.time_limit_s for part in site.partitions}
    words = ", ".join(f"{name} {duration(limit)}" for name, limit in limits.items())
    asked = f"time {site.asked['time']!r}" if "time" in site.asked else "no `time`"
    return f"the job asks for {asked}; the longest per partition: {words}" if words else "ask for less time"


def too_large(found: re.Match[str], site: Site) -> str:
    """The size of each partition's nodes."""
    rows = [
        f"{part.name}: {part.nodes} nodes of up to {part.cpus_per_node} cpus, {part.memory_mib_per_node} MiB, "
        + (", ".join(part.gres) or "no GPUs")
        for part in site.partitions
    ]
    asked = [f"{key}={site.asked[key]}" for key in ("nodes", "cpus-per-task", "mem", "gres") if key in site.asked]
    head = f"the job asks for {' '.join(asked)}; write `resources` that fit one of these"
    return f"{head}: {'; '.join(rows)}" if rows else "ask for less in `resources`"


def in_doubt(found: re.Match[str], site: Site) -> str:
    """sbatch gave up waiting, which says nothing about the job."""
    return "the controller may have taken the job all the same: look for its name in `squeue` before submitting again"


def advice(text: str) -> Callable[[re.Match[str], Site], str]:
    """An explanation that needs no more than its words."""
    return lambda found, site: text


WORDS: tuple[tuple[str, Callable[[re.Match[str], Site], str]], ...] = (
    (r"invalid partition (?:name )?specified(?:: (?P<name>\S+))?", unknown_partition),
    (r"no partition specified", no_default),
    (r"invalid account or account/partition", unknown_account),
    (r"invalid qos specification", unknown_qos),
    (r"requested time limit is invalid|time limit .*exceeds", too_long),
    (r"node configuration is not available|memory specification can not be satisfied", too_large),
    (r"invalid generic resource|invalid trackable resource", too_large),
    (r"node count specification invalid|more processors requested than permitted", too_large),
    (r"violates accounting/qos policy", advice("you are at a limit of your account or QOS: `sacctmgr show assoc`")),
    (r"group not permitted to use this partition", advice("another partition may be open to you: see `sinfo`")),
    (r"invalid feature specification", advice("`sinfo --format=%f` lists the features that `constraint` may name")),
    (r"invalid node name", advice("`sinfo --Node` lists the nodes")),
    (r"reservation is invalid|requested reservation", advice("`scontrol show reservation` lists them")),
    (r"invalid job array specification", advice("the sweep is larger than MaxArraySize: `tfslurm check` shows it")),
    (r"required node not available", advice("a node that you name is down or reserved: see `sinfo -R`")),
    (r"socket timed out|zero bytes were transmitted|unexpected message received", in_doubt),
    (r"unable to contact slurm controller", advice("slurmctld does not answer; try again in a minute")),
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

"""Slurm's answers about itself -> facts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tfslurm.check.fact import Fact, gib, numbers, unknown
from tfslurm.host.folder_permissions import SharedFolder
from tfslurm.slurm import Account, Partition, SlurmConfig
from tfslurm.slurm.profile import SiteProfile as Site
from tfslurm.slurm.rejection import duration, nearest
from tfslurm.spec import Option
from tfslurm.workspace.site_cache import age

CONFIG_FACTS = ("slurm", "accounting", "MaxArraySize", "MaxSubmitJobs", "KillWait", "JobRequeue", "PreemptMode")
OLDEST = (20, 11)
SHORT_KILL_WAIT_S = 30
NODE_LOCAL = ("tmpfs", "ramfs", "overlayfs", "overlay", "squashfs", "rootfs")
LITTLE_MIB = 1024


def site_facts(site: Site, options: Mapping[str, Option], user: str) -> list[Fact]:
    """Everything that Slurm was asked. ``options`` are the cluster file's `slurm:`."""
    settings = config_facts(site, user)
    if site.age_s:
        settings = [replace(fact, value=f"{fact.value}; asked {age(site)}") for fact in settings]
    named = [*named_partition_facts(site, options), *named_account_facts(site, options, user)]
    return [*settings, *partition_facts(site), *named]


def config_facts(site: Site, user: str) -> list[Fact]:
    """Version, accounting and the settings that a job's life depends on."""
    config = site.config
    if config is None:
        why = site.why.get("config", "not asked")
        fix = "nothing can be submitted: see that `scontrol ping` answers there (`slurm_bin`, `environment`)"
        return [Fact("slurm", "FAIL", why, fix), *unknown(CONFIG_FACTS[1:], "Slurm's configuration could not be read")]
    return [
        version_fact(config),
        accounting_fact(site, config),
        array_fact(config),
        submit_fact(site, user),
        kill_wait_fact(config),
        requeue_fact(config),
        preempt_fact(config),
    ]


def version_fact(config: SlurmConfig) -> Fact:
    """The controller's version: it answered, so it is up."""
    value = f"{config.version}, slurmctld of {config.cluster_name or 'this cluster'} answers"
    if numbers(config.version) < OLDEST:
        return Fact("slurm", "warn", value, "older than 20.11, which tfslurm was not tried with")
    return Fact("slurm", "ok", value)


def accounting_fact(site: Site, config: SlurmConfig) -> Fact:
    """Is there an accounting database, does it answer, and does it keep the comment that names a job's plan?"""
    if not config.has_accounting:
        fix = "jobs are followed by the files that they leave; nothing to do, unless you want `sacct`"
        return Fact("accounting", "warn", "none (no slurmdbd)", fix)
    if site.accounts is None:
        fix = "ended jobs are followed by the files that they leave until it answers again"
        return Fact("accounting", "warn", f"slurmdbd does not answer: {site.why.get('accounts', '')}", fix)
    comments = "job comments are kept" if config.keeps_comment else "job comments are not kept: jobs are known by name"
    return Fact("accounting", "ok", f"slurmdbd {'answered' if site.age_s else 'answers'}; {comments}")


def array_fact(config: SlurmConfig) -> Fact:
    """The largest job array."""
    size = config.max_array_size
    if size is None:
        return Fact("MaxArraySize", "unknown", "this Slurm does not print it")
    if size < 2:
        return Fact("MaxArraySize", "FAIL", f"{size}: job arrays are off", "sweeps need them: ask the site")
    kept = f"; slurmctld keeps {config.max_job_count} jobs" if config.max_job_count else ""
    return Fact("MaxArraySize", "ok", f"{size}: one array has indices 0 to {size - 1}{kept}")


def submit_fact(site: Site, user: str) -> Fact:
    """The most jobs that the user may have at once, array tasks counted one by one."""
    if site.limits is None:
        return Fact("MaxSubmitJobs", "unknown", site.why.get("limits", "no accounting to ask"))
    words = []
    for limit in site.limits:
        where = "/".join(filter(None, [limit.account, limit.partition]))
        words += [f"{where} {limit.own}"] if limit.own is not None else []
        words += [f"{where} {limit.group} together with its other users"] if limit.group is not None else []
    mine = {name for account in site.accounts or () for name in account.qos}
    words += [f"qos {name} {limit}" for name, limit in site.qos_limits.items() if name in mine]
    if not words:
        return Fact("MaxSubmitJobs", "ok", f"no limit is set for {user}")
    return Fact("MaxSubmitJobs", "ok", "; ".join(words), "each task of an array counts as a job")


def kill_wait_fact(config: SlurmConfig) -> Fact:
    """The time that a program has between TERM and KILL."""
    seconds = config.kill_wait_s
    if seconds is None:
        return Fact("KillWait", "unknown", "this Slurm does not print it")
    value = f"{seconds} s between TERM and KILL at the time limit and at scancel"
    if seconds < SHORT_KILL_WAIT_S:
        return Fact(
            "KillWait", "warn", value, "shorter than Slurm's default of 30: save with `checkpoint: {before_end: …}`"
        )
    return Fact("KillWait", "ok", value)


def requeue_fact(config: SlurmConfig) -> Fact:
    """The site's way with a job whose node dies."""
    if not config.text("JobRequeue"):
        return Fact("JobRequeue", "unknown", "this Slurm does not print it")
    if config.requeues:
        return Fact("JobRequeue", "ok", "1: the site starts jobs of a lost node again, unless a job says --no-requeue")
    return Fact("JobRequeue", "ok", "0: jobs start again only with `checkpoint: {requeue: true}`")


def preempt_fact(config: SlurmConfig) -> Fact:
    """May other jobs push one out?"""
    mode = config.text("PreemptMode")
    if not mode:
        return Fact("PreemptMode", "unknown", "this Slurm does not print it")
    if mode.upper() == "OFF" or config.text("PreemptType") in ("", "preempt/none"):
        return Fact("PreemptMode", "ok", f"{mode}: a running job is not pushed out")
    value = f"{mode} ({config.text('PreemptType')}): a running job may be pushed out by another"
    if "CANCEL" in mode.upper():
        fix = "such a job is cancelled, not queued again: `checkpoint: {requeue: true}` serves the time limit only"
        return Fact("PreemptMode", "warn", value, fix)
    return Fact("PreemptMode", "warn", value, "write `checkpoint: {signal: USR1, requeue: true}` in exp.yaml")


def partition_facts(site: Site) -> list[Fact]:
    """One fact for each partition that the user may see."""
    if site.partitions is None:
        return unknown(["partitions"], site.why.get("partitions", "not asked"))
    if not site.partitions:
        return [Fact("partitions", "FAIL", "none that you may see", "ask the site for access to one")]
    return [partition_fact(part) for part in site.partitions]


def partition_fact(part: Partition) -> Fact:
    """One partition: its GPUs, its idle nodes, its time limit."""
    words = [
        *(["default"] if part.is_default else []),
        f"{part.nodes} {'node' if part.nodes == 1 else 'nodes'}, {part.idle_nodes} idle",
        " or ".join(part.gres) + " a node" if part.gres else "no GPUs",
        f"{part.cpus_per_node} cpus, {gib(part.memory_mib_per_node)} a node",
        f"time limit {duration(part.time_limit_s)}",
    ]
    if not part.is_up:
        return Fact(f"partition {part.name}", "warn", ", ".join(["not up", *words]), "jobs wait there until it is up")
    return Fact(f"partition {part.name}", "ok", ", ".join(words))


def target(options: Mapping[str, Option], partitions: Sequence[Partition]) -> Partition | None:
    """The partition that jobs go to unless an experiment says otherwise; None: there is no such one."""
    named = str(options.get("partition", "")).split(",")[0]
    return next((part for part in partitions if (part.name == named if named else part.is_default)), None)


def named_partition_facts(site: Site, options: Mapping[str, Option]) -> list[Fact]:
    """`slurm: {partition: …}`, each of its names; without one, is there a default?"""
    text = str(options.get("partition", ""))
    if site.partitions is None:
        return unknown(["slurm.partition"], "the partitions could not be listed") if text else []
    have = [part.name for part in site.partitions]
    if not text and not target(options, site.partitions):
        fix = f"write `slurm: {{partition: …}}` in the cluster file: {', '.join(have)}"
        return [Fact("slurm.partition", "FAIL", "none is named, and the cluster has no default partition", fix)]
    missing = [name for name in text.split(",") if name and name not in have]
    if missing:
        return [Fact("slurm.partition", "FAIL", f"{missing[0]!r} is not on this cluster", instead(missing[0], have))]
    return [Fact("slurm.partition", "ok", f"{text} exists")] if text else []


def named_account_facts(site: Site, options: Mapping[str, Option], user: str) -> list[Fact]:
    """`slurm: {account: …, qos: …}`: are they the user's?"""
    facts = []
    enforce = site.config.words("AccountingStorageEnforce") if site.config else ()
    for key, word in (("account", "associations"), ("qos", "qos")):
        text, enforced = str(options.get(key, "")), word in enforce
        if not text:
            continue
        if not site.accounts:
            why = site.why.get("accounts", f"Slurm knows no account of {user} here")
            facts += unknown([f"slurm.{key}"], f"{text}: not compared: {why}")
            continue
        have = list(dict.fromkeys(name for entry in site.accounts for name in names_of(entry, key)))
        if text in have:
            facts.append(Fact(f"slurm.{key}", "ok", f"{text} is open to {user}"))
        else:
            value = f"{text!r} is not open to {user}" + ("" if enforced else " (this cluster does not enforce it)")
            facts.append(Fact(f"slurm.{key}", "FAIL" if enforced else "warn", value, instead(text, have)))
    if "associations" in enforce and site.accounts == () and "account" not in options:
        fix = "ask the administrators to add you (`sacctmgr add user`)"
        facts.append(Fact("slurm.account", "FAIL", f"Slurm knows no account of {user} here, and wants one", fix))
    return facts


def names_of(entry: Account, key: str) -> tuple[str, ...]:
    """The accounts or the QOS that an association allows."""
    return (entry.account,) if key == "account" else entry.qos


def instead(typed: str, have: Sequence[str]) -> str:
    """The valid names, the nearest first."""
    return f"write one of: {', '.join(nearest(typed, have)) or 'none'}"


def root_fact(root: str, kind: str, free_mib: int | None) -> Fact:
    """The folder for runs, which could be made and written."""
    free = "free space unknown" if free_mib is None else f"{gib(free_mib)} free"
    value = f"{root} can be written; {kind or 'file system unknown'}, {free}"
    if kind in NODE_LOCAL:
        fix = "each node has its own: name a folder that the compute nodes share as `root:`"
        return Fact("root", "warn", value, fix)
    if free_mib is not None and free_mib < LITTLE_MIB:
        return Fact("root", "warn", value, "make room, or name another `root:`")
    return Fact("root", "ok", value)


def parents_fact(root: str, shared: Sequence[SharedFolder], *, accepted: bool) -> Fact:
    """Whether somebody else can replace the root, and with it what jobs run."""
    if not shared:
        return Fact("root-parents", "ok", f"only you and root can replace {root}")
    named = ", ".join(f"{each.folder} (mode {each.mode}, uid {each.uid})" for each in shared)
    value = f"others can replace {root}, and so what your jobs run, their outputs and records: {named}"
    if accepted:
        return Fact("root-parents", "warn", f"{value}; accepted by shared_parents", "every record says so")
    fix = "chmod go-w or +t it, or name another `root:`, or write `shared_parents: accept` in the cluster file"
    return Fact("root-parents", "FAIL", value, fix)

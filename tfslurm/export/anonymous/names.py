"""Record, and the files of its run folder -> the names in them that say who ran it and where. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from tfslurm.cluster import Cluster
from tfslurm.document.bounded_json import read_json
from tfslurm.errors import SlurmParseError
from tfslurm.export.anonymous.hidden_images import hidden_images
from tfslurm.export.anonymous.spelling import is_ordinary
from tfslurm.export.citation.settings import PUBLISHERS
from tfslurm.image.reference import DOCKER_HUB
from tfslurm.record.model import Record
from tfslurm.run_folder import paths
from tfslurm.slurm.values import expand_hostlist


class Name(NamedTuple):
    """One text that must not appear, and what it names: a name of one kind is replaced by ``KIND-1``, ``KIND-2``."""

    kind: str
    text: str


OPTIONS: Mapping[str, str] = {
    "account": "account",
    "clusters": "cluster",
    "chdir": "path",
    "error": "path",
    "exclude": "node",
    "gid": "group",
    "input": "path",
    "licenses": "licence",
    "mail-user": "user",
    "nodelist": "node",
    "output": "path",
    "partition": "partition",
    "qos": "qos",
    "reservation": "reservation",
    "uid": "user",
    "wckey": "account",
}
"Of sbatch: what each of them names."
VARIABLES: Mapping[str, str] = {
    "SLURM_CLUSTER_NAME": "cluster",
    "SLURM_JOB_ACCOUNT": "account",
    "SLURM_JOB_PARTITION": "partition",
    "SLURM_JOB_QOS": "qos",
    "SLURM_JOB_RESERVATION": "reservation",
    "SLURM_JOB_USER": "user",
    "SLURM_JOB_GROUP": "group",
    "SLURM_SUBMIT_DIR": "path",
    "SLURM_SUBMIT_HOST": "host",
    "SLURM_CONF": "path",
    "SLURM_LAUNCH_NODE_IPADDR": "host",
    "SLURM_SRUN_COMM_HOST": "host",
    "SLURM_WCKEY": "account",
    "SLURMD_NODENAME": "node",
}
"Of a job's environment, as the run folder keeps it."
PUBLIC_HOSTS = frozenset(
    (DOCKER_HUB, "registry-1.docker.io", "index.docker.io", "mirror.gcr.io", "ghcr.io", "nvcr.io", "quay.io")
) | frozenset(("github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "huggingface.co", "gitee.com"))
PUBLIC_MAIL = frozenset(("gmail.com", "outlook.com", "hotmail.com", "qq.com", "163.com", "proton.me", "icloud.com"))
USUAL = 8
"A repository whose name is one word of so few letters, such as `digits`, is not found by it."
HOMES = ("home", "Users", "users", "u")
"Folders each of whose entries has a user's name."
REMOTE = re.compile(
    r"(?:[a-z+]+://)?(?:[^@/\s]+@)?(?P<host>[^:/\s]+)[:/]+(?:[0-9]+/)?(?P<path>[^\s?#]+)", re.IGNORECASE
)
LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}|\[?::1\]?|0\.0\.0\.0")


def names_of(record: Record) -> list[Name]:
    """Every name that a record holds in a key of its own, each once."""
    job = record.job
    found = [Name("user", job.user), Name("cluster", job.cluster), Name("partition", job.partition or "")]
    found += [Name("node", node) for node in job.nodes]
    found += [Name("node", task.node or "") for attempt in record.attempts for task in attempt.tasks]
    found += [name for text in job.nodes for name in host_names(text, "node")]
    found += asked_names(record)
    found += code_names(record)
    found += image_names(record)
    found += path_names(record)
    found += [
        Name("MIG" if gpu.uuid.startswith("MIG") else "GPU", gpu.uuid)
        for attempt in record.attempts
        for task in attempt.tasks
        for gpu in task.gpus or ()
    ]
    found += [Name("plan", record.plan_id or ""), Name("plan", record.plan_sha256 or "")]
    return once([*found, Name("signature", signed_by(record))])


def once(names: Iterable[Name]) -> list[Name]:
    """Each text once, as what it was first; none that is empty."""
    kept: dict[str, Name] = {}
    for name in names:
        if name.text.strip():
            kept.setdefault(name.text.strip(), Name(name.kind, name.text.strip()))
    return list(kept.values())


def signed_by(record: Record) -> str:
    """The fingerprint of the key that signed it; ''."""
    return record.integrity.signature.key_fingerprint if record.integrity.signature else ""


def asked_names(record: Record) -> Iterator[Name]:
    """Those in the options of sbatch."""
    options = record.asked.options if record.asked else {}
    for option, value in options.items():
        yield from option_names(option, value)


def option_names(option: str, value: str) -> Iterator[Name]:
    """The names in one option of sbatch."""
    kind = OPTIONS.get(option)
    if kind is None:
        return
    if kind == "path":
        yield Name("path", value)
        return
    if kind == "node":
        yield Name("nodes", value)
        for node in nodes_in(value):
            yield from host_names(node, "node")
        return
    for part in value.split(","):
        if kind == "licence":
            name, _, server = re.sub(r":[0-9]+$", "", part).partition("@")
            yield Name(kind, name)
            yield from host_names(server, "host")
        elif "@" in part:
            yield from email_names(part)
        else:
            yield Name(kind, part)


def nodes_in(hostlist: str) -> list[str]:
    """The nodes of a host list; of one that is none, its text."""
    try:
        return list(expand_hostlist(hostlist))
    except (SlurmParseError, ValueError):
        return [hostlist]


def host_names(host: str, kind: str) -> Iterator[Name]:
    """A host by its whole name, by its first label, and by the domains that it is in, down to an organisation's."""
    if host in PUBLIC_HOSTS or LOOPBACK.fullmatch(host) or not host:
        return
    yield Name(kind, host)
    labels = host.split(".")
    if len(labels) < 2 or all(label.isdigit() for label in labels):
        return
    yield from (Name("domain", ".".join(labels[start:])) for start in range(1, len(labels) - 1))
    yield from (Name(kind, label) for label in (labels[0], labels[-2]) if not is_ordinary(label))


def code_names(record: Record) -> Iterator[Name]:
    """The code's origin: the address, its host, its owner and its own name; commit; a branch that is no usual one."""
    code = record.code
    if code is None:
        return
    yield Name("commit", code.commit or "")
    if code.commit and len(code.commit) >= 40:
        yield Name("commit", code.commit[:12])
        yield Name("commit", code.commit[:7])
    yield Name("branch", code.branch or "")
    if not code.remote:
        return
    yield Name("remote", code.remote)
    yield Name("remote", code.remote.removesuffix(".git"))
    if found := REMOTE.match(code.remote):
        yield from host_names(found["host"], "host")
        parts = found["path"].removesuffix(".git").strip("/").split("/")
        yield Name("repository", "/".join(parts))
        yield from (Name("owner", part) for part in parts[:-1] if not is_ordinary(part))
        if parts[-1] not in record.experiment.name and (len(parts[-1]) > USUAL or not parts[-1].isalpha()):
            yield Name("repository", parts[-1])


def is_public(record: Record) -> bool:
    """Whether the image is by a known publisher, so that its name says nothing of who used it."""
    whole = f"{record.image.registry}/{record.image.repository}"
    return record.image.digest_kind != "config" and any(whole.startswith(prefix) for prefix in PUBLISHERS)


def image_names(record: Record) -> Iterator[Name]:
    """The registries and mirrors that are not public, and the name of an image whose publisher is not known."""
    image = record.image
    tasks = [task for attempt in record.attempts for task in attempt.tasks]
    sources = [image.served_by or "", *(task.image_source or "" for task in tasks)]
    sources += [text for task in tasks for text in task.image_digests or ()]
    for registry, repository in hidden_images(record, PUBLISHERS):
        yield Name("image", repository)
        yield from (Name("owner", part) for part in repository.split("/")[:-1] if not is_ordinary(part))
        yield from registry_names(registry)
    for source in sources:
        place = source.partition("@")[0]
        host, slash, rest = place.partition("/")
        if slash and host not in PUBLIC_HOSTS:
            if rest != image.repository:
                yield Name("mirror", place.removesuffix(f"/{image.repository}"))
            yield from registry_names(host)


def registry_names(registry: str) -> Iterator[Name]:
    """A registry with its port, and the host that it is."""
    if registry not in PUBLIC_HOSTS:
        yield Name("registry", registry)
        host = registry.rpartition(":")[0] or registry
        yield from host_names(host, "host")


def path_names(record: Record) -> Iterator[Name]:
    """The folders of the cluster: of the run, of what is mounted, of what others could write."""
    run = PurePosixPath(record.run_folder) if record.run_folder else None
    folders = [str(run), str(run.parent), str(run.parent.parent)] if run else []
    folders += [str(mount.get("source") or "") for mount in record.experiment.mounts]
    folders += [each.path for each in record.inputs or ()]
    for folder in folders:
        yield from folder_names(folder)
    yield from root_names(str(run.parent.parent) if run else "")
    yield from (Name("above", each.folder) for each in record.job.shared_folders or ())


def root_names(root: str) -> Iterator[Name]:
    """A cluster's root, and each folder in which it lies but the first: they are named after users and groups."""
    yield from folder_names(root)
    yield from (Name("folder", part) for part in PurePosixPath(root).parts[2:-1] if not is_ordinary(part))


def folder_names(folder: str) -> Iterator[Name]:
    """A folder, and the user in whose home it lies."""
    if not folder.startswith("/"):
        return
    yield Name("path", folder)
    parts = PurePosixPath(folder).parts[1:]
    yield from (Name("user", after) for before, after in pairwise(parts) if before in HOMES)


def inside(record: Record) -> tuple[str, ...]:
    """The container paths, which say nothing of the cluster."""
    targets = [str(mount.get("target") or "") for mount in record.experiment.mounts]
    return (*targets, *filter(None, [record.asked.outputs if record.asked else None]), "/workspace")


def names_in_files(files: Mapping[str, bytes]) -> list[Name]:
    """The names that the files of a run folder hold beside the record's: ``files`` are those of it, by relative path.

    Read are plan.json, and of each attempt begin.json, the job's environment, and the container's passwd and group.
    """
    found: list[Name] = []
    for path, raw in files.items():
        reader = READERS.get(PurePosixPath(path).name)
        if reader:
            found += reader(raw)
    return once(found)


def plan_names(raw: bytes) -> Iterator[Name]:
    """Of plan.json."""
    values = mapping(raw)
    yield Name("user", text(values, "user"))
    yield Name("cluster", text(values, "cluster"))
    yield Name("group", text(values, "read_group"))
    yield Name("file", str(PurePosixPath(text(values, "spec_file")).parent) if "/" in text(values, "spec_file") else "")
    for key in ("roots", "mounts_allow"):
        yield from (name for each in texts(values, key) for name in folder_names(each))
    yield from root_names(text(values, "root"))
    for source in texts(values, "image_sources"):
        host, slash, _ = source.partition("/")
        if slash and ("." in host or ":" in host):
            yield from registry_names(host)
    options = values.get("options")
    for option, value in options.items() if isinstance(options, dict) else ():
        yield from option_names(str(option), str(value))


def begin_names(raw: bytes) -> Iterator[Name]:
    """Of begin.json."""
    values = mapping(raw)
    yield Name("user", text(values, "user"))
    yield from host_names(text(values, "submit_host"), "host")
    yield Name("cluster", text(values, "cluster"))
    yield Name("partition", text(values, "partition"))
    for node in nodes_in(text(values, "nodelist")):
        yield from host_names(node, "node")


def variable_names(raw: bytes) -> Iterator[Name]:
    """Of slurm.env: NAME=VALUE, each with a NUL after it."""
    for entry in raw.split(b"\0"):
        name, _, value = entry.decode("utf-8", "replace").partition("=")
        kind = VARIABLES.get(name)
        if kind == "path":
            yield from folder_names(value)
        elif kind in ("host", "node"):
            yield from host_names(value, kind)
        elif kind:
            yield Name(kind, value)


def passwd_names(raw: bytes) -> Iterator[Name]:
    """Of passwd: the user, and who that is."""
    for line in raw.decode("utf-8", "replace").splitlines():
        user, *rest = line.split(":")
        yield Name("user", user)
        if len(rest) > 4:
            yield from person_names(rest[3].split(",")[0])
            yield from folder_names(rest[4])


def group_names(raw: bytes) -> Iterator[Name]:
    """Of group: the groups and their members."""
    for line in raw.decode("utf-8", "replace").splitlines():
        group, *rest = line.split(":")
        yield Name("group", group)
        yield from (Name("user", member) for member in (rest[2].split(",") if len(rest) > 2 else ()))


def person_names(person: str) -> Iterator[Name]:
    """'Family, Given' or 'Given Family': in both orders, and the family's name alone."""
    given, family = [part.strip() for part in reversed(person.split(",", 1))] if "," in person else ("", "")
    if not family:
        given, _, family = person.strip().rpartition(" ")
    if not given:
        yield Name("person", family)
        return
    yield from (Name("person", each) for each in (f"{given} {family}", f"{family}, {given}", f"{family} {given}"))
    yield Name("person", family)


def email_names(address: str) -> Iterator[Name]:
    """An e-mail address, the name in front of its @, and its host."""
    user, _, host = address.partition("@")
    if user and host:
        yield Name("email", address)
        yield Name("user", user)
        yield from (Name("person", part) for part in user.split(".") if "." in user)
        yield from host_names(host, "host") if host not in PUBLIC_MAIL else ()


def cluster_names(cluster: Cluster) -> Iterator[Name]:
    """Those in a cluster's file: how it is reached, its folders, mirrors and options."""
    yield Name("cluster", cluster.name)
    login = cluster.login
    if login:
        yield from host_names(str(login.host), "host")
        yield Name("user", str(login.user or ""))
        user, _, jump = (login.proxy_jump or "").rpartition("@")
        yield Name("user", user)
        yield from host_names(jump.partition(":")[0], "host")
    yield from root_names(str(cluster.root))
    yield from (name for each in cluster.mounts_allow for name in folder_names(str(each)))
    for mirror in (each for mirrors in cluster.mirrors.values() for each in mirrors):
        host, slash, _ = mirror.partition("/")
        if host not in PUBLIC_HOSTS:
            yield from (Name("mirror", mirror),) if slash else ()
            yield from registry_names(host)
    for option, value in cluster.slurm.items():
        yield from option_names(option, str(value))


READERS = {
    paths.PLAN: plan_names,
    PurePosixPath(paths.BEGIN).name: begin_names,
    "slurm.env": variable_names,
    "passwd": passwd_names,
    "group": group_names,
}


def mapping(raw: bytes) -> Mapping[str, Any]:
    """The object of a JSON text; empty where it holds none."""
    try:
        value = read_json(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def text(values: Mapping[str, Any], key: str) -> str:
    """The text under a key; ''."""
    value = values.get(key)
    return value if isinstance(value, str) else ""


def texts(values: Mapping[str, Any], key: str) -> list[str]:
    """The texts of the list under a key."""
    value = values.get(key)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []

"""The keys of a cluster file as a pydantic model: types, rules, help and examples. The schema comes from here."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from tfslurm.cluster import Engine
from tfslurm.document import Document, NotText, Refused, show
from tfslurm.errors import Problem
from tfslurm.spec import names, places
from tfslurm.spec.scan import Scan

_HOST = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[?[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9]+)?\]?"
)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*\$?")
_PORT = re.compile(r"[0-9]{1,5}")
_ENGINE_VARIABLE = re.compile(r"(?:DOCKER|CONTAINERS?)_[A-Z0-9_]+|REGISTRY_AUTH_FILE|XDG_[A-Z_]+")
_REGISTRY = re.compile(
    r"(?=[a-z0-9])(?P<host>[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*(?::[0-9]{1,5})?)"
    r"(?P<path>(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*)"
)


def host(text: str) -> str:
    """The text, if it can name a machine, or a Host of ~/.ssh/config."""
    if _HOST.fullmatch(text):
        return text
    if "@" in text or re.search(r":[0-9]+$", text):
        raise Refused(f"{show(text)} is more than a host", "write the user and the port under `user` and `port`")
    raise Refused(f"{show(text)} is not a host name", "write a name such as login.alpha.example")


def user(text: str) -> str:
    """The text, if it can name a user."""
    if _USER.fullmatch(text):
        return text
    raise Refused(f"{show(text)} is not a user name", "write the name that you log in with")


def proxy_jump(text: str) -> str:
    """The text, if it is ``[user@]host[:port]``, or several with commas, as ssh's ProxyJump."""
    for hop in text.split(","):
        login, _, machine = hop.rpartition("@")
        name, _, port = machine.partition(":")
        if not _HOST.fullmatch(name) or (login and not _USER.fullmatch(login)) or ("@" in hop and not login):
            raise Refused(f"{show(hop)} is not a machine to jump over", "write [user@]host[:port]")
        if ":" in machine and not _PORT.fullmatch(port):
            raise Refused(f"{show(port)} is not a port", "write [user@]host[:port]")
    return text


def registry(text: str) -> str:
    """The text, if it is a registry with an optional path: ``host[:port][/path]``, without scheme, tag or digest."""
    if _REGISTRY.fullmatch(text):
        return text
    bare = re.sub(r"^https?://", "", text).rstrip("/")
    known = bare != text and _REGISTRY.fullmatch(bare)
    fix = f"write {bare}" if known else "write host[:port][/path], such as docker.io"
    raise Refused(f"{show(text)} is not a registry or a path in one", fix)


def own_registry(text: str) -> str:
    """The text, if it is a registry that is named by its machine: a bare word would be a repository of docker.io."""
    host, _, _ = registry(text).partition("/")
    if "." in host or ":" in host or host == "localhost":
        return text
    raise Refused(f"{show(text)} names no machine", "write host[:port]/path, such as docker.io/alice")


def root(text: str) -> str:
    """The text, if it is a folder of the cluster that can hold run folders."""
    places.absolute(text)
    if text == "/" or places.inside(text, "/proc") or places.inside(text, "/dev") or places.inside(text, "/sys"):
        raise Refused(f"{show(text)} cannot hold run folders", "name a folder of your own that all nodes share")
    return text


def slurm_place(text: str) -> str:
    """The text, if it can be the place of Slurm's own files: the same in every current folder, and on a disk."""
    places.absolute(text)
    if ":" in text or text == "/" or any(places.inside(text, pseudo) for pseudo in ("/proc", "/dev", "/sys")):
        raise Refused(f"{show(text)} cannot be a place of Slurm's", "write the path that the site's pages name")
    return text


def value(item: object) -> str:
    """The text of a variable."""
    if not isinstance(item, str):
        raise NotText(item)
    return item


def wrong_conf(document: Document) -> Iterator[Problem]:
    """The problems of the path of a slurm.conf; variables of other names are refused as they are."""
    path = ("environment", "SLURM_CONF")
    item = document.at(path)
    try:
        if isinstance(item, str):
            slurm_place(item)
    except Refused as refused:
        yield document.problem(path, refused.why, refused.fix)


def wrong_data(document: Document) -> Iterator[Problem]:
    """The problems of named folders that the same file does not let be mounted."""
    names, allow = document.at(("mounts", "names")), document.at(("mounts", "allow"))
    if not isinstance(names, dict) or not isinstance(allow, list):
        return
    for name, folder in names.items():
        if not any(isinstance(each, str) and places.inside(str(folder), each) for each in allow):
            why = f"{show(str(folder))} is outside `mounts.allow`"
            yield document.problem(("mounts", "names", name), why, "add it there, or name a folder under those")


def variable(text: str) -> str:
    """The text, if it is a variable that a cluster file may set.

    SLURM_CONF alone says which cluster is meant. Others steer the shell, the loader, Slurm's plugins or the batch job,
    which sbatch hands its own environment on to.
    """
    if text == "SLURM_CONF":
        return text
    if text == "PATH":
        fix = "name the folder of Slurm's programs: `slurm_bin: /opt/slurm/bin`"
    elif text.upper() in ("SLURM_CONF", "SLURMCONF", "SLURM_CONFIG"):
        fix = "did you mean `SLURM_CONF`?"
    else:
        fix = "set it in your shell's start-up file there, or load the site's module there"
    raise Refused(f"{show(text)} is not set for Slurm's commands; SLURM_CONF alone is", fix)


def engine_variable(text: str) -> str:
    """The text, if it is a variable that an engine's programs read: where it is, its files, its logins."""
    if _ENGINE_VARIABLE.fullmatch(text):
        return text
    fix = "write one that docker or podman reads, such as DOCKER_HOST, CONTAINERS_CONF or XDG_RUNTIME_DIR"
    raise Refused(f"{show(text)} is not a variable of a container engine", fix)


def engine_value(item: object) -> str:
    """The text of such a variable, on one line."""
    text = value(item)
    if text.isprintable():
        return text
    raise Refused(
        f"{show(text)} has a control character", "write a path, or an address such as unix:///run/user/1000/docker.sock"
    )


Host = Annotated[str, AfterValidator(host)]
User = Annotated[str, AfterValidator(user)]
ProxyJump = Annotated[str, AfterValidator(proxy_jump)]
Root = Annotated[str, AfterValidator(root), WithJsonSchema({"type": "string", "pattern": "^/."})]
Folder = Annotated[str, AfterValidator(places.folder)]
Registry = Annotated[str, AfterValidator(registry)]
OwnRegistry = Annotated[str, AfterValidator(own_registry)]
Name = Annotated[
    str, AfterValidator(names.name), WithJsonSchema({"type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,63}$"})
]
SlurmConf = Annotated[str, PlainValidator(value), WithJsonSchema({"type": "string", "pattern": "^/."})]
EngineValue = Annotated[str, PlainValidator(engine_value), WithJsonSchema({"type": "string"})]
SlurmBin = Annotated[str, AfterValidator(slurm_place), WithJsonSchema({"type": "string", "pattern": "^/."})]
Options = dict[
    Annotated[str, AfterValidator(names.option)],
    Annotated[Any, PlainValidator(names.option_value), WithJsonSchema({"type": ["string", "integer", "boolean"]})],
]
PluginOptions = dict[
    Annotated[str, AfterValidator(names.plugin_option)],
    Annotated[Any, PlainValidator(names.option_value), WithJsonSchema({"type": ["string", "integer", "boolean"]})],
]


class Keys(BaseModel):
    """A mapping with fixed keys: every other key is a mistake, and no type is turned into another."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Login(Keys):
    """How the login node is reached; ~/.ssh/config, known_hosts and the agent are honoured."""

    host: Host = Field(
        description="The login node's name, or a Host of ~/.ssh/config.", examples=["login.alpha.example"]
    )
    user: User | None = Field(None, description="Your name there; absent: as ~/.ssh/config says.", examples=["alice"])
    port: int | None = Field(
        None, ge=1, le=65535, description="The port of its ssh server; absent: as ~/.ssh/config says.", examples=[22]
    )
    proxy_jump: ProxyJump | None = Field(
        None, description="A machine to go through: [user@]host[:port].", examples=["bastion.example"]
    )
    transport: Literal["paramiko", "openssh"] = Field(
        "paramiko", description="paramiko (built in), or openssh (your ssh program).", examples=["openssh"]
    )


class Ask(Keys):
    """The options of sbatch by which the site takes what `resources` asks for."""

    memory: Literal["mem", "mem-per-cpu"] = Field(
        "mem", description="How `resources: {memory}` is asked for.", examples=["mem-per-cpu"]
    )
    gpus: Literal["gres", "gpus-per-node"] = Field(
        "gres", description="How `resources: {gpus}` is asked for.", examples=["gpus-per-node"]
    )


class Mounts(Keys):
    """The folders of the cluster that an experiment may name as sources."""

    allow: list[Folder] | None = Field(
        None,
        description="Folders of the cluster; tfslurm refuses others. Absent: those that have a name.",
        examples=[["/data", "/scratch/alice"]],
    )
    names: dict[Annotated[str, AfterValidator(places.data_name)], Folder] = Field(
        {},
        description="Folders of data by the names that experiments have for them on every cluster: `source: moons:`.",
        examples=[{"moons": "/scratch/lab/moons"}],
    )


class Limits(Keys):
    """The most that a container may use of a node, beside the job's memory and CPUs."""

    pids: int = Field(16384, ge=64, le=4194304, description="Processes and threads in one container.", examples=[16384])
    log_mib: int = Field(
        0, ge=0, le=1048576, description="MiB of stdout.log, and of stderr.log; 0: no limit.", examples=[1024]
    )
    layer_mib: int = Field(
        0,
        ge=0,
        le=16777216,
        description="MiB that a program may write outside every mount; 0: no limit. Not all nodes can enforce it.",
        examples=[20480],
    )


class Poll(Keys):
    """How often the scheduler may be asked by commands that watch."""

    min_interval: int = Field(
        0,
        ge=0,
        le=3600,
        description="Seconds that `status --watch`, `wait` and `logs -f` leave between two questions at least.",
        examples=[30],
    )


class Cluster(Keys):
    """One cluster: where jobs go and how to get there."""

    name: Name = Field(description="Names the cluster: a-z, 0-9 and -; jobs are named NAME:ID.", examples=["alpha"])
    login: Login | None = Field(
        None,
        description="The login node; absent: Slurm's commands run on this machine.",
        examples=[{"host": "login.alpha.example", "user": "alice"}],
    )
    root: Root = Field(
        description="The folder for run folders, on the file system that the nodes share.",
        examples=["/scratch/alice/tfslurm"],
    )
    engine: Engine = Field("docker", description="What runs containers on the nodes.", examples=["docker"])
    cgroup_parent: Literal["auto", "off", "require"] = Field(
        "auto",
        description='Whether docker puts the container below the job\'s own cgroup. auto: if it can; "off"; require.',
        examples=["auto"],
    )
    mirrors: dict[Registry, list[Registry]] = Field(
        {},
        description="Mirrors of a registry, asked before it in order; they must serve the same digest.",
        examples=[{"docker.io": ["mirror.example:5000"]}],
    )
    registry: OwnRegistry | None = Field(
        None,
        description="Where `tfslurm image build` pushes what it makes: a registry and a path in it that you may write, "
        "and that the nodes can pull from.",
        examples=["registry.example:5000/alice"],
    )
    slurm: Options = Field(
        {},
        description="Long sbatch options for every job, such as partition.",
        examples=[{"partition": "gpu"}],
    )
    plugin_options: PluginOptions = Field(
        {},
        description="Options of the site's own sbatch plugins for every job.",
        examples=[{"quotatype": "reserved"}],
    )
    ask: Ask = Field(
        default_factory=Ask,
        description="Other options of sbatch for memory and GPUs, where the site refuses --mem or --gres.",
        examples=[{"memory": "mem-per-cpu", "gpus": "gpus-per-node"}],
    )
    mounts: Mounts = Field(
        default_factory=Mounts, description="What experiments may mount.", examples=[{"allow": ["/data"]}]
    )
    shared_parents: Literal["refuse", "accept"] = Field(
        "refuse",
        description="May the root lie below a folder in which others can write, and so replace it? accept: yes, and "
        "`check` and every record say so.",
        examples=["accept"],
    )
    read_group: User | None = Field(
        None,
        description="A group that may read what runs leave: outputs, logs, records; never secrets or code.",
        examples=["lab"],
    )
    limits: Limits = Field(
        default_factory=Limits,
        description="What a container may use of a node beside memory and CPUs.",
        examples=[{"pids": 16384, "log_mib": 1024}],
    )
    poll: Poll = Field(
        default_factory=Poll, description="How often the scheduler may be asked.", examples=[{"min_interval": 30}]
    )
    environment: dict[Annotated[str, AfterValidator(variable)], SlurmConf] = Field(
        {},
        description="SLURM_CONF for Slurm's commands on the login node, where one node serves several clusters.",
        examples=[{"SLURM_CONF": "/etc/slurm-alpha/slurm.conf"}],
    )
    engine_environment: dict[Annotated[str, AfterValidator(engine_variable)], EngineValue] = Field(
        {},
        description="Variables of the engine's programs on the nodes. Those of your shell do not reach them.",
        examples=[{"DOCKER_HOST": "unix:///run/user/1000/docker.sock"}],
    )
    slurm_bin: SlurmBin | None = Field(
        None,
        description="The folder of Slurm's programs on the login node, where it is not on PATH there.",
        examples=["/opt/slurm/bin"],
    )
    scan: Scan | None = Field(
        None,
        description="Which known vulnerabilities of an image hold a job here, whatever its experiment says.",
        examples=[{"fail_on": "CRITICAL", "on_unknown": "refuse"}],
    )

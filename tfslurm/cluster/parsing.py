"""Text -> document -> checked keys -> Cluster."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from tfslurm.cluster import Ask, Cluster, Limits, Login, model
from tfslurm.document import scan, validate
from tfslurm.spec.checks import repeated_options
from tfslurm.spec.scan import rule
from tfslurm.spec.schema import published

SCHEMA_ID = "urn:tfslurm:cluster:1"


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a cluster file."""
    return published(model.Cluster, SCHEMA_ID, "tfslurm cluster")


def parse(text: str, file: str) -> Cluster:
    """The cluster that a text describes."""
    document = scan(text, file)
    read = validate(document, model.Cluster, repeated_options, model.wrong_conf, model.wrong_data)
    allowed = read.mounts.names.values() if read.mounts.allow is None else read.mounts.allow
    return Cluster(
        name=read.name,
        root=PurePosixPath(read.root),
        login=_login(read.login),
        engine=read.engine,
        cgroup_parent=read.cgroup_parent,
        mirrors={name: tuple(mirrors) for name, mirrors in read.mirrors.items()},
        slurm={key.replace("_", "-"): value for key, value in read.slurm.items()},
        plugin_options=dict(read.plugin_options),
        ask=Ask(read.ask.memory, read.ask.gpus),
        mounts_allow=tuple(map(PurePosixPath, allowed)),
        data={name: PurePosixPath(folder) for name, folder in read.mounts.names.items()},
        shared_parents=read.shared_parents,
        read_group=read.read_group or "",
        limits=Limits(read.limits.pids, read.limits.log_mib, read.limits.layer_mib),
        min_interval_s=read.poll.min_interval,
        environment=dict(read.environment),
        engine_environment=dict(read.engine_environment),
        slurm_bin=PurePosixPath(read.slurm_bin) if read.slurm_bin else None,
        scan=rule(read.scan) if read.scan else None,
        registry=read.registry or "",
        file=document.file,
        lines=document.lines,
    )


def _login(read: model.Login | None) -> Login | None:
    return Login(read.host, read.user, read.port, read.proxy_jump, read.transport) if read else None

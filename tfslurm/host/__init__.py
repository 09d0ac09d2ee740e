"""A machine that runs commands and keeps files: this one, or a login node behind ssh.

    with open_host(cluster) as host:
        host.run(["squeue", "--me"])
        put(host, folder, {"job.sbatch": File(b"...")})

One small protocol (`Host`: name, run, run_bytes), three ways to reach a machine (local, paramiko, openssh), and files
as tar streams through ``run``, so that each way stays small and all of them behave alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tfslurm.host.files import File, get, put, put_tree, read_from
from tfslurm.host.protocol import Host
from tfslurm.host.user import user_name

if TYPE_CHECKING:
    from tfslurm.cluster import Cluster, Login

__all__ = ["File", "Host", "get", "open_host", "put", "put_tree", "read_from", "remote_user", "user_name"]


def remote_user(name: str, login: Login) -> str:
    """The name by which the user logs in to a cluster: its file's, else the one that ssh's settings say.

    Raises:
        HostError: the settings cannot be understood.
    """
    if login.user:
        return login.user
    from tfslurm.host.ssh_config import user_of

    return user_of(name, login)


@contextmanager
def open_host(cluster: Cluster, trace: Callable[[str], None] | None = None) -> Iterator[Host]:
    """Yield the cluster's login node, or this machine where the cluster file has no ``login``.

    ``trace`` is called with each command line before it runs.

    Raises:
        HostError: the login node cannot be reached, its host key is not known, or it does not let the user in.
    """
    with _reach(cluster) as host:
        if trace is None:
            yield host
        else:
            from tfslurm.host.traced import TracedHost

            yield TracedHost(host, trace)


@contextmanager
def _reach(cluster: Cluster) -> Iterator[Host]:
    login = cluster.login
    programs = str(cluster.slurm_bin or "")
    if login is None:
        from tfslurm.host.local import LocalHost

        yield LocalHost(cluster.name, cluster.environment, programs=programs)
    elif login.transport == "openssh":
        from tfslurm.host.openssh import OpenSshHost

        yield OpenSshHost(cluster.name, login, cluster.environment, programs=programs)
    else:
        from tfslurm.host.match_exec import import_paramiko
        from tfslurm.host.ssh_config import asked_ahead

        with asked_ahead(cluster.name, login):
            import_paramiko()
            from tfslurm.host.paramiko import ParamikoHost

        with ParamikoHost(cluster.name, login, cluster.environment, programs=programs) as host:
            yield host

"""A machine that runs commands and keeps files: this one, or a login node behind ssh.

    with open_host(cluster) as host:
        host.run(["squeue", "--me"])
        put(host, folder, {"job.sbatch": File(b"...")})

One small protocol (`Host`: name, run, run_bytes), three ways to reach a machine (local, paramiko, openssh), and files
as tar streams through ``run``, so that each way stays small and all of them behave alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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


def open_host(cluster: Cluster, trace: Callable[[str], None] | None = None) -> AbstractContextManager[Host]:
    """The cluster's login node for a `with` block, or this machine, where the cluster file has no ``login``.

    ``trace`` is called with each command line before it runs.

    Raises:
        HostError: the login node cannot be reached, its host key is not known, or it does not let the user in.
    """
    if cluster.login is not None:
        return _logged_in(cluster, cluster.login, trace)
    from tfslurm.host.local import LocalHost

    here = LocalHost(cluster.name, cluster.environment, programs=str(cluster.slurm_bin or ""))
    return nullcontext(here if trace is None else _traced(here, trace))


@contextmanager
def _logged_in(cluster: Cluster, login: Login, trace: Callable[[str], None] | None) -> Iterator[Host]:
    with _reach(cluster, login) as host:
        yield host if trace is None else _traced(host, trace)


def _traced(host: Host, trace: Callable[[str], None]) -> Host:
    from tfslurm.host.traced import TracedHost

    return TracedHost(host, trace)


@contextmanager
def _reach(cluster: Cluster, login: Login) -> Iterator[Host]:
    programs = str(cluster.slurm_bin or "")
    if login.transport == "openssh":
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

"""The login nodes: one sshd per cluster that has one, on a port of its own, with the cluster's environment."""

from __future__ import annotations

from pathlib import Path

from .bed import CLUSTERS, CONF, USERS, conf_text, write_if_changed
from .daemons import Daemon, listening
from .users import host_key, login_environment

_PRIVSEP = Path("/run/sshd")  # compiled into sshd; an empty folder


def daemons() -> list[Daemon]:
    """One sshd per login node."""
    _PRIVSEP.mkdir(mode=0o755, exist_ok=True)
    found = []
    for cluster in CLUSTERS.values():
        if cluster.ssh_port is None:
            continue
        environment = " ".join(f"{key}={value}" for key, value in login_environment(cluster).items())
        users = " ".join(user.name for user in USERS)
        key = host_key(cluster)
        text = conf_text("sshd_config", port=cluster.ssh_port, host_key=key, users=users, environment=environment)
        path = CONF / cluster.name / "sshd_config"
        write_if_changed(path, text)
        key.chmod(0o600)
        found.append(
            Daemon(
                f"sshd-{cluster.name}",
                ("/usr/sbin/sshd", "-D", "-e", "-f", str(path)),
                listening(cluster.ssh_port),
                texts=(text, key.read_text()),
                ports=(cluster.ssh_port,),
            )
        )
    return found

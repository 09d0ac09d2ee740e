"""The ordinary users of the clusters: their homes, keys and scratch, and commands run as one of them."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .bed import (
    BIN,
    CLUSTERS,
    CONF,
    DOCKER_HOST,
    HOME,
    JUMP_PORT,
    LOGIN_PATH,
    OTP_PORT,
    SCRATCH,
    USERS,
    BedError,
    Cluster,
    User,
    conf_text,
    write_if_changed,
)

LAB = "labsec"
GROUPS = {"alice": ("docker", LAB), "bob": ("docker",)}
"Beside their own."


def ensure() -> None:
    """Afterwards the users exist, with home, ssh key and a scratch folder on every cluster."""
    _admin("groupadd", "--force", "--gid", "2010", LAB)
    for user in USERS:
        _make_user(user)
        _make_home(user)
        for cluster in CLUSTERS.values():
            _own_folder(SCRATCH / cluster.name / user.name, user)


def _make_user(user: User) -> None:
    try:
        known = pwd.getpwnam(user.name)
    except KeyError:
        words = ("--uid", str(user.uid), "--home-dir", str(user.home), "--no-create-home", "--shell", "/bin/bash")
        _admin("useradd", *words, "--user-group", "--password", "*", user.name)
        known = pwd.getpwnam(user.name)
    if known.pw_uid != user.uid or Path(known.pw_dir) != user.home:
        raise BedError(
            f"users: {user.name} exists with uid {known.pw_uid} and home {known.pw_dir}, the bed needs uid {user.uid} "
            f"and {user.home}: purge the other bed, or run on a machine without a user of that name"
        )
    for group in GROUPS[user.name]:
        if user.name not in grp.getgrnam(group).gr_mem:
            _admin("usermod", "--append", "--groups", group, user.name)


def _admin(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise BedError(f"users: `{' '.join(argv)}` failed: {done.stderr.strip()}")


def _own_folder(path: Path, user: User, mode: int = 0o755) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_uid != user.uid:
        path.chmod(mode)
        os.chown(path, user.uid, user.uid)


def _make_home(user: User) -> None:
    _own_folder(user.home, user)
    _own_folder(user.home / ".ssh", user, 0o700)
    key = user.home / ".ssh" / "id_ed25519"
    if not key.exists():
        _admin("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{user.name}@bed", "-f", str(key))
    own = key.with_suffix(".pub").read_text()
    texts = {
        ".ssh/authorized_keys": (own, 0o600),
        ".ssh/known_hosts": (known_hosts(), 0o644),
        ".ssh/known_otherwise": (f"[127.0.0.1]:{CLUSTERS['alpha'].ssh_port} {_public(host_key('beta'))}\n", 0o644),
        ".ssh/config": (conf_text("ssh_config", ssh=user.home / ".ssh"), 0o644),
        ".bashrc": (conf_text("bashrc", port=OTP_PORT), 0o644),
        ".profile": (f"export PATH={BIN}:$PATH DOCKER_HOST={DOCKER_HOST}\n", 0o644),
    }
    for name, (text, mode) in texts.items():
        if name != ".ssh/authorized_keys" or not (user.home / name).exists():
            write_if_changed(user.home / name, text, mode)
    for path in (key, key.with_suffix(".pub"), *(user.home / name for name in texts)):
        os.chown(path, user.uid, user.uid)


def host_key(name: str) -> Path:
    """The private host key of a cluster's login node, of the jump host or of `otp`; made when there is none."""
    key = CONF / name / "ssh_host_ed25519_key"
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True)
        _admin("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key))
    return key


def _public(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def known_hosts() -> str:
    """One line per sshd of the bed."""
    ports = {cluster.name: cluster.ssh_port for cluster in CLUSTERS.values() if cluster.ssh_port}
    ports |= {"jump": JUMP_PORT, "otp": OTP_PORT}
    return "".join(f"[127.0.0.1]:{port} {_public(host_key(name))}\n" for name, port in ports.items())


def login_environment(cluster: Cluster | str) -> dict[str, str]:
    """What a login shell of the cluster has beyond any other shell."""
    site = CLUSTERS[cluster] if isinstance(cluster, str) else cluster
    return {"SLURM_CONF": str(site.slurm_conf), "DOCKER_HOST": DOCKER_HOST, "PATH": LOGIN_PATH}


def run_as(
    user: str,
    argv: Sequence[str | Path],
    cluster: Cluster | str | None = None,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout_s: float = 120.0,
    groups: bool = True,
) -> subprocess.CompletedProcess[str]:
    """What a command gave that an ordinary user ran, with all his ``groups`` and a login shell's environment.

    `env` is added to that environment; without a cluster there is no SLURM_CONF. Nothing of the caller's comes through.
    """
    entry = pwd.getpwnam(user)
    environment = {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user, "SHELL": entry.pw_shell, "LANG": "C.UTF-8"}
    environment |= login_environment(cluster) if cluster else {"PATH": LOGIN_PATH, "DOCKER_HOST": DOCKER_HOST}
    return subprocess.run(
        [str(word) for word in argv],
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=cwd or entry.pw_dir,
        env=environment | dict(env or {}),
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=os.getgrouplist(user, entry.pw_gid) if groups else [],
        umask=0o022,
    )


def purge() -> None:
    """Removes the users, if their home is in this bed."""
    for user in USERS:
        try:
            home = pwd.getpwnam(user.name).pw_dir
        except KeyError:
            continue
        if Path(home) == user.home:
            _admin("userdel", user.name)
            if user.name == "alice":
                _admin("groupdel", LAB)
    shutil.rmtree(HOME, ignore_errors=True)

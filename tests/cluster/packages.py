"""The Debian packages the bed needs: all that is missing is installed with one call of apt-get."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .bed import BedError, say

# package: a file that shows it is there (looking at a file is free, asking dpkg is not)
NEEDED = {
    "slurmctld": "/usr/sbin/slurmctld",
    "slurmd": "/usr/sbin/slurmd",
    "slurm-client": "/usr/bin/sbatch",
    "slurm-wlm-basic-plugins": "/usr/lib/x86_64-linux-gnu/slurm-wlm/select_cons_tres.so",
    "slurmdbd": "/usr/sbin/slurmdbd",
    "slurm-wlm-mysql-plugin": "/usr/lib/x86_64-linux-gnu/slurm-wlm/accounting_storage_mysql.so",
    "mariadb-server": "/usr/sbin/mariadbd",
    "munge": "/usr/sbin/munged",
    "docker.io": "/usr/sbin/dockerd",
    "docker-registry": "/usr/bin/docker-registry",
    "openssh-server": "/usr/sbin/sshd",
    "openssh-client": "/usr/bin/ssh",
    "libpam-oath": "/usr/lib/x86_64-linux-gnu/security/pam_oath.so",
    "debootstrap": "/usr/sbin/debootstrap",
    "python3-venv": "/usr/share/doc/python3-venv/copyright",
    "iproute2": "/usr/bin/ip",
    "iptables": "/usr/sbin/iptables",
    "podman": "/usr/bin/podman",
    "runc": "/usr/sbin/runc",
    "catatonit": "/usr/bin/catatonit",
    "uidmap": "/usr/bin/newuidmap",
    "slirp4netns": "/usr/bin/slirp4netns",
    "fuse-overlayfs": "/usr/bin/fuse-overlayfs",
    "tcsh": "/usr/bin/tcsh",
    "fish": "/usr/bin/fish",
}


def ensure(needed: Mapping[str, str] = NEEDED) -> None:
    """Afterwards every package is there; an error names the one that apt could not give."""
    missing = [package for package, path in needed.items() if not os.path.lexists(path)]
    if not missing:
        return
    say(f"packages: installing {' '.join(missing)}")
    if not any(Path("/var/lib/apt/lists").glob("*_Packages*")):
        _apt("update")
    words = ("install", "--yes", "--no-install-recommends", *missing)
    try:
        _apt(*words)
    except BedError:  # the lists may be older than what the mirror still has
        _apt("update")
        _apt(*words)
    absent = [package for package in missing if not os.path.lexists(needed[package])]
    if absent:
        raise BedError(f"packages: apt installed {' '.join(absent)} but its files are not where Debian 12 has them")


def _apt(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        wrong = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("E:", "dpkg: error"))]
        why = " | ".join(wrong) or done.stderr.strip()
        raise BedError(f"packages: `apt-get {' '.join(arguments)}` failed: {why}; repair apt, or install them by hand")


def unpack(package: str, into: Path) -> None:
    """Puts a package's files into a folder without installing it: it may conflict with what the host has."""
    into.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["apt-get", "-q", "download", package], cwd=into, capture_output=True, text=True)
    if done.returncode:
        _apt("update")
        done = subprocess.run(["apt-get", "-q", "download", package], cwd=into, capture_output=True, text=True)
    archives = sorted(into.glob(f"{package}_*.deb"))
    if done.returncode or not archives:
        raise BedError(
            f"packages: `apt-get download {package}` failed: {done.stderr.strip()}; see if the mirror answers"
        )
    subprocess.run(["dpkg-deb", "--extract", archives[-1], into], check=True)

"""The login nodes: one sshd per cluster that has one, with the cluster's environment; and two that are harder to pass.

`sshd-jump` only forwards. `sshd-otp` is another login node of alpha: it wants a key and then a one-time code, shows a
banner, and the users' .bashrc is noisy there. sshd takes its PAM service from the name it is called by, so a link of
another name gives it a service of its own, and the machine's stays as it is.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from .bed import BED, CLUSTERS, CONF, JUMP_PORT, OTP_PORT, USERS, User, conf_text, write_if_changed
from .daemons import Daemon, listening
from .users import host_key, login_environment

NAMES = (*(f"sshd-{cluster.name}" for cluster in CLUSTERS.values() if cluster.ssh_port), "sshd-jump", "sshd-otp")
_PRIVSEP = Path("/run/sshd")  # compiled into sshd; an empty folder
_OTP = CONF / "otp"
_OTP_SSHD = _OTP / "tfslurm-bed-otp"
_PAM = Path("/etc/pam.d") / _OTP_SSHD.name
_CODES = _OTP / "users.oath"
_PEOPLE = " ".join(user.name for user in USERS)


def daemons() -> list[Daemon]:
    """One sshd per login node, and the jump host."""
    _PRIVSEP.mkdir(mode=0o755, exist_ok=True)
    found = []
    for cluster in CLUSTERS.values():
        if cluster.ssh_port is not None:
            text = _site_text(cluster.name, cluster.ssh_port)
            found.append(_sshd(cluster.name, cluster.ssh_port, text))
    jump = conf_text("sshd_config_jump", port=JUMP_PORT, host_key=host_key("jump"), users=_PEOPLE)
    return [*found, _sshd("jump", JUMP_PORT, jump), _otp()]


def _site_text(cluster: str, port: int, conf: str = "sshd_config", **more: object) -> str:
    environment = " ".join(f"{key}={value}" for key, value in login_environment(cluster).items())
    key = host_key("otp" if port == OTP_PORT else cluster)
    return conf_text(conf, port=port, host_key=key, users=_PEOPLE, environment=environment, **more)


def _sshd(name: str, port: int, text: str, program: str = "/usr/sbin/sshd", more: tuple[str, ...] = ()) -> Daemon:
    path = CONF / name / "sshd_config"
    write_if_changed(path, text)
    key = host_key(name)
    key.chmod(0o600)
    argv = (program, "-D", "-e", "-f", str(path))
    return Daemon(f"sshd-{name}", argv, listening(port), texts=(text, key.read_text(), *more), ports=(port,))


def _otp() -> Daemon:
    write_if_changed(_OTP / "banner", "*** Authorised users only. SQUEUE_FORMAT=%i ***\n")
    if not _CODES.exists():
        write_if_changed(_CODES, "".join(f"HOTP {user.name} - {_secret(user).hex()}\n" for user in USERS), 0o600)
    if not _OTP_SSHD.is_symlink():
        _OTP_SSHD.symlink_to("/usr/sbin/sshd")
    pam = conf_text("pam_otp", codes=_CODES)
    write_if_changed(_PAM, pam)
    text = _site_text("alpha", OTP_PORT, "sshd_config_otp", banner=_OTP / "banner")
    return _sshd("otp", OTP_PORT, text, str(_OTP_SSHD), (pam,))


def _secret(user: User) -> bytes:
    return hashlib.sha1(f"{BED} {user.name}".encode()).digest()


def next_code(name: str) -> str:
    """The one-time code with which a user gets in next: RFC 4226, six digits. pam_oath keeps the count in its file."""
    (line,) = (words for words in map(str.split, _CODES.read_text().splitlines()) if words[1] == name)
    count = int(line[4]) + 1 if len(line) > 4 else 0
    digest = hmac.digest(bytes.fromhex(line[3]), count.to_bytes(8, "big"), "sha1")
    start = digest[-1] & 15
    return f"{(int.from_bytes(digest[start : start + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06}"


def purge() -> None:
    """Removes the PAM service."""
    _PAM.unlink(missing_ok=True)

"""Accounting for the clusters that have it: MariaDB, slurmdbd, the accounts and who may use them."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess

from .bed import (
    ACCOUNTS,
    BED,
    CLUSTERS,
    CONF,
    LOG,
    MARIADB_PORT,
    MUNGE_SOCKET,
    RUN,
    SLURMDBD_PORT,
    STATE,
    USERS,
    BedError,
    conf_text,
    say,
    write_if_changed,
)
from .daemons import Daemon, listening
from .slurm import slurm

_DATA = BED / "mariadb"
_SOCKET = RUN / "mariadb" / "mariadb.sock"
_PASSWORD = STATE / "slurmdbd.password"


def mariadb() -> Daemon:
    """The database; made when there is none."""
    for folder in (_DATA, _SOCKET.parent):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(folder, "mysql", "mysql")
    if not (_DATA / "mysql").is_dir() or not (_DATA / "made").exists():
        _install()
    argv = (
        "/usr/sbin/mariadbd",
        "--no-defaults",
        f"--datadir={_DATA}",
        f"--socket={_SOCKET}",
        "--user=mysql",
        "--bind-address=127.0.0.1",
        f"--port={MARIADB_PORT}",
        f"--pid-file={_SOCKET.parent}/mariadb.pid",
        f"--log-error={_DATA}/error.log",
        "--innodb-buffer-pool-size=128M",
        "--innodb-log-file-size=64M",
        "--innodb-lock-wait-timeout=900",
        "--innodb-flush-log-at-trx-commit=2",
        "--skip-log-bin",
    )
    return Daemon("mariadb", argv, listening(MARIADB_PORT), ports=(MARIADB_PORT,), logs=(_DATA / "error.log",))


def _install() -> None:
    say("mariadb: making the database")
    for entry in _DATA.iterdir():  # half made, by an `up` that was interrupted
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    done = subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={_DATA}",
            "--user=mysql",
            "--skip-test-db",
            "--auth-root-authentication-method=socket",
            "--innodb-log-file-size=64M",
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BedError(f"mariadb: mariadb-install-db failed: {(done.stderr or done.stdout).strip()[-300:]}")
    (_DATA / "made").touch()


def slurmdbd() -> Daemon:
    """Slurm's accounting daemon; the database must answer, and gets its user here."""
    if not _PASSWORD.exists():
        write_if_changed(_PASSWORD, secrets.token_hex(16), 0o600)
    password = _PASSWORD.read_text()
    text = conf_text(
        "slurmdbd.conf",
        munge_socket=MUNGE_SOCKET,
        port=SLURMDBD_PORT,
        log=LOG,
        run=RUN,
        mariadb_port=MARIADB_PORT,
        password=password,
    )
    path = CONF / "slurmdbd.conf"
    write_if_changed(path, text, 0o600)
    shutil.chown(path, "slurm", "slurm")
    return Daemon(
        "slurmdbd",
        ("/usr/sbin/slurmdbd", "-D"),
        listening(SLURMDBD_PORT),
        texts=(text,),
        ports=(SLURMDBD_PORT,),
        env={"SLURM_CONF": str(path.parent / "slurm.conf")},
        logs=(LOG / "slurmdbd.log",),
        patience_s=90,
    )


def grant() -> None:
    """Gives slurmdbd its database user."""
    done = STATE / "mariadb.granted"
    password = _PASSWORD.read_text() if _PASSWORD.exists() else ""
    if password and done.exists():
        return
    slurmdbd()
    statements = (
        f"CREATE OR REPLACE USER slurm@'127.0.0.1' IDENTIFIED BY '{_PASSWORD.read_text()}';"
        f"GRANT ALL ON slurm_acct_db.* TO slurm@'127.0.0.1';"
    )
    answer = subprocess.run(
        ["mariadb", "--no-defaults", f"--socket={_SOCKET}", "--user=root"],
        input=statements,
        capture_output=True,
        text=True,
    )
    if answer.returncode:
        raise BedError(f"mariadb: making slurmdbd's user failed: {answer.stderr.strip()}")
    done.touch()


def enroll() -> None:
    """Afterwards slurmdbd knows the clusters, the accounts and the users; lab is everybody's default."""
    kept = [cluster for cluster in CLUSTERS.values() if cluster.accounting]
    names = ",".join(cluster.name for cluster in kept)
    users = ",".join(user.name for user in USERS)
    done = STATE / "accounts"
    wanted = f"{names} {ACCOUNTS} {users} {socket.gethostname()}"
    if done.exists() and done.read_text() == wanted:
        return
    commands = [f"add cluster {names}"]
    commands += [
        f"add account {account} Description={account} Organization=bed Cluster={names}" for account in ACCOUNTS
    ]
    commands += [
        f"add user {users} Account={account} DefaultAccount={ACCOUNTS[0]} Cluster={names}" for account in ACCOUNTS
    ]
    for command in commands:
        answer = slurm(kept[0], "sacctmgr", "--immediate", *command.split())
        if answer.returncode and "already exist" not in answer.stdout + answer.stderr:
            raise BedError(f"slurmdbd: `sacctmgr {command}` failed: {(answer.stdout + answer.stderr).strip()}")
    done.write_text(wanted)


def purge() -> None:
    """Removes the database."""
    shutil.rmtree(_DATA, ignore_errors=True)
    for path in (_PASSWORD, STATE / "mariadb.granted", STATE / "accounts"):
        path.unlink(missing_ok=True)

"""Daemons that outlive us: started once, recognised later by process identity, stopped only if they are ours."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .bed import BED, LOG, RUN, SYSTEM_PATH, BedError, say, wait_until

# Every daemon, and what it starts, carries this in its environment: a lost pid file does not lose the process.
MARK = "TFSLURM_BED_DAEMON"
_SHOWN_LOG_LINES = 6
_LARGEST_LOG = 50_000_000


@dataclass(frozen=True)
class Daemon:
    """A program that runs in the foreground of its own session, and how to see that it is ready."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    texts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    stale: tuple[Path, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    user: str | None = None
    logs: tuple[Path, ...] = ()
    patience_s: float = 40.0
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def stamp(self) -> str:
        """Changes when the daemon has to be restarted: its arguments, environment or configuration text."""
        told = json.dumps([self.argv, self.texts, self.env, self.user])
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def output(self) -> Path:
        """Where its stdout and stderr go: its log, unless it writes one itself."""
        return LOG / f"{self.name}.{'out' if self.logs else 'log'}"


def pid_file(name: str) -> Path:
    """Where the daemon's identity is written down."""
    return RUN / f"{name}.pid.json"


class _Stat(NamedTuple):
    """What identifies a process, from /proc/PID/stat; `started` is in clock ticks since boot."""

    state: str
    parent: int
    started: str


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return _Stat(fields[0], int(fields[1]), fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _record(name: str) -> dict[str, str]:
    try:
        record = json.loads(pid_file(name).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(key): str(value) for key, value in record.items()} if isinstance(record, dict) else {}


def running(name: str) -> int | None:
    """The pid of the daemon that was started under this name and still is the same process, else None."""
    record = _record(name)
    if record.get("boot") != _boot():
        return None
    pid = int(record["pid"])
    stat = _stat(pid)
    return pid if stat and stat.state not in "ZX" and stat.started == record["started"] else None


def start(daemons: Iterable[Daemon]) -> list[str]:
    """The names of those that had to be started or restarted; all are ready afterwards."""
    waiting = [(daemon, _spawn(daemon)) for daemon in daemons if not _current(daemon)]
    for daemon, process in waiting:
        _await(daemon, process)
    return [daemon.name for daemon, _ in waiting]


def _current(daemon: Daemon) -> bool:
    pid = running(daemon.name)
    if pid is None:
        return False
    if _record(daemon.name).get("stamp") == daemon.stamp and wait_until(daemon.ready, 5):
        return True
    say(f"{daemon.name}: restarted (its configuration changed, or it does not answer)")
    stop([daemon.name], daemon.stop_signal)
    return False


def _spawn(daemon: Daemon) -> subprocess.Popen[bytes]:
    for port in daemon.ports:
        _claim(port, daemon.name)
    for path in daemon.stale:
        path.unlink(missing_ok=True)
    environment = {"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8", **daemon.env, MARK: str(BED)}
    if daemon.output.exists() and daemon.output.stat().st_size > _LARGEST_LOG:
        daemon.output.rename(daemon.output.with_suffix(".old"))
    with daemon.output.open("ab") as log:
        process = subprocess.Popen(
            daemon.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=environment,
            start_new_session=True,
            user=daemon.user,
            group=daemon.user,
            extra_groups=[] if daemon.user else None,
        )
    stat = _stat(process.pid)
    record = {"pid": process.pid, "started": stat.started if stat else "", "boot": _boot(), "stamp": daemon.stamp}
    pid_file(daemon.name).write_text(json.dumps(record))
    return process


def _await(daemon: Daemon, process: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: process.poll() is not None or daemon.ready(), daemon.patience_s)
    if process.poll() is not None:
        raise BedError(f"{daemon.name}: it ended with code {process.returncode}: {_last_words(daemon)}")
    if not daemon.ready():
        raise BedError(f"{daemon.name}: not ready after {daemon.patience_s:.0f} s: {_last_words(daemon)}")
    process.returncode = 0  # it lives on; without this Popen warns about it when we end


def _last_words(daemon: Daemon) -> str:
    lines: list[str] = []
    for path in (*daemon.logs, daemon.output):
        if path.is_file():
            lines += path.read_text(errors="replace").splitlines()[-_SHOWN_LOG_LINES:]
    return " | ".join(lines) + f"; read {LOG}" if lines else f"it logged nothing in {LOG}"


def stop(names: Iterable[str], first: signal.Signals = signal.SIGTERM, patience_s: float = 10.0) -> list[str]:
    """The names of those that were running; none is afterwards. Asked first, killed when that takes too long."""
    pids = {name: pid for name in names if (pid := running(name)) is not None}
    for pid in pids.values():
        _signal(pid, first)
    wait_until(lambda: all(running(name) is None for name in pids), patience_s)
    for name, pid in pids.items():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # its own session: also the children it left
        if not wait_until(lambda name=name: running(name) is None, 5):  # type: ignore[misc]
            raise BedError(f"{name}: pid {pid} does not die, not even of SIGKILL: restart the machine")
        pid_file(name).unlink(missing_ok=True)
    return list(pids)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def marked() -> list[int]:
    """The pids of all processes that carry this bed's mark: daemons, and what they started."""
    mark = f"{MARK}={BED}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def holders(folder: Path) -> list[int]:
    """The pids that have a socket under a folder open: so is a slurmstepd found, which overwrites its environment."""
    held = set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split(maxsplit=7)
        if len(words) == 8 and words[7].startswith(f"{folder}/"):
            held.add(f"socket:[{words[6]}]")
    processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()] if held else []
    return [int(entry.name) for entry in processes if held & set(_open_files(entry))]


def _with_descendants(pids: Iterable[int]) -> set[int]:
    """These processes, and all that they started."""
    found = set(pids)
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))) and stat.state not in "ZX":
            children.setdefault(stat.parent, []).append(int(entry.name))
    waiting = list(found)
    while waiting:
        fresh = [child for child in children.get(waiting.pop(), []) if child not in found]
        found.update(fresh)
        waiting += fresh
    return found


def kill(pids: Iterable[int], patience_s: float = 5.0) -> int:
    """How many processes were killed: these, and all that they started."""
    killed = _with_descendants(pids)
    for pid in killed:
        _signal(pid, signal.SIGKILL)
    if not wait_until(lambda: not any((stat := _stat(pid)) and stat.state not in "ZX" for pid in killed), patience_s):
        raise BedError(f"processes among {sorted(killed)} do not die, not even of SIGKILL: look at them with ps")
    return len(killed)


def sweep() -> int:
    """How many processes of the bed were left over and have been killed."""
    return kill({*marked(), *holders(BED)})


def _claim(port: int, wanted_by: str) -> None:
    """Ends our own orphan on a port; says who has it when that is somebody else."""
    owner = port_owner(port)
    if owner is None:
        return
    if owner in marked():
        say(f"{wanted_by}: pid {owner} was left over from an earlier start, killed")
        _signal(owner, signal.SIGKILL)
        if wait_until(lambda: port_owner(port) is None, 5):
            return
    raise BedError(f"port {port} is taken by {_described(owner)}: {wanted_by} needs it; stop that program")


def _described(pid: int) -> str:
    if not pid:
        return "a program outside this container or namespace"
    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return f"pid {pid} ({words.strip()[:80]})"


def port_owner(port: int) -> int | None:
    """The pid that listens on a TCP port, 0 when its owner cannot be seen, None when nobody listens."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and inodes & set(_open_files(entry)):
            return int(entry.name)
    return 0


def _open_files(process: Path) -> Iterable[str]:
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(descriptor.readlink())


def listening(*ports: int) -> Callable[[], bool]:
    """A check that is true once all ports are open."""
    return lambda: all(_listens(port) for port in ports)


def _listens(port: int) -> bool:
    tables = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
    wanted = f":{port:04X} "
    lines = (line for table in tables if table.exists() for line in table.read_text().splitlines()[1:])
    return any(wanted in line[:46] and line.split()[3] == "0A" for line in lines)

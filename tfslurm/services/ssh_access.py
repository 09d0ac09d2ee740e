"""ssh into the container of a job that runs, for programs that speak it: an editor, sftp. Its line is a step.

sshd is the image's own. It runs as the user, for one connection, on the input and output of the step: nothing listens
on the node (ADR 84). Its key is told over that same line, before ssh asks for it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tfslurm.errors import HostError, InputError, TfslurmError, refuse
from tfslurm.host.pipe import Pipe
from tfslurm.local_files import make_folder, read_file, write_file
from tfslurm.remote_programs import packaged
from tfslurm.services.enter import Way
from tfslurm.workspace.folders import cache_folder

PUBLIC = re.compile(
    r"(?:sk-)?(?:ssh-ed25519|ecdsa-sha2-nistp(?:256|384|521)|ssh-rsa)(?:@openssh\.com)? [A-Za-z0-9+/]{30,2000}={0,3}"
)
"A public key in one line, without its comment."
MOST_KEYS = 30
MOST_FILES = 200
LONGEST = 2**14
LONGEST_LINE = 1000
CHUNK_BYTES = 2**16
AGENT_S = 20.0
PLAIN = re.compile(r"[A-Za-z0-9_./+@:,= -]+")
"What a path in ssh's settings may have and means nothing else there."
HOW = "build an image with it: `build: {base: IMAGE, apt: [openssh-server]}`"


def host_name(way: Way, rank: int) -> str:
    """The name that ssh knows the container by: ``tfslurm-alpha-41_7``."""
    return f"tfslurm-{way.job.cluster}-{way.job.job_id}{f'-rank{rank}' if rank else ''}"


def ssh_settings(way: Way, user: str, rank: int, program: str) -> str:
    """An entry of ssh's settings that leads into the container; ``program`` is the path of tfslurm.

    Raises:
        TfslurmError: the image has no sshd, the user has no key, or the job has ended.
    """
    list(own_keys())
    done = way.captured(command())
    note_key(way, rank, done.stdout.partition("\n")[0])
    words = [program, "exec", *(["--rank", str(rank)] if rank else []), "--sshd", way.job.key]
    name, known = host_name(way, rank), quoted(str(known_hosts(way, rank)))
    lines = (
        f"User {user}",
        f"ProxyCommand {shlex.join(words).replace('%', '%%')}",
        f"HostKeyAlias {name}",
        f"UserKnownHostsFile {known}",
        "GlobalKnownHostsFile none",
        "StrictHostKeyChecking yes",
        "UpdateHostKeys no",
        "ForwardAgent no",
        "ForwardX11 no",
        "ControlMaster no",
        "ControlPath none",
    )
    return "".join((f"Host {name}\n", *(f"    {line}\n" for line in lines)))


def carry(way: Way, rank: int) -> int:
    """Carry one connection of ssh between this process's input and output and the container's sshd; the exit code.

    Raises:
        TfslurmError: as ``ssh_settings``.
    """
    pipe = way.open_pipe(command(*own_keys()))
    try:
        note_key(way, rank, first_line(pipe))
        threading.Thread(target=send, args=(pipe,), name="ssh", daemon=True).start()
        with suppress(BrokenPipeError):
            while chunk := pipe.read(CHUNK_BYTES):
                write_all(chunk)
        code, said = pipe.end()
    finally:
        pipe.close()
    if code > 0 and said.strip():
        raise TfslurmError(f"{way.job.key}: {said.strip().splitlines()[-1]}")
    return max(code, 0)


def command(*keys: str) -> tuple[str, ...]:
    """The words of the program in the container."""
    return ("/bin/sh", "-c", packaged("inside/sshd.sh"), "sshd", *keys)


def note_key(way: Way, rank: int, line: str) -> None:
    """Write the server's public key where ssh looks for it.

    Raises:
        TfslurmError: there is no server in the container.
    """
    word, _, rest = line.partition(" ")
    key = PUBLIC.match(rest)
    if word == "no":
        fix = f"; {HOW}" if "the image has no" in rest else ""
        raise TfslurmError(f"{way.job.key}: {rest[:200]}: ssh cannot lead into its container{fix}")
    if word != "key" or not key:
        raise HostError(f"{way.job.key}: its container's answer is no key")
    file = known_hosts(way, rank)
    make_folder(file.parent)
    write_file(file, f"{host_name(way, rank)} {key[0]}\n".encode())


def known_hosts(way: Way, rank: int) -> Path:
    """Where the public key of a container's sshd is."""
    return cache_folder() / "ssh" / host_name(way, rank)


def quoted(path: str) -> str:
    """A path as ssh's settings take it.

    Raises:
        InputError: it would mean something else there.
    """
    if not PLAIN.fullmatch(path):
        raise refuse(path, "ssh's settings cannot name this path", "set XDG_CACHE_HOME to a plain one")
    return f'"{path}"' if " " in path else path


def own_keys() -> list[str]:
    """The user's public keys: of the agent, and of the files in ~/.ssh. They alone open the door, which has no other.

    Raises:
        InputError: there is none.
    """
    found = dict.fromkeys(match[0] for text in texts_of_keys() if (match := PUBLIC.match(text)))
    if not found:
        raise refuse("ssh", "no key of yours is in the agent or in ~/.ssh", "make one: ssh-keygen -t ed25519")
    return list(found)[:MOST_KEYS]


def texts_of_keys() -> Iterator[str]:
    """The lines that may be a public key."""
    with suppress(OSError, subprocess.TimeoutExpired):
        agent = ["ssh-add", "-L"]
        done = subprocess.run(agent, stdin=subprocess.DEVNULL, capture_output=True, timeout=AGENT_S, check=False)
        yield from done.stdout.decode("utf-8", "replace").splitlines()
    for path in sorted((Path.home() / ".ssh").glob("*.pub"))[:MOST_FILES]:
        with suppress(InputError, OSError):
            yield read_file(path, LONGEST).decode("utf-8", "replace").partition("\n")[0]


def first_line(pipe: Pipe) -> str:
    """The first line, and no byte behind it.

    Raises:
        HostError: there is none.
    """
    line = b""
    while not line.endswith(b"\n") and len(line) < LONGEST_LINE and (byte := pipe.read(1)):
        line += byte
    if not line.endswith(b"\n"):
        code, said = pipe.end()
        raise HostError(f"its container answered nothing (exit {code}): {said.strip()[-300:]}", transient=True)
    return line[:-1].decode("ascii", "replace")


def send(pipe: Pipe) -> None:
    """Hand on what ssh says, and its end."""
    with suppress(OSError, TfslurmError):
        while chunk := os.read(0, CHUNK_BYTES):
            pipe.write(chunk)
    pipe.close()


def write_all(data: bytes) -> None:
    """Hand all of it to ssh."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]

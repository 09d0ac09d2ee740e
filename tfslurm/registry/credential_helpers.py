"""A credential helper: the program `docker-credential-NAME`, which asks a key ring of the system for a login.

Source: github.com/docker/docker-credential-helpers, README, "Development": the server's name on stdin, JSON on stdout.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from contextlib import suppress

from tfslurm.document.bounded_json import read_json

PATIENCE_S = 10.0
_LARGEST = 2**20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_NONE = "credentials not found in native keychain"  # what helpers print, with exit code 1


class HelperFailed(Exception):
    """Why a helper gave no answer, in words that hold nothing of what it printed."""


def ask_helper(name: str, server: str, patience_s: float = PATIENCE_S) -> tuple[str, str] | None:
    """The user and secret that a helper has for ``server``; None if it has none.

    A helper may wait for somebody to unlock a key ring: after ``patience_s`` it is killed, with all that it started.

    Raises:
        HelperFailed: it is missing, does not answer in time, or answers with something else.
    """
    program = f"docker-credential-{name}" if _NAME.fullmatch(name) else ""
    path = shutil.which(program) if program else None
    if path is None:
        raise HelperFailed(f"the credential helper {program or 'that is named'} is not in PATH")
    code, printed = _run(path, program, server.encode(), patience_s)
    if code and _NONE.encode() in printed:
        return None
    if code:
        raise HelperFailed(f"{program} failed (exit {code})")
    try:
        answer = read_json(printed)
        user, secret = answer["Username"], answer["Secret"]
    except (ValueError, LookupError, TypeError):
        raise HelperFailed(f"{program} answered with something else than a login") from None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise HelperFailed(f"{program} answered with something else than a login")
    return (user, secret) if secret else None


def _run(path: str, program: str, asked: bytes, patience_s: float) -> tuple[int, bytes]:
    """Exit code and output. The helper has a session of its own, so that what it started ends with it."""
    printed: list[bytes] = []
    try:
        running = subprocess.Popen(
            [path, "get"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise HelperFailed(f"{program} cannot be started ({error.strerror})") from None
    assert running.stdin is not None and running.stdout is not None  # noqa: S101  (pipes, as asked above)
    output = running.stdout

    def read() -> None:
        with output:
            printed.append(output.read(_LARGEST + 1))

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    with suppress(OSError):
        running.stdin.write(asked)
        running.stdin.close()
    reading.join(patience_s)
    answered = bool(printed)
    with suppress(subprocess.TimeoutExpired):
        if answered and len(printed[0]) <= _LARGEST:
            return running.wait(1.0), printed[0]
    with suppress(OSError):
        os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    if not answered:
        raise HelperFailed(f"{program} did not answer within {patience_s:g} s")
    raise HelperFailed(f"{program} did not end, or printed more than {_LARGEST // 2**20} MiB")

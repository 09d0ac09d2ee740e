"""`Match exec` of ~/.ssh/config as OpenSSH runs it, in place of the module by which paramiko would.

invoke, which paramiko imports for this alone, is a third of its time to start, and reads the user's stdin.
Source: ssh_config(5), Match: the command is run by the user's shell, and matches when it ends with zero.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

ALONE = threading.Lock()


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of a command, as paramiko reads it."""

    ok: bool


class UsersShell:
    """The one function of invoke that paramiko calls."""

    @staticmethod
    def run(command: str, **_: Any) -> Ended:
        """Run a command of the user's own settings, in silence."""
        argv = (os.environ.get("SHELL") or "/bin/sh", "-c", command)
        return Ended(subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0)


def import_paramiko() -> None:
    """Import paramiko without invoke; several threads may want it at once."""
    with ALONE:
        if "paramiko" in sys.modules or "invoke" in sys.modules:
            return
        sys.modules["invoke"] = None  # type: ignore[assignment]  # such a module cannot be imported
        try:
            importlib.import_module("paramiko")
        finally:
            del sys.modules["invoke"]


def settle_match_exec() -> None:
    """From now on paramiko has the user's shell run them."""
    importlib.import_module("paramiko.config").invoke = UsersShell  # type: ignore[attr-defined]

"""`Match exec` of ~/.ssh/config as OpenSSH runs it; and paramiko without the module by which it would run them.

invoke, which paramiko imports for this alone, is a third of its time to start, and reads the user's stdin. Only files
of the user's own and the system's are read for such lines: a cluster file has no part in them beyond the name of its
login node. Source: ssh_config(5), Match: the command is run by the user's shell, and matches when it ends with zero.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfslurm.host.ssh_files import Line

ALONE = threading.Lock()
PATIENCE_S = 20


def succeeds(command: str, line: Line) -> bool:
    """Run a command of the user's own settings, in silence, and say whether it ended with zero.

    Raises:
        HostError: it does not end; names the line.
    """
    argv = (os.environ.get("SHELL") or "/bin/sh", "-c", command)
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise line.wrong(f"did not end within {PATIENCE_S} s", "correct the command") from None
    return done.returncode == 0


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

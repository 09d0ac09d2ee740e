"""roc-validator as a program of its own: its pins (rich < 14) are not those of tfslurm, so it has its own environment.

Installed from PyPI by the first test that needs it, or by `make validator`; after that it needs no network.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
VENV = HERE.parent.parent / ".venv" / "validator"
LOCKS = (HERE / "requirements.txt", HERE / "context.txt")
PROFILES = {"1.1": "process-run-crate-0.5", "1.3": "ro-crate-1.3"}


def installed() -> Path:
    """The validator's environment, made anew where one of its lists has changed."""
    wanted = "".join(path.read_text("utf-8") for path in LOCKS)
    stamp = VENV / "installed-from"
    VENV.mkdir(parents=True, exist_ok=True)
    with (VENV / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text("utf-8") != wanted:
            _run("/usr/bin/python3", "-m", "venv", "--clear", str(VENV / "env"))
            pip = (str(VENV / "env" / "bin" / "pip"), "--quiet", "--disable-pip-version-check", "install")
            _run(*pip, "--require-hashes", "--requirement", str(LOCKS[0]))
            # the context of RO-Crate 1.1 is in an older wheel of the library that brings that of 1.3
            older = ("--no-deps", "--upgrade", "--target", str(VENV / "older"), "--requirement", str(LOCKS[1]))
            _run(*pip, "--require-hashes", *older)
            stamp.write_text(wanted, "utf-8")
    return VENV


def issues(*crates: tuple[str, str, Path], cache: Path) -> list[list[str]]:
    """What the validator finds in each crate, given as severity, RO-Crate's version, folder."""
    folder = installed()
    context = folder / "older" / "rocrate" / "data" / "ro-crate.jsonld"
    wanted = [f"{severity}:{PROFILES[version]}:{crate}" for severity, version, crate in crates]
    program = (str(folder / "env" / "bin" / "python"), str(HERE / "check.py"))
    said = _run(*program, str(cache), str(context), *wanted)
    return [json.loads(line) for line in said.splitlines()]


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(argv)}` failed: {done.stderr.strip()[-2000:]}")
    return done.stdout

"""tfslurm as the bed's users have it: installed from this checkout into a virtual environment that they can read."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .bed import BED, HOME, BedError

CHECKOUT = Path(__file__).resolve().parents[2]
VENV = Path(os.environ.get("TFSLURM_BED_VENV") or BED / "venv")
LOCK = "requirements-ci.txt"
SHIPPED = ("setup.cfg", "pyproject.toml", LOCK, "README.md", "LICENSE", "tfslurm", "job_templates", "cluster_configs")


def install() -> Path:
    """The `tfslurm` of the bed's users, brought up to this checkout where that has changed; one process does it."""
    with (VENV.parent / f"{VENV.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _install()


def _install() -> Path:
    stamp = VENV / "installed-from"
    identity = source_identity()
    program = VENV / "bin" / "tfslurm"
    if program.exists() and stamp.exists() and stamp.read_text() == identity:
        return program
    if not (VENV / "bin" / "pip").exists():
        _run("/usr/bin/python3", "-m", "venv", str(VENV))
    # pip builds in the source folder; a copy keeps the checkout clean
    with tempfile.TemporaryDirectory() as copy:
        for name in SHIPPED:
            source = CHECKOUT / name
            if source.is_dir():
                shutil.copytree(source, Path(copy) / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, copy)
        pip = (str(VENV / "bin" / "pip"), "--quiet", "--disable-pip-version-check", "install", "--compile")
        _run(*pip, "--require-hashes", "--requirement", str(CHECKOUT / LOCK))
        _run(*pip, "--no-deps", "--no-build-isolation", "--force-reinstall", copy)
    stamp.write_text(identity)
    return program


def source_identity() -> str:
    """A hash of every file that is shipped."""
    digest = hashlib.sha256()
    for name in SHIPPED:
        root = CHECKOUT / name
        paths = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in paths:
            if "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(CHECKOUT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def give_files(user: str, cluster_names: tuple[str, ...] = ("alpha", "beta", "gamma")) -> Path:
    """The user's home, now with the bed's cluster files in ~/.config/tfslurm/clusters and a copy of examples/."""
    home = HOME / user
    clusters = home / ".config" / "tfslurm" / "clusters"
    clusters.mkdir(parents=True, exist_ok=True)
    for name in cluster_names:
        text = (CHECKOUT / "cluster_configs" / f"{name}.yaml").read_text("utf-8")
        (clusters / f"{name}.yaml").write_text(text.replace("/alice", f"/{user}"), "utf-8")
    examples = home / "examples"
    shutil.rmtree(examples, ignore_errors=True)  # an old lock file may name an image that is gone
    shutil.copytree(CHECKOUT / "examples", examples, ignore=shutil.ignore_patterns("__pycache__", "*.lock.yaml"))
    owner = home.stat()
    for folder in (home / ".config", examples):
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
    return home


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise BedError(f"install: `{' '.join(argv)}` failed: {done.stderr.strip()[-800:]}")

"""The node side as it is sent, in a folder: for tests that source its functions or make a run folder."""

from __future__ import annotations

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tfslurm.workspace.packaged_files import node_side

PACKED = TemporaryDirectory(prefix="tfslurm-node-side-")
atexit.register(PACKED.cleanup)


def put_node_side(folder: Path, engine: str = "docker", *, points: bool = False) -> None:
    """Write what a job with this engine is sent beside its script."""
    for name, text in node_side(engine, points=points).items():
        (folder / name).write_text(text)


@cache
def packed(engine: str = "docker", *, points: bool = False) -> Path:
    """A folder with node.sh, task.sh and what else is sent."""
    folder = Path(PACKED.name) / f"{engine}{'-points' if points else ''}"
    folder.mkdir(exist_ok=True)
    put_node_side(folder, engine, points=points)
    return folder


def sourced(engine: str = "docker", *, points: bool = False) -> str:
    """The words with which bash reads both."""
    folder = packed(engine, points=points)
    return f"source {folder}/node.sh; source {folder}/task.sh"

"""A small image with Jupyter's real server and kernel; built once, without a daemon, and kept in the bed's cache."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from . import images
from .bed import CACHE, REGISTRY
from .images import Image, Layer
from .python_image import ENVIRONMENT, SITE
from .tensorflow import _FOLDER, _MADE

REPOSITORY = "tfslurm/jupyter"
WHEELS = ("jupyter_server==2.21.*", "ipykernel==7.*")
REFERENCE = f"{REGISTRY}/{REPOSITORY}:{hashlib.sha256(' '.join(WHEELS).encode()).hexdigest()[:12]}"


@cache
def push() -> None:
    """Put it into the registry; the bed's TensorFlow image has its first layer."""
    debian = Layer(_FOLDER / "debian.tar.gz", json.loads(_MADE.read_text())["layers"]["debian"])
    image = Image((debian, layer()), env=ENVIRONMENT, labels={images.LABEL: "Jupyter for tests"})
    images.push(image, REPOSITORY, REFERENCE.rpartition(":")[2])


def layer() -> Layer:
    """The packages, as a layer."""
    folder = CACHE / "jupyter"
    kept, digest = folder / f"{REFERENCE.rpartition(':')[2]}.tar.gz", folder / "diff_id"
    if kept.exists() and digest.exists():
        return Layer(kept, digest.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as target:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--root-user-action=ignore"]
        subprocess.run([*pip, "--target", target, *WHEELS], check=True)
        files = (path for path in Path(target).rglob("*") if path.is_file())
        made = images.layer_of({f"{SITE}/{path.relative_to(target)}": path.read_bytes() for path in files})
    assert isinstance(made.source, bytes)
    digest.write_text(made.diff_id)
    part = kept.with_suffix(".part")
    part.write_bytes(made.source)
    part.rename(kept)
    return Layer(kept, made.diff_id)

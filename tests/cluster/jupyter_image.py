"""Images with Jupyter, built once, without a daemon, and kept in the bed's cache: a small one, and one with TensorFlow.

The small one has Jupyter's real server and kernel; the other JupyterLab beside the TensorFlow of the bed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from . import images
from .bed import CACHE, REGISTRY
from .images import Image, Layer
from .python_image import ENVIRONMENT, SITE
from .tensorflow import _ENV, _FOLDER, _MADE

REPOSITORY, LAB_REPOSITORY = "tfslurm/jupyter", "tfslurm/jupyterlab"
WHEELS = ("jupyter_server==2.21.*", "ipykernel==7.*")
LAB_WHEELS = ("jupyterlab==4.6.*",)
LABELS = {images.LABEL: "Jupyter for tests"}
DEBIAN, TENSORFLOW = (_FOLDER / f"{name}.tar.gz" for name in ("debian", "wheels"))


def tag(wheels: Sequence[str]) -> str:
    """Another one for other packages."""
    return hashlib.sha256(" ".join(wheels).encode()).hexdigest()[:12]


REFERENCE = f"{REGISTRY}/{REPOSITORY}:{tag(WHEELS)}"
LAB = f"{REGISTRY}/{LAB_REPOSITORY}:{tag(LAB_WHEELS)}"


@cache
def push() -> None:
    """Put the small one into the registry; the bed's TensorFlow image has its first layer."""
    made = json.loads(_MADE.read_text())["layers"]
    image = Image((Layer(DEBIAN, made["debian"]), layer(WHEELS)), env=ENVIRONMENT, labels=LABELS)
    images.push(image, REPOSITORY, tag(WHEELS))


@cache
def push_lab() -> None:
    """Put the one with TensorFlow into the registry; its node has all layers but the last."""
    made = json.loads(_MADE.read_text())["layers"]
    below = (Layer(DEBIAN, made["debian"]), Layer(TENSORFLOW, made["wheels"]))
    images.push(Image((*below, layer(LAB_WHEELS)), env=_ENV, labels=LABELS), LAB_REPOSITORY, tag(LAB_WHEELS))


def layer(wheels: Sequence[str]) -> Layer:
    """The packages, as a layer."""
    folder = CACHE / "jupyter"
    kept, digest = (folder / f"layer-{tag(wheels)}.{end}" for end in ("tar.gz", "diff_id"))
    if kept.exists() and digest.exists():
        return Layer(kept, digest.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as target:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--root-user-action=ignore"]
        subprocess.run([*pip, "--target", target, *wheels], check=True)
        found = {path.relative_to(target): path for path in Path(target).rglob("*") if path.is_file()}
        # pip puts what belongs beside the packages, such as JupyterLab's pages, below them
        places = {at: "usr/local" if at.parts[0] in ("share", "etc") else SITE for at in found}
        made = images.layer_of({f"{places[at]}/{at}": path.read_bytes() for at, path in found.items()})
    assert isinstance(made.source, bytes)
    part = kept.with_suffix(f".{os.getpid()}")
    part.write_bytes(made.source)
    digest.write_text(made.diff_id)
    part.rename(kept)
    return Layer(kept, made.diff_id)

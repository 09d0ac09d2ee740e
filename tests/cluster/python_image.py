"""A small image with the Python of the TensorFlow image, and one without pip; for tests that need no TensorFlow."""

from __future__ import annotations

import json
from functools import cache
from importlib import metadata

from . import images
from .bed import REGISTRY
from .images import Image, Layer
from .tensorflow import _FOLDER, _MADE

REPOSITORY = "tfslurm/python"
REFERENCE = f"{REGISTRY}/{REPOSITORY}:pip"
WITHOUT_PIP = f"{REGISTRY}/{REPOSITORY}:bare"
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")
SITE = "/usr/local/lib/python3.11/dist-packages"


@cache
def push() -> None:
    """Put both into the registry; the bed's TensorFlow image has their first layer."""
    diff_id = json.loads(_MADE.read_text())["layers"]["debian"]
    debian = Layer(_FOLDER / "debian.tar.gz", diff_id)
    packages = {"six.py": "VERSION = 'of the image'\n", "six-1.0.dist-info/METADATA": "Name: six\nVersion: 1.0\n"}
    extra = images.layer_of({f"{SITE}/{name}": text for name, text in packages.items()})
    labels = {images.LABEL: "Python for tests"}
    bare = Image((debian, extra), env=ENVIRONMENT, labels=labels)
    images.push(bare, REPOSITORY, "bare")
    images.push(Image((debian, extra, pip()), env=ENVIRONMENT, labels=labels), REPOSITORY, "pip")


def pip() -> Layer:
    """The pip of this Python, as a layer."""
    pip = metadata.distribution("pip")
    listed = [path for path in pip.files or () if path.parts[0] != ".." and path.suffix != ".pyc"]
    return images.layer_of({f"{SITE}/{path}": path.read_binary() for path in listed})

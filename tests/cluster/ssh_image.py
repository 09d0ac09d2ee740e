"""A small image with Debian's sshd, from the packages of this machine; for ssh into a container."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path

from . import images
from .bed import REGISTRY
from .images import Image, Layer
from .python_image import ENVIRONMENT
from .tensorflow import _FOLDER, _MADE

REPOSITORY = "tfslurm/ssh"
REFERENCE = f"{REGISTRY}/{REPOSITORY}:1"
PROGRAMS = ("/usr/sbin/sshd", "/usr/bin/ssh-keygen", "/usr/lib/openssh/sftp-server")


@cache
def push() -> None:
    """Put it into the registry; the bed's TensorFlow image has its first layer, of the same Debian as this machine."""
    debian = Layer(_FOLDER / "debian.tar.gz", json.loads(_MADE.read_text())["layers"]["debian"])
    linked = subprocess.run(["ldd", *PROGRAMS], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"=> (/\S+)", linked)
    places = (re.sub("^/lib/", "/usr/lib/", path) for path in (*PROGRAMS, *libraries))  # /lib is a link there
    files = {path: Path(path).read_bytes() for path in places}
    image = Image((debian, images.layer_of(dict(files))), env=ENVIRONMENT, labels={images.LABEL: "sshd for tests"})
    images.push(image, REPOSITORY, REFERENCE.rpartition(":")[2])

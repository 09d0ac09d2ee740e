"""The packages that an image holds, as a resolver can take them: wheels of their name and version alone.

With them a resolver asks no index for what the image has, be it a build of the image's own that no index knows, and it
cannot choose another version, because each is a constraint too.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from tfslurm.image.facts import ImageFacts
from tfslurm.local_files import write_file

_FIRST = (1980, 1, 1, 0, 0, 0)


def write_stubs(folder: Path, facts: ImageFacts, without: Collection[str]) -> list[str]:
    """Write a wheel for each package of the image but those ``without``; each as a constraint, ``NAME==VERSION``."""
    constraints = []
    for name, version in held(facts, without):
        base = f"{name.replace('-', '_')}-{version}"
        write_file(folder / f"{base}-py3-none-any.whl", _wheel(name, version, base))
        constraints.append(f"{name}=={version}")
    return constraints


def held(facts: ImageFacts, without: Collection[str]) -> Iterator[tuple[str, str]]:
    """Name and version of each package that a requirement can be compared with: a version is one of PEP 440."""
    from packaging.version import InvalidVersion, Version

    for name, version in sorted(facts.packages.items()):
        try:
            plain = str(Version(version))
        except InvalidVersion:
            continue
        if name not in without and re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            yield name, plain


def _wheel(name: str, version: str, base: str) -> bytes:
    members = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tfslurm\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, text in members.items():
            archive.writestr(zipfile.ZipInfo(f"{base}.dist-info/{member}", _FIRST), text)
    return packed.getvalue()

"""Tiny wheels made from nothing: the same arguments give the same bytes, so a test knows their sha256."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

MOMENT = (2024, 5, 1, 12, 0, 0)


class MadeWheel(NamedTuple):
    """A wheel: its file name, its bytes, and what a lock says of it."""

    file: str
    content: bytes
    name: str
    version: str

    @property
    def sha256(self) -> str:
        """The hash of its bytes."""
        return hashlib.sha256(self.content).hexdigest()

    def put(self, folder: Path) -> Path:
        """The file, written into a folder that is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.file
        path.write_bytes(self.content)
        return path


def wheel(
    name: str,
    version: str = "1.0",
    files: Mapping[str, str | bytes] | None = None,
    *,
    requires: Sequence[str] = (),
    scripts: Mapping[str, str] | None = None,
    tag: str = "py3-none-any",
) -> MadeWheel:
    """A wheel with these files, default: a module of its name that knows its VERSION.

    ``requires`` are its requirements, ``scripts`` its console scripts: ``{"greet": "name:main"}``. ``tag`` is the
    end of its file name: for which Python and platform it is.
    """
    module = name.replace("-", "_").replace(".", "_")
    members: dict[str, str | bytes] = dict(files or {f"{module}.py": f'VERSION = "{version}"\n'})
    info = f"{module}-{version}.dist-info"
    extras = sorted(set(re.findall(r"extra == '([a-z0-9-]+)'", " ".join(requires))))
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    needs += "".join(f"Provides-Extra: {each}\n" for each in extras)
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}\n"
    pure = "true" if tag.endswith("-any") else "false"
    members[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: {pure}\nTag: {tag}\n"
    if scripts:
        lines = "".join(f"{key} = {value}\n" for key, value in scripts.items())
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{lines}"
    listed = "".join(f"{path},sha256={sum_of(content)},{len(content)}\n" for path, content in members.items())
    members[f"{info}/RECORD"] = f"{listed}{info}/RECORD,,\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members.items():
            entry = zipfile.ZipInfo(path, MOMENT)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
            archive.writestr(entry, content)
    return MadeWheel(f"{module}-{version}-{tag}.whl", packed.getvalue(), name, version)


def sum_of(content: str | bytes) -> str:
    """The hash of a member as RECORD writes it."""
    raw = content.encode() if isinstance(content, str) else content
    return base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()

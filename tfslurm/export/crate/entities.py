"""The entities of a crate's graph, each once, and their ids."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any
from urllib.parse import quote

Entity = dict[str, Any]
SAFE = "/-._~!$&'()*+,;=@"
"Characters that stand for themselves in the path of a URI; a colon could end a scheme's name. Source: RFC 3986, 3.3."
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,80}")
FORMATS = {
    "json": "application/json",
    "jsonl": "application/jsonl",
    "yaml": "application/yaml",
    "yml": "application/yaml",
    "md": "text/markdown",
    "txt": "text/plain",
    "log": "text/plain",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "py": "text/x-python",
    "sh": "text/x-shellscript",
    "sbatch": "text/x-shellscript",
    "sha256": "text/plain",
    "h5": "application/x-hdf5",
    "hdf5": "application/x-hdf5",
    "keras": "application/zip",
    "npz": "application/zip",
    "zip": "application/zip",
    "gz": "application/gzip",
    "tar": "application/x-tar",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "html": "text/html",
}


class Graph:
    """The entities so far."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}

    def add(self, entity: Entity) -> Entity:
        """A reference to an entity, which is in the graph from now on; one without a value under a key lacks it."""
        kept = {key: value for key, value in entity.items() if value not in (None, "", [], ())}
        self.entities.setdefault(kept["@id"], kept)
        return {"@id": kept["@id"]}

    def value(self, kind: str, name: str, value: object, **more: object) -> Entity:
        """A reference to a PropertyValue; a value of several parts is their JSON."""
        shown = value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
        entity = {"@type": "PropertyValue", "name": name, "value": shown, **more}
        return self.add({"@id": f"#{kind}-{mark(entity)}", **entity})


def uri(path: str) -> str:
    """The path of a file as the id of its entity, relative to the crate."""
    return quote(path.encode("utf-8", "surrogateescape"), safe=SAFE)


def local(kind: str, name: str) -> str:
    """An id within the crate; a name of other than plain characters is its hash."""
    return f"#{kind}-{name if PLAIN.fullmatch(name) else mark(name)}"


def mark(value: object) -> str:
    """A short hash of a value."""
    return sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def format_of(path: str) -> str:
    """The media type of a file by its name; the same on every machine."""
    return FORMATS.get(path.rpartition("/")[2].rpartition(".")[2].lower(), "application/octet-stream")


def one_or_all(refs: list[Entity]) -> Entity | list[Entity]:
    """A list of one is that one, as RO-Crate compacts it."""
    return refs[0] if len(refs) == 1 else refs


def moment(text: str | None) -> str | None:
    """A time with its offset written as numbers; the profile takes no Z."""
    return text.replace("Z", "+00:00") if text else None

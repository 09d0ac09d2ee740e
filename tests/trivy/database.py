"""A vulnerability database for the real trivy, written by hand: the true one is on the internet, and changes daily.

The vulnerabilities in it are made up. The file is of bbolt, as trivy opens it: two meta pages, an empty freelist, and
leaf pages alone. Source: go.etcd.io/bbolt, internal/common/{page,meta,bucket,inode}.go; aquasecurity/trivy-db, pkg/db.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Tree: TypeAlias = "Mapping[str, Tree | bytes]"
PAGE = 4096
LEAF, META, FREELIST, IS_BUCKET = 0x02, 0x04, 0x10, 0x01
MAGIC, FORMAT = 0xED0CDAED, 2
DEBIAN, PIP = "debian 12", "pip::GitHub Security Advisory pip"


def database(
    folder: Path, debian: Tree, details: Tree, *, pip: Tree | None = None, updated_at: str, next_at: str
) -> None:
    """Write `db/trivy.db` and its metadata below a cache folder of trivy's.

    ``debian`` and ``pip``: package -> id -> advisory. ``details``: id -> what is known of it.
    """
    sources = {
        DEBIAN: {"ID": "debian", "Name": "made by hand", "URL": "https://example.org"},
        PIP: {"ID": "ghsa", "Name": "made by hand", "URL": "https://example.org"},
    }
    told: Tree = {
        "data-source": {name: json.dumps(each).encode() for name, each in sources.items()},
        DEBIAN: debian,
        PIP: pip or {},
        "vulnerability": details,
    }
    (folder / "db").mkdir(parents=True, exist_ok=True)
    (folder / "db" / "trivy.db").write_bytes(bolt(told))
    moments = {"NextUpdate": next_at, "UpdatedAt": updated_at, "DownloadedAt": updated_at}
    (folder / "db" / "metadata.json").write_text(json.dumps({"Version": 2, **moments}))


def advisory(**fields: object) -> bytes:
    """One value of the database."""
    return json.dumps(fields).encode()


def bolt(buckets: Mapping[str, Tree | bytes]) -> bytes:
    """The bytes of a file with these top buckets: each has pages of its own, what is below it is in line."""
    pages, number = b"", 4
    roots: dict[str, bytes] = {}
    for name, tree in buckets.items():
        assert not isinstance(tree, bytes)
        page = whole(number, leaf(tree, number))
        roots[name] = struct.pack("<QQ", number, 0)
        pages += page
        number += len(page) // PAGE
    top = whole(3, elements([(name.encode(), value, IS_BUCKET) for name, value in sorted(roots.items())], 3))
    assert len(top) == PAGE
    free = whole(2, struct.pack("<QHHI", 2, FREELIST, 0, 0))
    return meta(0, number) + meta(1, number) + free + top + pages


def leaf(tree: Tree, number: int = 0) -> bytes:
    """A leaf page, without what fills it up; a bucket below it is a value that begins with its header."""
    made = []
    for name, value in sorted(tree.items()):
        is_bucket = not isinstance(value, bytes)
        inside = struct.pack("<QQ", 0, 0) + leaf(value) if not isinstance(value, bytes) else value
        made.append((name.encode(), inside, IS_BUCKET if is_bucket else 0))
    return elements(made, number)


def elements(made: list[tuple[bytes, bytes, int]], number: int) -> bytes:
    """The page of these keys and values."""
    head, data = b"", b""
    for place, (key, value, flag) in enumerate(made):
        offset = 16 * (len(made) - place) + len(data)
        head += struct.pack("<IIII", flag, offset, len(key), len(value))
        data += key + value
    return struct.pack("<QHHI", number, LEAF, len(made), 0) + head + data


def whole(number: int, page: bytes) -> bytes:
    """The page, filled up; where it needs several, its header says how many more."""
    more = (len(page) - 1) // PAGE
    page = page[:12] + struct.pack("<I", more) + page[16:]
    return page.ljust((more + 1) * PAGE, b"\0")


def meta(number: int, end: int) -> bytes:
    """One of the two meta pages."""
    body = struct.pack("<IIIIQQQQQ", MAGIC, FORMAT, PAGE, 0, 3, 0, 2, end, number)
    total = 0xCBF29CE484222325
    for byte in body:  # FNV-1a
        total = (total ^ byte) * 0x100000001B3 % 2**64
    return (struct.pack("<QHHI", number, META, 0, 0) + body + struct.pack("<Q", total)).ljust(PAGE, b"\0")

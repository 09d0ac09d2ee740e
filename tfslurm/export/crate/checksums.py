"""SHA256SUMS: the sums of a crate's files, as sha256sum writes and checks them."""

from __future__ import annotations

from collections.abc import Iterable

from tfslurm.export.crate.contents import CrateFile


def sums(files: Iterable[CrateFile]) -> bytes:
    """A line for each file; a name that would break its line is escaped. Source: GNU coreutils, cksum, `--zero`."""
    return b"".join(line(each) for each in sorted(files))


def line(each: CrateFile) -> bytes:
    """The sum and the name of a file, after a backslash where the name is escaped."""
    name = each.path.encode("utf-8", "surrogateescape")
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return b"%s%s  %s\n" % (b"\\" if escaped != name else b"", each.sha256.encode(), escaped)

"""A number of bytes as a reader sees it, the same wherever tfslurm prints one."""

from __future__ import annotations


def size_text(count: int) -> str:
    """``531 bytes``, ``12.4 KiB``, ``753.3 MiB``, ``4.0 GiB``: one decimal of the largest unit that leaves 1 or more.

    Where a size is compared with another, or belongs to a sha256, tfslurm prints the exact number of bytes instead.
    """
    if abs(count) < 1024:
        return f"{count} {'byte' if count == 1 else 'bytes'}"
    size, unit = count / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB", "PiB"):
        if round(abs(size), 1) < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.1f} {unit}"

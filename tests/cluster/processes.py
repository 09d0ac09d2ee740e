"""The processes of this host, in which the tests find those of a job: all nodes of the bed are this host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .bed import wait_until


def processes() -> Iterator[tuple[int, str]]:
    """Every process, and its command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield int(folder.name), (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children(pid: int) -> list[int]:
    """The processes that this one has started itself."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def clients(engine: str, container: str) -> list[int]:
    """The engine's client that attends this container, and what it started of itself (podman); they are awaited."""
    words, found = (f"{engine} start --attach", container), list[int]()

    def look() -> bool:
        found[:] = sorted(pid for pid, line in processes() if all(word in line for word in words))
        return bool(found)

    assert wait_until(look, 10), f"no process with {words}"
    return found

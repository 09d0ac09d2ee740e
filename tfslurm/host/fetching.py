"""What a job left in its outputs, and its bytes in pieces: for files that are too many or too large for one answer.

Names go in on stdin and come back between NULs, because not every byte of a name survives every login shell.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tfslurm.errors import HostError
from tfslurm.host.files import in_bash, named, one_line, patience_s
from tfslurm.host.protocol import Host

# $1 the job's folder. What find says that it cannot look into comes last: on stderr there may be a login's words.
LOOK = one_line(r"""export LC_ALL=C;
[ ! -L "$1" ] && [ ! -L "${1%/*}" ] && [ -O "$1" ] && cd -- "$1" 2>/dev/null || { printf 'no folder\0'; exit; };
[ -d out ] && [ ! -L out ] || { printf 'no outputs\0'; exit; };
last=0; for attempt in attempt-*; do n=${attempt#attempt-}; case $n in ''|*[!0-9]*|???????*) continue ;; esac;
[ -L "$attempt" ] || [ "$n" -le "$last" ] || last=$n; done;
{ said=$(find out -mindepth 1 -ignore_readdir_race '(' -type f -printf 'f %s %m %T@ %P\0' ')'
-o '(' -type l -printf 'l %P\0%l\0' ')' -o '(' -type d -empty -printf 'd %P\0' ')'
-o '(' ! -type d ! -type f ! -type l -printf 'o %P\0' ')' 2>&1 >&3); code=$?; } 3>&1;
printf 'recorded\0'; sums=attempt-$last/outputs.sha256;
[ ! -f "$sums" ] || [ -L "$sums" ] || head -c 268435456 -- "$sums";
printf '\0unread\0%s' "$said"; exit "$code" """)

# $1 folder; on stdin how many bytes and a name, both ended by NUL, as often as wanted. One line each: a sha256 or `-`.
SUMS = one_line(r"""cd -- "$1" || exit; while IFS= read -r -d '' n && IFS= read -r -d '' name; do sum=-;
[ -f "./$name" ] && [ ! -L "./$name" ] && [ -r "./$name" ] && sum=$(head -c "$n" -- "./$name" | sha256sum);
echo "${sum%% *}"; done""")

# $1 folder; names on stdin. tar ends with 1 where a file changed meanwhile, with 2 where one could not be read.
PACK = one_line("""cd -- "$1" || exit;
tar --create --file=- --format=gnu --hard-dereference --no-recursion --null --files-from=- ;
code=$?; [ "$code" -gt 2 ] || exit 0; exit "$code" """)

# $1 folder, $2 first byte from 1, $3 how many; the name on stdin.
PIECE = one_line("""cd -- "$1" || exit; IFS= read -r -d '' name || exit;
[ -f "./$name" ] && [ ! -L "./$name" ] || exit 0; tail -c "+$2" -- "./$name" | head -c "$3" """)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something below the outputs: ``kind`` is find's letter f, l, d (an empty folder) or o for anything else.

    Bytes of ``path`` and ``target`` (of a link) that are not UTF-8 are kept as surrogates.
    """

    kind: str
    path: str
    bytes: int = 0
    mode: int = 0
    mtime_ns: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is there now; ``recorded`` is path -> sha256 as the job's last attempt wrote it down, where it did."""

    entries: tuple[Entry, ...]
    recorded: Mapping[str, str]
    unread: tuple[str, ...]  # what find could not look into, in its words


def look(host: Host, folder: PurePosixPath) -> Outputs:
    """Return what one job has in its outputs; ``folder`` is the job's own.

    Raises:
        HostError: the folder or its `out` is not there, or the machine could not be reached.
        CommandFailed: the machine refused.
    """
    done = host.run(in_bash(LOOK, str(folder)), timeout_s=600)
    if done.exit_code > 1:
        raise named(done, "look into", folder)
    told, _, unread = done.stdout.rpartition("\0unread\0")
    words = (told or unread).split("\0")
    if words[0] in ("no folder", "no outputs"):
        missing = folder if words[0] == "no folder" else folder / "out"
        why = "is not there: the job has not begun, or it was removed, or you may not look there"
        raise HostError(f"{host.name}: {missing}: {why}")
    if words.count("recorded") != 1:
        raise named(done, "look into", folder)
    middle = words.index("recorded")
    sums = (re.fullmatch(r"([0-9a-f]{64}) [ *](?:\./)?(.+)", word, re.DOTALL) for word in words[middle + 1 :])
    recorded = {found[2]: found[1] for found in sums if found}
    return Outputs(tuple(_entries(iter(words[:middle]))), recorded, tuple(dict.fromkeys(unread.splitlines())))


def _entries(words: Iterable[str]) -> Iterable[Entry]:
    words = iter(words)
    for word in words:
        kind, _, path = word.partition(" ")
        if kind == "f":
            size, mode, when, path = path.split(" ", 3)
            seconds, _, rest = when.partition(".")
            yield Entry(kind, path, int(size), int(mode, 8), int(seconds) * 10**9 + int(rest[:9].ljust(9, "0")))
        elif kind == "l":
            yield Entry(kind, path, target=next(words))
        else:
            yield Entry(kind, path)


def sums(host: Host, folder: PurePosixPath, beginnings: Sequence[tuple[str, int]]) -> list[str]:
    """Return the sha256 of the first so many bytes of each of these files; '' where one cannot be read."""
    if not beginnings:
        return []
    asked = b"".join(b"%d\0%s\0" % (count, as_bytes(path)) for path, count in beginnings)
    patience = patience_s(sum(count for _, count in beginnings) // 10)  # a disk there, not the line
    said = host.run_bytes(in_bash(SUMS, str(folder)), input=asked, timeout_s=patience)
    found = said.decode("ascii", "replace").split()
    if len(found) != len(beginnings):
        raise HostError(f"{host.name}: {folder}: its files could not be hashed there: {said[-200:]!r}")
    return ["" if word == "-" else word for word in found]


def pack(host: Host, folder: PurePosixPath, files: Sequence[Entry]) -> dict[str, bytes]:
    """Return path -> content of these files as they are now, in one stream; those that cannot be read are left out."""
    names = b"".join(b"./%s\0" % as_bytes(file.path) for file in files)
    patience = patience_s(sum(file.bytes + 1024 for file in files))
    stream = host.run_bytes(in_bash(PACK, str(folder)), input=names, timeout_s=patience)
    wanted, found = {file.path for file in files}, {}
    with tarfile.open(fileobj=io.BytesIO(stream), encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            path = member.name.removeprefix("./")
            if content and path in wanted:
                found[path] = content.read()
    return found


def piece(host: Host, folder: PurePosixPath, path: str, offset: int, count: int) -> bytes:
    """Return at most ``count`` bytes of a file from byte ``offset`` on; fewer where it ends or cannot be read."""
    argv = in_bash(PIECE, str(folder), str(offset + 1), str(count))
    return host.run_bytes(argv, input=as_bytes(path) + b"\0", timeout_s=patience_s(count))


def as_bytes(path: str) -> bytes:
    """A path as the machine has it, whatever the locale here."""
    return path.encode("utf-8", "surrogateescape")

"""Files on a machine, as tar streams through one command each: they arrive whole or not at all."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tfslurm.errors import CommandFailed, Completed, HostError
from tfslurm.host.protocol import Host

SLOWEST_BYTES_PER_S = 250_000
"What a line must carry at least before a transfer is given up."
MOST_FILES = 20_000
"Of one folder."


def in_bash(script: str, *words: str) -> tuple[str, ...]:
    """Return the argv that runs a script of one line with these words as $1, $2 …

    --norc: a bash that sshd started reads .bashrc even for -c, and what that prints would stand in the answer.
    """
    return ("bash", "--norc", "-p", "-c", script, "bash", *words)


def one_line(script: str) -> str:
    """One line of a script, because tcsh as a login shell takes no line break within quotes."""
    return " ".join(script.split("\n"))


# Of sh: whether ROOT/runs and a name are what a run folder has, and whether it is a real folder of the caller's. What
# removes or writes in one asks this on the far side again, where the path is what it is at that moment.
RUN_FOLDER = one_line("""is_named() { case $1 in /*/runs) ;; *) return 1 ;; esac; case /$1/ in */../*) return 1 ;; esac;
case $2 in [!a-z0-9]*|*[!a-z0-9-]*) return 1 ;; ?*-????????????) ;; *) return 1 ;; esac;
case ${2##*-} in *[!0-9a-f]*) return 1 ;; ????????????) ;; *) return 1 ;; esac; };
is_mine() { is_named "$1" "$2" && [ ! -L "$1/$2" ] && [ -d "$1/$2" ] && [ -O "$1/$2" ]; };
""")

# $1 parent, $2 name of a run folder: it goes, if it is one and the caller's.
REMOVE = RUN_FOLDER + one_line("""! is_named "$1" "$2" || [ -e "$1/$2" ] || [ -L "$1/$2" ] || exit 0;
is_mine "$1" "$2" || { echo "is no run folder of yours; nothing was removed" >&2; exit 1; }; rm -rf -- "$1/$2" """)

# $1 parent, $2 name, $3 mode, $4 how many files. tar takes a stream that ends between two members for a whole one.
PUT = one_line("""set -eu; export LC_ALL=C;
[ ! -e "$1/$2" ] || { echo "it exists already" >&2; exit 1; };
mkdir -p -- "$1"; new=$(mktemp -d -- "$1/.$2.XXXXXXXX"); trap 'rm -rf -- "$new"' EXIT;
tar --extract --file=- --directory="$new" --touch --no-same-owner --same-permissions;
[ "$(find "$new" -type f -printf . | wc -c)" -eq "$4" ] || { echo "the transfer was cut short" >&2; exit 1; };
chmod -- "$3" "$new"; mv --no-target-directory -- "$new" "$1/$2"; trap - EXIT""")

# $1 folder.
LOOK = one_line("""[ -d "$1" ] || exit 0; find "$1" '(' -type f -o -type l ')' -printf . | wc -c""")

# $1 parent, $2 name. Prints how many files are there already, and nothing where it wrote them. Times become now,
# because scratch file systems remove what looks old. Whoever loses a race finds the other's folder, which is the same.
# A folder without w cannot change its parent, so it loses its w last.
PUT_TREE = one_line(r"""set -eu; export LC_ALL=C;
if [ -d "$1/$2" ]; then find "$1/$2" '(' -type f -o -type l ')' -printf . | wc -c; exit; fi;
mkdir -p -- "$1"; new=$(mktemp -d -- "$1/.$2.XXXXXXXX"); trap 'chmod -R u+w -- "$new"; rm -rf -- "$new"' EXIT;
tar --extract --file=- --directory="$new" --touch --no-same-owner --no-same-permissions;
[ -f "$new/contents" ] || { echo "the transfer was cut short" >&2; exit 1; }; cd -- "$new/tree";
{ find . -type f -print0 | sort --zero-terminated | xargs --null --no-run-if-empty sha256sum --zero;
find . -type l -printf '%p -> %l\0' | sort --zero-terminated; } > "$new/arrived";
cmp -s -- "$new/arrived" "$new/contents" || { echo "other bytes arrived than were sent" >&2; exit 1; };
chmod -R a-w . ; chmod u+w . ; cd / ;
mv --no-target-directory -- "$new/tree" "$1/$2" 2> "$new/said" || [ -d "$1/$2" ] || { cat "$new/said" >&2; exit 1; };
chmod a-w -- "$1/$2" """)

# $1 folder, $2 most bytes of one file, $3 most bytes of all, $4 most files, then find's words that leave some out. The
# small ones come first, so that one that is too large takes no other's place. Out come size and path of those that are
# left out, NUL after each, one more NUL, and the others as tar, which ends with 1 where a file changed meanwhile, and
# with 2 where one has gone since, which is no error, or may not be read.
# bash -p reads no BASH_ENV, which may print.
GET = one_line("""export LC_ALL=C; [ -d "$1" ] || { printf '\\0'; exit 0; };
[ ! -L "$1" ] && [ ! -L "${1%/*}" ] || { echo "is a link, or in one, which is not followed" >&2; exit 1; };
[ -O "$1" ] || { echo "is another user's" >&2; exit 1; };
cd -- "$1" || exit; each=$2; most=$3; files=$4; shift 4; taken=(); total=0;
while IFS= read -r -d '' path; do size=${path%% *}; path=${path#* };
if [ "$size" -le "$each" ] && [ "$((total + size))" -le "$most" ] && [ "${#taken[@]}" -lt "$files" ];
then taken+=("./$path"); total=$((total + size));
elif [ "$((left += 1))" -le 100 ]; then printf '%s %s\\0' "$size" "$path"; fi; done
< <(find . -mindepth 1 -ignore_readdir_race "$@" -type f -printf '%s %P\\0' | sort --zero-terminated --numeric-sort);
printf '\\0'; [ "${#taken[@]}" -gt 0 ] || exit 0; printf '%s\\0' "${taken[@]}" |
tar --create --file=- --format=gnu --hard-dereference --no-recursion --null --files-from=- ;
code=$?; [ "$code" -le 2 ] || exit "$code";
[ "$code" -lt 2 ] || for one in "${taken[@]}"; do [ ! -e "$one" ] || [ -r "$one" ] || exit 2; done""")

# $1 path, $2 first byte from 1, $3 how many. No link is followed, no pipe waited for.
READ = one_line("""[ -f "$1" ] && [ ! -L "$1" ] || exit 0; tail -c "+$2" -- "$1" | head -c "$3" """)


@dataclass(frozen=True, slots=True)
class File:
    """What a file holds and its permission bits."""

    content: bytes
    mode: int = 0o644


def put(host: Host, folder: PurePosixPath, files: Mapping[str, File], *, mode: int = 0o700) -> None:
    """Write a new folder with these files, whole or not at all.

    Keys are relative names (``secrets/WANDB_API_KEY``); folders below get ``mode`` too. Missing parents are made.

    Raises:
        CommandFailed: the folder exists already, or the machine refused (permissions, quota, no space).
        HostError: the machine could not be reached; nothing was written.
    """
    content = as_tar(files, mode)
    argv = ("sh", "-c", PUT, "sh", str(folder.parent), folder.name, f"{mode:o}", str(len(files)))
    done = host.run(argv, input=content, timeout_s=patience_s(len(content)))
    _check(done, "write", folder)


def put_tree(
    host: Host, folder: PurePosixPath, *, files: int, bytes: int, stream: Iterable[bytes], look: bool = True
) -> bool:
    """Write a code snapshot once: True where it was sent, False where the folder was there already.

    ``put_tree(host, plan.code_dir, files=snapshot.files, bytes=snapshot.bytes, stream=snapshot.stream())``. The tree is
    checked on the far side against the snapshot's SHA-256 list before it appears, and nobody can write in it after.
    Without ``look`` the stream is begun at once: one command, for a folder that is hardly there.

    Raises:
        CommandFailed: the machine refused, or other bytes arrived than were sent.
        HostError: the folder is there but not whole (a purge of old files), or the machine could not be reached.
    """
    there = ""
    if look:
        there = _check(host.run(("sh", "-c", LOOK, "sh", str(folder)), timeout_s=120), "look into", folder).strip()
    if not there:
        argv = ("sh", "-c", PUT_TREE, "sh", str(folder.parent), folder.name)
        done = host.run(argv, input=stream, timeout_s=patience_s(bytes + 1024 * files))
        there = _check(done, "write", folder).strip()
    if there not in ("", str(files)):
        why = f"holds {there} of its {files} files; was it cleaned up?"
        raise HostError(f"{host.name}: {folder}: {why} Remove it there (chmod -R u+w, rm -r), then try again")
    return not there


def get(
    host: Host,
    folder: PurePosixPath,
    *,
    exclude: Sequence[str] = (),
    max_bytes: int = 64 * 2**20,
    max_file_bytes: int = 16 * 2**20,
) -> Mapping[str, bytes]:
    """Return the regular files below a folder, relative name -> content; nothing where the folder does not exist.

    ``exclude`` are shell patterns against the whole relative name (``*`` crosses ``/``; a folder takes what it holds):
    ``("*/out", "secrets")``. Files that change while they are read are kept as far as they were read. No link is
    followed. A file that is too large, or does not fit in ``max_bytes`` beside the smaller ones, is left out; one with
    its name and ``.error`` says so.

    Raises:
        CommandFailed: a file could not be read, or the folder is a link or another user's.
    """
    pruned = [word for pattern in exclude for word in ("-path", f"./{pattern}", "-prune", "-o")]
    argv = in_bash(GET, str(folder), str(max_file_bytes), str(max_bytes), str(MOST_FILES), *pruned)
    try:
        stream = host.run_bytes(argv, timeout_s=patience_s(max_bytes))
    except CommandFailed as failure:
        raise named(failure.completed, "read", folder) from None
    head, _, stream = stream.partition(b"\0") if stream.startswith(b"\0") else stream.partition(b"\0\0")
    found: dict[str, bytes] = {}
    for line in head.split(b"\0") if head else ():
        size, _, path = line.decode("utf-8", "surrogateescape").partition(" ")
        found[f"{path}.error"] = b"it was not read: it has %s bytes, more than is read of one job" % size.encode()
    if stream:
        with tarfile.open(fileobj=io.BytesIO(stream), errors="surrogateescape") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content:
                    found[member.name.removeprefix("./")] = content.read()
    return found


def read_from(host: Host, path: PurePosixPath, offset: int, max_bytes: int = 2**20) -> bytes:
    """Return at most ``max_bytes`` of a regular file from byte ``offset`` on; empty at its end or where there is none.

    A link is not followed.
    """
    return host.run_bytes(("sh", "-c", READ, "sh", str(path), str(offset + 1), str(max_bytes)))


def as_tar(files: Mapping[str, File], mode: int) -> bytes:
    """The stream that ``PUT`` reads."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        made: set[PurePosixPath] = set()
        for name, file in files.items():
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or str(path) in ("", "."):
                raise ValueError(f"{name!r} is no name below a folder")
            for parent in [parent for parent in reversed(path.parents) if parent.name and parent not in made]:
                made.add(parent)
                archive.addfile(_member(parent, mode, tarfile.DIRTYPE, 0))
            member = _member(path, file.mode, tarfile.REGTYPE, len(file.content))
            archive.addfile(member, io.BytesIO(file.content))
    return stream.getvalue()


def _member(path: PurePosixPath, mode: int, kind: bytes, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(str(path))
    info.mode, info.type, info.size = mode, kind, size
    return info


def patience_s(size: int) -> float:
    """How long a transfer of so many bytes may take."""
    return 120 + size / SLOWEST_BYTES_PER_S


def _check(done: Completed, verb: str, folder: PurePosixPath) -> str:
    if done.exit_code:
        raise named(done, verb, folder)
    return done.stdout


def named(done: Completed, verb: str, folder: PurePosixPath) -> CommandFailed:
    """The failure under what was meant, because the script itself tells a user nothing."""
    return CommandFailed(Completed((verb, str(folder)), done.exit_code, done.stdout, done.stderr, done.host))

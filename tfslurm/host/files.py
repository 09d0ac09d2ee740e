"""Files on a machine, as tar streams through one command each: they arrive whole or not at all."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tfslurm.errors import CommandFailed, Completed, HostError
from tfslurm.host.folders import ALONE, GUARD, OPEN_RUN, Sharing
from tfslurm.host.protocol import Host

MOST_FILES = 1000
"In one answer."

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
# What arrives is the user's alone from its first moment; sbatch, which may come after, gives the job the user's umask.
PUT = one_line("""set -eu; export LC_ALL=C; mask=$(umask); umask 077;
[ ! -e "$1/$2" ] || { echo "it exists already" >&2; exit 1; };
mkdir -p -- "$1"; new=$(mktemp -d -- "$1/.$2.XXXXXXXX"); trap 'rm -rf -- "$new"' EXIT;
tar --extract --file=- --directory="$new" --touch --no-same-owner --same-permissions;
[ "$(find "$new" -type f -printf . | wc -c)" -eq "$4" ] || { echo "the transfer was cut short" >&2; exit 1; };
chmod -- "$3" "$new"; mv --no-target-directory -- "$new" "$1/$2"; trap - EXIT; umask "$mask" """)

# own_tree FOLDER: a tree of code that is there is the user's own, whatever it holds: another user could change it after
# it was looked at. It is closed to others.
OWN_TREE = one_line("""own_tree() { [ ! -L "$1" ] && [ -O "$1" ] || { echo "$1 is a link, or another user's;
move it away" >&2; exit 1; }; chmod go-rwx -- "$1"; }; """)

# $1 folder.
LOOK = OWN_TREE + one_line("""[ -d "$1" ] || exit 0; own_tree "$1";
find "$1" '(' -type f -o -type l ')' -printf . | wc -c""")

# $1 parent, $2 name. Prints how many files are there already, and nothing where it wrote them. Times become now,
# because scratch file systems remove what looks old. Whoever loses a race finds the other's folder, which is the same.
# A folder without w cannot change its parent, so it loses its w last. A tree that others could read is closed.
PUT_TREE = OWN_TREE + one_line(r"""set -eu; export LC_ALL=C; umask 077;
if [ -d "$1/$2" ]; then own_tree "$1/$2";
find "$1/$2" '(' -type f -o -type l ')' -printf . | wc -c; exit; fi;
mkdir -p -- "$1"; new=$(mktemp -d -- "$1/.$2.XXXXXXXX"); trap 'chmod -R u+w -- "$new"; rm -rf -- "$new"' EXIT;
tar --extract --file=- --directory="$new" --touch --no-same-owner --no-same-permissions;
[ -f "$new/contents" ] || { echo "the transfer was cut short" >&2; exit 1; }; cd -- "$new/tree";
{ find . -type f -print0 | sort --zero-terminated | xargs --null --no-run-if-empty sha256sum --zero;
find . -type l -printf '%s %p -> %l\0' | sort --zero-terminated;
find . -type f -perm -u=x -printf 'x %p\0' | sort --zero-terminated; } > "$new/arrived";
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

# $1 path, $2 first byte from 1, $3 how many. No link is followed, no pipe waited for, nothing of another user's read.
READ = one_line("""[ -f "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] || exit 0; tail -c "+$2" -- "$1" | head -c "$3" """)


@dataclass(frozen=True, slots=True)
class File:
    """What a file holds and its permission bits."""

    content: bytes
    mode: int = 0o600


def put(
    host: Host, folder: PurePosixPath, files: Mapping[str, File], *, mode: int = 0o700, sharing: Sharing = ALONE
) -> None:
    """Write a new run folder, ``ROOT/runs/NAME``, with these files, whole or not at all.

    Keys are relative names (``secrets/WANDB_API_KEY``); folders below get ``mode`` too. Missing parents are made, for
    the user alone.

    Raises:
        CommandFailed: the folder exists already, others can replace it, or the machine refused (permissions, quota, no
            space).
        HostError: the machine could not be reached; nothing was written.
    """
    content = as_tar(files, mode)
    words = (str(folder.parent), folder.name, f"{mode:o}", str(len(files)), *sharing.words)
    script = f'{GUARD} guard "$1" "$5" "$6"; {PUT}; run="$1/$2"; {OPEN_RUN}'
    argv = ("sh", "-c", script, "sh", *words)
    done = host.run(argv, input=content, timeout_s=patience_s(len(content)))
    _check(done, "write", folder)


def put_tree(
    host: Host,
    folder: PurePosixPath,
    *,
    files: int,
    bytes: int,
    stream: Iterable[bytes],
    look: bool = True,
    sharing: Sharing = ALONE,
) -> bool:
    """Write a code snapshot once: True where it was sent, False where the folder was there already.

    ``put_tree(host, plan.code_dir, files=snapshot.files, bytes=snapshot.bytes, stream=snapshot.stream())``. The tree is
    checked on the far side against the snapshot's SHA-256 list before it appears, and nobody can write in it after.
    Without ``look`` the stream is begun at once: one command, for a folder that is hardly there.

    Raises:
        CommandFailed: others can replace the folder, the machine refused, or other bytes arrived than were sent.
        HostError: the folder is there but not whole (a purge of old files), or the machine could not be reached.
    """
    there = ""
    if look:
        there = _check(host.run(("sh", "-c", LOOK, "sh", str(folder)), timeout_s=120), "look into", folder).strip()
    if not there:
        script = f'{GUARD} guard "$1" "$3" "$4"; {PUT_TREE}'
        argv = ("sh", "-c", script, "sh", str(folder.parent), folder.name, *sharing.words)
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
    limit = max_bytes + 2**12 * MOST_FILES + 2**24  # names and tar's own headers come on top
    argv = in_bash(GET, str(folder), str(max_file_bytes), str(max_bytes), str(MOST_FILES), *pruned)
    try:
        stream = host.run_bytes(argv, timeout_s=patience_s(max_bytes), max_bytes=limit)
    except CommandFailed as failure:
        raise named(failure.completed, "read", folder) from None
    head, _, stream = stream.partition(b"\0") if stream.startswith(b"\0") else stream.partition(b"\0\0")
    found: dict[str, bytes] = {}
    for line in head.split(b"\0") if head else ():
        size, _, path = line.partition(b" ")
        if not size.isdigit() or len(size) > 20:
            raise HostError(f"{host.name}: {folder}: what came is no list of files; does a start-up file print there?")
        why = b"it was not read: it has %s bytes, more than is read of one job" % size
        found[f"{path.decode('utf-8', 'surrogateescape')}.error"] = why
    if stream:
        found.update(files_in(host.name, folder, stream))
    return found


def files_in(name: str, folder: PurePosixPath, stream: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of the regular files of a tar stream, which holds them as they are: nothing is unpacked.

    A stream that is compressed, or a file with holes, could stand for any number of bytes, and one that leads back to
    what was read already for any number of files; tar there makes none of them.

    Raises:
        HostError: it is no such stream.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(stream), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            read = -1
            while member := archive.next():
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if member.offset <= read or member.size < 0:
                    raise ValueError("it leads back to its beginning")
                read = member.offset
                content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
                if content:
                    yield member.name.removeprefix("./"), content.read()
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError, RecursionError) as error:
        why = f"what came is no tar stream: {error}; does a start-up file print there?"
        raise HostError(f"{name}: {folder}: {why}") from None


def read_from(host: Host, path: PurePosixPath, offset: int, max_bytes: int = 2**20) -> bytes:
    """Return at most ``max_bytes`` of a regular file from byte ``offset`` on; empty at its end or where there is none.

    A link is not followed.
    """
    argv = ("sh", "-c", READ, "sh", str(path), str(offset + 1), str(max_bytes))
    return host.run_bytes(argv, max_bytes=max_bytes)


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


def fitting(sizes: Iterable[int], most: int) -> int:
    """How many of these fit in so many bytes, at least one, at most MOST_FILES."""
    count, together = 0, 0
    for size in sizes:
        together += size
        if count and (together > most or count == MOST_FILES):
            break
        count += 1
    return count

"""The files of a snapshot: how many bytes they may have, their content, their Git ids, their tar stream."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tfslurm.document.sizes import size_text
from tfslurm.errors import InputError, TfslurmError, refuse
from tfslurm.snapshot.left_out import LeftOut

REGULAR, EXECUTABLE, SYMLINK, FOLDER, REPOSITORY = 0o100644, 0o100755, 0o120000, 0o040000, 0o160000
CHUNK = 2**20
LIMIT_BYTES = 256 * 2**20
PASS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"How a folder on the way to a file is opened."
ANNEXED = "/.git/annex/objects/"

POINTERS = {
    "Git LFS": re.compile(
        rb"version (https://git-lfs\.github\.com/spec|https://hawser\.github\.com/spec|http://git-media\.io)/v\d+\r?\n"
        rb"(ext-[^\n]*\n)*oid sha256:[0-9a-f]{64}\r?\n"
    ),
    "git-annex": re.compile(rb"/annex/objects/[A-Z0-9]+-[^/\n]+\r?\n"),
    "git-crypt": re.compile(rb"\0GITCRYPT\0"),
    "git-fat": re.compile(rb"#\$# git-fat [0-9a-f]{40} +[0-9]+\n"),
}


class Entry(NamedTuple):
    """One file: its name below the folder, Git mode (100644, 100755, 120000), blob id, size and SHA-256.

    What is hashed of a symbolic link is its target.
    """

    name: str
    mode: int
    blob: str
    size: int
    sha256: str
    target: str = ""
    "of a symbolic link, to the letter"
    stands_for: str = ""
    "the program that keeps the file itself elsewhere, where this is only its pointer: `Git LFS`"


Chunks = Iterator[bytes]


class Snapshot(NamedTuple):
    """The content of a folder at one moment. Outside Git ``remote`` to ``dirty`` are None; so is what Git lacks."""

    folder: Path
    entries: tuple[Entry, ...]
    tree: str
    "40 hex: what `git write-tree` gives for the same files; the SWHID is swh:1:dir:<tree>"
    bytes: int
    contents_sha256: str
    "of the list by which a node verifies the tree: every file's name, content and x bit, no other"
    remote: str | None = None
    "the URL without credentials"
    commit: str | None = None
    branch: str | None = None
    "None on a detached HEAD"
    dirty: bool | None = None
    "whether these files are not the commit's, byte for byte, whatever `git status` says"
    left_out: tuple[str, ...] = ()
    "what a reader would miss: results that were fetched, what `exclude` fits, links to what is not sent"

    @property
    def files(self) -> int:
        """The number of files, symbolic links included."""
        return len(self.entries)

    def stream(self) -> Chunks:
        """Yield a tar of `tree/<name>` for every file and, last, their list `contents`, for host.put_tree.

        The same files give the same bytes: sorted, no times, no owner, and no permission for anybody else.

        Raises:
            TfslurmError: (transient) a file is no longer what it was when the snapshot was taken.
        """
        return tar_stream(self.folder, self.entries)


def taken_of(folder: Path, names: Iterable[str], left_out: LeftOut, *, is_repository: bool) -> Snapshot:
    """The files of these names, each read and hashed."""
    found = dict(_stat_all(folder, names))
    if not found:
        raise _empty(folder, is_repository, left_out.lines())
    total = sum(status.st_size for status in found.values())
    if total > LIMIT_BYTES:
        raise _too_large(folder, found, total, is_repository)
    entries = tuple(entry_of(folder, name, found[name]) for name in sorted(found, key=os.fsencode))
    for entry in entries:
        refuse_leaving(folder, entry)
    unsaid = tuple(leading_out(folder, entries))
    list_sha256 = hashlib.sha256(contents(entries)).hexdigest()
    return Snapshot(folder, entries, tree_id(entries), total, list_sha256, left_out=unsaid)


def _stat_all(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Pair names with what lstat says; sockets, pipes and devices are left out as Git does."""
    for name in names:
        try:
            status = os.lstat(folder / name)
        except (FileNotFoundError, NotADirectoryError):
            raise changed(folder, name, "vanished") from None
        except OSError as error:
            raise refuse(f"{folder}/{name}", f"cannot be read: {error.strerror}") from None
        if stat.S_ISLNK(status.st_mode) or stat.S_ISREG(status.st_mode):
            yield name, status


def _empty(folder: Path, repository: bool, left_out: Sequence[str]) -> InputError:
    if left_out:
        return refuse(
            str(folder), f"holds no file but what is left out: {', '.join(left_out)}", "name less in `exclude`"
        )
    if repository:
        fix = "look into .gitignore there and above, and .git/info/exclude"
        return refuse(str(folder), "has no file that git would keep: everything is ignored", fix)
    return refuse(str(folder), "holds no file")


def _too_large(folder: Path, found: Mapping[str, os.stat_result], total: int, repository: bool) -> InputError:
    largest = sorted(found, key=lambda name: -found[name].st_size)[:5]
    names = ", ".join(f"{name} ({size_text(found[name].st_size)})" for name in largest)
    why = f"holds {size_text(total)} in {len(found)} files, more than {size_text(LIMIT_BYTES)}; largest: {names}"
    where = "`code: {exclude: […]}` or .gitignore" if repository else "`code: {path: …, exclude: […]}`"
    return refuse(str(folder), why, f"name what is no code in {where}, or keep data on the cluster and use `mounts`")


def entry_of(folder: Path, name: str, status: os.stat_result) -> Entry:
    """Read one file or symbolic link that lstat described so."""
    if stat.S_ISLNK(status.st_mode):
        target = link_target(folder, name)
        content = os.fsencode(target)
        return Entry(name, SYMLINK, *_hashed(len(content), [content]), target)
    mode = EXECUTABLE if status.st_mode & stat.S_IXUSR else REGULAR
    head: list[bytes] = []
    chunks = _beginning(_content(folder, name, mode, status.st_size), head)
    found = Entry(name, mode, *_hashed(status.st_size, chunks))
    return found._replace(stands_for=keeper_of(b"".join(head), found.size))


def keeper_of(head: bytes, size: int) -> str:
    """Return the program whose pointer a file is, by its first bytes; '' where it is a file of its own.

    Source: the pages of git-lfs (docs/spec.md), git-annex (pointer files), git-crypt (doc/format) and git-fat.
    """
    found = (name for name, begins in POINTERS.items() if begins.match(head) and (size < 1024 or name == "git-crypt"))
    return next(found, "")


def blob_id(folder: Path, entry: Entry, algorithm: str) -> str:
    """Return a file's Git id by another hash than SHA-1, for a repository that has one."""
    if entry.mode == SYMLINK:
        return _blob(entry.size, [os.fsencode(entry.target)], algorithm)
    return _blob(entry.size, _same(folder, entry), algorithm)


def pointer_id(entry: Entry, algorithm: str) -> str:
    """Return the Git id of what Git LFS commits in place of a file: its SHA-256 and size.

    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
    """
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{entry.sha256}\nsize {entry.size}\n".encode()
    return _blob(len(text), [text], algorithm)


def link_target(folder: Path, name: str) -> str:
    """Return what a symbolic link says, to the letter: Path.readlink makes `x` of `./x` and of `x/`."""
    try:
        with _holder(folder / name) as holder:
            return os.readlink(os.path.basename(name), dir_fd=holder)  # noqa: PTH119
    except OSError:
        raise changed(folder, name, "changed") from None


def refuse_leaving(folder: Path, entry: Entry) -> None:
    """Refuse a symbolic link out of the folder, and one to what git-annex keeps.

    Raises:
        InputError: it is one.
    """
    if entry.mode != SYMLINK:
        return
    written = os.path.normpath(Path(entry.name).parent / entry.target)
    real = os.path.realpath(folder / entry.name)
    inside = real == str(folder) or real.startswith(str(folder).rstrip("/") + "/")
    annexed = ANNEXED in f"/{written}"
    if annexed or entry.target.startswith("/") or written == ".." or written.startswith("../") or not inside:
        why = f"is a symbolic link to {entry.target!r}, which is not in the snapshot"
        fix = "name it in `code: {exclude: […]}`, put the file itself there, or use `mounts` for data on the cluster"
        raise refuse(
            f"{folder}/{entry.name}", why, f"`git annex get` and `git annex unlock` {entry.name}" if annexed else fix
        )


def leading_out(folder: Path, entries: Sequence[Entry]) -> Iterator[str]:
    """Yield the links whose target is here, and is not sent: there they will lead nowhere."""
    links = [entry for entry in entries if entry.mode == SYMLINK]
    if not links:
        return
    sent = {entry.name for entry in entries}
    sent |= {str(above) for entry in entries for above in PurePosixPath(entry.name).parents}
    for entry in links:
        real = os.path.realpath(folder / entry.name)
        if os.path.lexists(real) and os.path.relpath(real, folder) not in sent:
            yield f"the target of {entry.name}, which is a link to {entry.target}"


@contextmanager
def _holder(path: Path) -> Iterator[int]:
    """Yield the folder of a file, opened; each step is into a folder, for a link on the way may lead anywhere.

    The path had no links when it was checked, and whoever may write in a folder of it may change that.
    """
    here = os.open("/", PASS)
    try:
        for part in path.parts[1:-1]:
            below = os.open(part, PASS, dir_fd=here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _blob(size: int, chunks: Iterable[bytes], algorithm: str) -> str:
    digest = _hash(algorithm, b"blob %d\0" % size)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _hashed(size: int, chunks: Iterable[bytes]) -> tuple[str, int, str]:
    """Git's id of a blob, its size, and the SHA-256 of its content."""
    blob, digest = _hash("sha1", b"blob %d\0" % size), hashlib.sha256()
    for chunk in chunks:
        blob.update(chunk)
        digest.update(chunk)
    return blob.hexdigest(), size, digest.hexdigest()


def _beginning(chunks: Iterable[bytes], head: list[bytes]) -> Iterator[bytes]:
    """Yield the chunks, and keep the first bytes of the first one."""
    for chunk in chunks:
        if not head:
            head.append(chunk[:1024])
        yield chunk


def _hash(algorithm: str, head: bytes, body: bytes = b"") -> hashlib._Hash:
    """Git's own hash: an identity here, nothing that has to withstand an attack."""
    return hashlib.new(algorithm, head + body, usedforsecurity=False)


def _content(folder: Path, name: str, mode: int, size: int) -> Iterator[bytes]:
    """Yield a regular file that must still have this mode and size."""
    try:
        with _holder(folder / name) as holder:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(os.path.basename(name), flags, dir_fd=holder)  # noqa: PTH119
    except OSError as error:
        if isinstance(error, PermissionError):
            raise refuse(str(folder / name), "cannot be read: permission denied", "chmod u+r it") from None
        raise changed(folder, name, "vanished") from None
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        executable = bool(status.st_mode & stat.S_IXUSR)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size or executable != (mode == EXECUTABLE):
            raise changed(folder, name, "changed")
        left = size
        while chunk := file.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
    if left:
        raise changed(folder, name, "changed")


def changed(folder: Path, name: str, how: str) -> TfslurmError:
    """A file is no longer what it was: trying again can help."""
    why = f"{folder / name}: {how} while the snapshot was taken"
    return TfslurmError(f"{why}; let what writes there finish, then try again", transient=True)


def tree_id(entries: Iterable[Entry], algorithm: str = "sha1") -> str:
    """Return the id that Git gives to a tree of these files, with SHA-1 as in any repository's default format.

    Source: git-mktree and gitformat-index manual pages; a tree sorts its folders as if their names ended in `/`.
    """
    return _tree([(os.fsencode(entry.name), entry) for entry in entries], algorithm).hex()


def _tree(files: Iterable[tuple[bytes, Entry]], algorithm: str) -> bytes:
    rows: list[tuple[bytes, bytes]] = []
    folders: dict[bytes, list[tuple[bytes, Entry]]] = {}
    for path, entry in files:
        name, _, below = path.partition(b"/")
        if below:
            folders.setdefault(name, []).append((below, entry))
        else:
            rows.append((name, b"%o %s\0" % (entry.mode, name) + bytes.fromhex(entry.blob)))
    for name, inside in folders.items():
        rows.append((name + b"/", b"%o %s\0" % (FOLDER, name) + _tree(inside, algorithm)))
    body = b"".join(row for _, row in sorted(rows))
    return _hash(algorithm, b"tree %d\0" % len(body), body).digest()


def contents(entries: Iterable[Entry]) -> bytes:
    """The list by which a tree is verified where it lies: what it holds, and so what it does not.

    NUL-separated, each kind sorted by bytes: ``<sha256>  ./<name>`` of every regular file, as ``sha256sum --zero`` says
    it; ``<bytes of the target> ./<name> -> <target>`` of every link; ``x ./<name>`` of every executable file.
    """
    sums, links, executable = [], [], []
    for entry in entries:
        name = b"./" + os.fsencode(entry.name)
        if entry.mode == SYMLINK:
            links.append(b"%d %s -> %s\0" % (entry.size, name, os.fsencode(entry.target)))
            continue
        sums.append((name, b"%s  %s\0" % (entry.sha256.encode(), name)))
        if entry.mode == EXECUTABLE:
            executable.append(b"x %s\0" % name)
    return b"".join([*(row for _, row in sorted(sums)), *sorted(links), *sorted(executable)])


def tar_stream(folder: Path, entries: Sequence[Entry]) -> Iterator[bytes]:
    """Yield a tar of `tree/<name>` for every file and, last, their list `contents`."""
    for entry in entries:
        yield from _link(folder, entry) if entry.mode == SYMLINK else _file(folder, entry)
    listed = contents(entries)
    yield _header("contents", REGULAR, len(listed))
    yield listed + _padding(len(listed))
    yield b"\0" * 2 * tarfile.BLOCKSIZE


def _link(folder: Path, entry: Entry) -> Iterator[bytes]:
    if link_target(folder, entry.name) != entry.target:
        raise changed(folder, entry.name, "changed")
    yield _header(f"tree/{entry.name}", SYMLINK, 0, entry.target)


def _file(folder: Path, entry: Entry) -> Iterator[bytes]:
    yield _header(f"tree/{entry.name}", entry.mode, entry.size)
    yield from _same(folder, entry)
    yield _padding(entry.size)


def _same(folder: Path, entry: Entry) -> Iterator[bytes]:
    """Yield the content of a regular file, which must still be the entry's."""
    digest = hashlib.sha256()
    for chunk in _content(folder, entry.name, entry.mode, entry.size):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != entry.sha256:
        raise changed(folder, entry.name, "changed")


def _header(name: str, mode: int, size: int, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o700 if mode == EXECUTABLE else 0o600  # the user's alone, whoever may read them here
    if mode == SYMLINK:
        info.type, info.linkname = tarfile.SYMTYPE, target
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE)

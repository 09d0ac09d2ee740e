"""A job's outputs, brought to this machine: listed once, sent in pieces, continued after an interruption, verified.

A file counts as here when its sha256 is the one that the job recorded at its end; where it recorded none (it runs, or
was stopped), the one of the file there as it was listed. Only the bytes that were listed are brought, so that a file
to which a running program appends is brought whole as it was at that moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TypeVar

from tfslurm.errors import HostError
from tfslurm.host import Host
from tfslurm.host.fetching import Entry, Outputs, as_bytes, look, pack, piece, sums
from tfslurm.host.files import fitting
from tfslurm.retrieval.destination import Destination, Obstacle, is_part, part_of
from tfslurm.retrieval.selection import BAD, Outcome, Selection, Want, is_below, stays_inside
from tfslurm.run_folder import paths
from tfslurm.snapshot.left_out import MARKER

SMALL = 2**20
"Files up to this many bytes come many at a time."
LEAST, FIRST, MOST = 2**18, 2**21, 2**25
"Bytes in one answer: from the first on, more or fewer as the line carries them."
MOST_HASHED = 2**33
"Bytes that one command hashes there."
MOST_HOLES = 2**38
"Bytes of zeros that nobody wrote, of all files: they cost a program nothing, and here and there they are hashed."
CHANGED = "changed there while it was fetched; fetch again"
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Progress:
    """Callbacks: ``step`` gets the work at hand, bytes so far and bytes in all; ``say`` gets each failure on the way.

    ``pauses_s`` are those before a piece whose line was lost is asked for again.
    """

    step: Callable[[str, int, int], None]
    say: Callable[[str], None]
    pauses_s: Sequence[float] = (1.0, 3.0, 9.0)


@dataclass(slots=True)
class Fetch:
    """One transfer from a folder there to one here; ``outcomes`` and ``unread`` say what became of it."""

    host: Host
    folder: PurePosixPath
    destination: Destination
    selection: Selection
    progress: Progress
    outcomes: list[Outcome] = field(default_factory=list)
    unread: tuple[str, ...] = ()
    budget: int = FIRST
    done: int = 0
    total: int = 0
    holes: int = 0

    @property
    def good(self) -> bool:
        """Whether everything that was wanted is here."""
        return not self.unread and not any(outcome.status in BAD for outcome in self.outcomes)

    def run(self, outputs: Outputs) -> None:
        """Bring what is not here yet."""
        self.unread = outputs.unread
        self.destination.modes = {as_bytes(entry.path): entry.mode for entry in outputs.entries if entry.kind in "dD"}
        wanted = list(self.wanted(self.with_sums(list(self.asked(outputs)))))
        if self.selection.dry_run:
            self.outcomes += [want.ends("wanted") for want in wanted]
            return
        self.done, self.total = sum(want.offset for want in wanted), sum(want.entry.bytes for want in wanted)
        small = [want for want in wanted if want.entry.bytes <= SMALL]
        while small:
            batch = small[: fitting((want.entry.bytes for want in small), self.budget)]
            small = small[len(batch) :]
            self.bring_batch(batch)
        for want in wanted:
            if want.entry.bytes > SMALL:
                self.outcomes.append(self.attempt(want, partial(self.bring_large, want)))

    # --- what is to be done

    def asked(self, outputs: Outputs) -> Iterator[Want]:
        """The files that are wanted and could be had; links and empty folders are made, the rest has an outcome."""
        for entry in sorted(outputs.entries, key=lambda entry: entry.path):
            if entry.kind == "D":
                continue
            recorded = outputs.recorded.get(entry.path, "")
            want = Want(entry, recorded, bool(recorded))
            if not is_below(entry.path):
                self.outcomes.append(want.ends("failed", "its name leads out of the outputs"))
            elif not self.selection.takes(entry.path):
                if entry.kind != "d":
                    self.outcomes.append(want.ends("skipped", "excluded"))
            elif entry.path == MARKER:
                self.outcomes.append(want.ends("skipped", "is the marker of fetched results, and fetch writes its own"))
            elif is_part(want.path):
                self.outcomes.append(want.ends("failed", "has the name of a partial file of tfslurm; rename it"))
            elif entry.kind == "f" and self.is_too_hollow(entry):
                what = f"has {entry.bytes} bytes, of which {entry.used} were written"
                why = f"{what}: more holes than are fetched; `--exclude` it"
                self.outcomes.append(want.ends("failed", why))
            elif entry.kind == "f":
                yield want
            elif entry.kind == "l":
                self.outcomes.append(self.attempt(want, partial(self.link, entry)))
            elif entry.kind == "o":
                self.outcomes.append(want.ends("skipped", "is no file, folder or link"))
            elif not self.selection.dry_run:
                outcome = self.attempt(want, partial(self.empty_folder, want.path))
                self.outcomes += [outcome] if outcome.status in BAD else []

    def is_too_hollow(self, entry: Entry) -> bool:
        """Whether it, with those before it, has more zeros that nobody wrote than are hashed."""
        self.holes += entry.bytes - entry.used if entry.has_holes else 0
        return entry.has_holes and self.holes > MOST_HOLES

    def empty_folder(self, path: bytes) -> tuple[str, str]:
        """Make a folder that holds nothing there."""
        self.destination.make(path)
        return "present", ""

    def link(self, entry: Entry) -> tuple[str, str]:
        """Make a link that stays inside."""
        path, target = as_bytes(entry.path), as_bytes(entry.target)
        if not stays_inside(entry.path, entry.target):
            return "skipped", f"is a link that may lead out of the outputs, to {entry.target}; it is not followed"
        here = self.destination.here(path)
        if here.target == target:
            return "present", ""
        if here.target is not None or here.size is not None or here.obstacle:
            return "conflict", "something else has this link's name here; move that away"
        if self.selection.dry_run:
            return "wanted", ""
        self.destination.link(path, target)
        return "fetched", ""

    def with_sums(self, wants: Sequence[Want]) -> Iterator[Want]:
        """The files with what they must hash to, and how much of each partial file here is good."""
        beginnings = [(want.entry.path, want.entry.bytes) for want in wants if not want.recorded]
        parts = {want.entry.path: self.destination.here(part_of(want.path)).size or 0 for want in wants}
        begun = [want for want in wants if 0 < parts[want.entry.path] < want.entry.bytes]
        beginnings += [(want.entry.path, parts[want.entry.path]) for want in begun]
        found = dict(zip(beginnings, self.hashed(beginnings), strict=True))
        for want in wants:
            entry, part = want.entry, parts[want.entry.path]
            expected = want.sha256 or found[entry.path, entry.bytes]
            there = expected if part == entry.bytes else found.get((entry.path, part), "")
            good = there and part and self.destination.sha256(part_of(want.path)) == there
            yield Want(entry, expected, want.recorded, part if good else 0)

    def hashed(self, beginnings: Sequence[tuple[str, int]]) -> Iterator[str]:
        """The sha256 of so many first bytes of files there, asked for in groups."""
        while beginnings:
            some = beginnings[: fitting((count for _, count in beginnings), MOST_HASHED)]
            beginnings = beginnings[len(some) :]
            self.progress.step("hashing there", 0, 0)
            yield from patiently(partial(sums, self.host, self.folder, some), self.progress)

    def wanted(self, wants: Iterable[Want]) -> Iterator[Want]:
        """The files that are not here; those that are, and those whose name is taken, have an outcome."""
        for want in wants:
            here = self.destination.here(want.path)
            if not want.sha256:
                self.outcomes.append(want.ends("failed", "is not there any more, or cannot be read there"))
            elif here.obstacle or here.target is not None:
                self.outcomes.append(want.ends("conflict", here.obstacle or "a link has its name here; move it away"))
            elif here.size == want.entry.bytes and self.destination.sha256(want.path) == want.sha256:
                self.outcomes.append(want.ends("present"))
            elif here.size is not None and not self.selection.overwrite:
                why = "a file of this name with other content is here; `--overwrite` replaces it"
                self.outcomes.append(want.ends("conflict", why))
            else:
                yield want

    # --- the transfer

    def bring_batch(self, batch: Sequence[Want]) -> None:
        """Bring small files in one answer, but for those that are whole in their partial files already."""
        coming = [want.entry for want in batch if want.offset < want.entry.bytes or not want.entry.bytes]
        arrived = self.measured(partial(pack, self.host, self.folder, coming)) if coming else {}
        for want in batch:
            self.outcomes.append(self.attempt(want, partial(self.put, want, arrived.get(want.entry.path))))

    def put(self, want: Want, content: bytes | None) -> tuple[str, str]:
        """Write a small file."""
        size = want.entry.bytes
        if content is None and (want.offset < size or not size):
            return "failed", "is not there any more, or cannot be read there"
        if content is not None:
            self.destination.write(part_of(want.path), 0, content[:size], want.entry.mode)
        self.advance(size - want.offset)
        return self.land(want, sha256(content[:size]).hexdigest() if content is not None else want.sha256)

    def bring_large(self, want: Want) -> tuple[str, str]:
        """Bring a file piece by piece, each onto the end of its partial file."""
        entry, part, offset = want.entry, part_of(want.path), want.offset
        while offset < entry.bytes:
            count = min(self.budget, entry.bytes - offset)
            content = self.measured(partial(piece, self.host, self.folder, entry, offset, count))
            if not content:
                return "failed", "became shorter there, or cannot be read there; fetch again"
            self.destination.write(part, offset, content, entry.mode)
            offset += len(content)
            self.advance(len(content))
        return self.land(want, self.destination.sha256(part) if want.offset < entry.bytes else want.sha256)

    def land(self, want: Want, found: str) -> tuple[str, str]:
        """Give a partial file its own name where it holds what it must."""
        part = part_of(want.path)
        if found != want.sha256:
            name = part.rpartition(b"/")[2].decode("utf-8", "surrogateescape")
            why = "there it is not what the job recorded at its end" if want.recorded else CHANGED
            return "mismatch", f"{why}; the file that arrived is kept beside it as {name}"
        self.destination.land(part, want.path, want.entry.mtime_ns, replace=self.selection.overwrite)
        return "fetched", ""

    def attempt(self, want: Want, bring: Callable[[], tuple[str, str]]) -> Outcome:
        """The outcome for one file, also where it cannot be put here."""
        try:
            return want.ends(*bring())
        except Obstacle as why:
            return want.ends("conflict", str(why))
        except FileNotFoundError:
            return want.ends("failed", "what had arrived of it is not here any more; fetch again")

    def advance(self, count: int) -> None:
        """Report the progress."""
        self.done += count
        self.progress.step("fetching", self.done, self.total)

    def measured(self, ask: Callable[[], Value]) -> Value:
        """An answer; the next one may be larger where the line is fast, and is smaller where it is slow."""
        began = time.monotonic()
        value = patiently(ask, self.progress)
        took_s = time.monotonic() - began
        if took_s < 1:
            self.budget = min(self.budget * 2, MOST)
        elif took_s > 4:
            self.budget = max(self.budget // 2, LEAST)
        return value


def fetch(
    host: Host,
    job_folder: PurePosixPath,
    folder: Path,
    selection: Selection,
    progress: Progress,
    begun: Callable[[], None] = lambda: None,
) -> Fetch:
    """Bring a job's outputs into a folder here and return what became of each file.

    The folder is made unless no file is wanted of those there are; ``begun`` is called when it is there.

    Raises:
        HostError: there are no outputs, or the line was lost again and again; the same call continues from there.
        TfslurmError: this machine refuses to write.
    """
    outputs = patiently(partial(look, host, job_folder), progress)
    is_any = not outputs.entries or any(selection.takes(entry.path) for entry in outputs.entries)
    with Destination(folder, make=is_any and not selection.dry_run) as destination:
        if is_any and not selection.dry_run:
            begun()
        transfer = Fetch(host, job_folder / paths.OUTPUTS, destination, selection, progress)
        transfer.run(outputs)
    return transfer


def patiently(ask: Callable[[], Value], progress: Progress) -> Value:
    """An answer, asked for again where the line was lost."""
    for pause_s in progress.pauses_s:
        try:
            return ask()
        except HostError as error:
            if not error.transient:
                raise
            progress.say(f"{error}; asking again in {pause_s:g} s")
        time.sleep(pause_s)
    try:
        return ask()
    except HostError as error:
        kept = "tfslurm keeps what has arrived, and the same command continues from there"
        raise HostError(f"{error}; {kept}", transient=error.transient) from error

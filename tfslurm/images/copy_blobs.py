"""Copy blobs from one registry to another: several at once, in pieces, and only those that are not there."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import NamedTuple, TypeVar

from tfslurm.errors import RegistryError, TfslurmError
from tfslurm.images.mirror_names import Place
from tfslurm.images.uploads import Uploads
from tfslurm.registry.documents import Blob
from tfslurm.registry.image_source import ImageSource
from tfslurm.registry.push import Target, Upload, WrongBytes
from tfslurm.workspace.threads import in_background

THREADS = 4
MOST_MOUNTS = 3
"Repositories that a blob is asked of."
A = TypeVar("A")
T = TypeVar("T")
Step = Callable[[str, int, int], None]
"Called with a name, the bytes done and the bytes in all."


class Copied(NamedTuple):
    """What became of a blob: it was ``there``, was ``mounted`` from another repository there, or was ``sent``.

    ``bytes_sent``: fewer than its size if an earlier upload was continued, more if a source had to be asked again.
    """

    digest: str
    bytes: int
    how: str
    bytes_sent: int = 0


class CalledOff(TfslurmError):
    """The rest is not done, because a part failed or the user pressed Ctrl-C."""


class Copying:
    """The blobs of an image on their way from a source to a place."""

    def __init__(self, source: ImageSource, place: Place, engine: str, uploads: Uploads, step: Step) -> None:
        self._source, self._place, self._engine, self._uploads = source, place, engine, uploads
        self._step, self._lock, self._off = step, threading.Lock(), threading.Event()
        self._done, self._sent, self._total = dict[str, int](), dict[str, int](), 0

    def copy(self, blobs: Sequence[Blob], tell: Callable[[str], None]) -> list[Copied]:
        """Copy them, the largest first. Those that are whole stay there, whatever happens to another.

        Raises:
            RegistryError: one could not be copied.
        """
        self._total = sum(blob.size for blob in blobs)
        largest_first = sorted(blobs, key=lambda blob: -blob.size)
        found = in_threads(largest_first, self._opened, self._off, tell)
        self._uploads.remember([blob.digest for blob in blobs])
        return found

    @contextmanager
    def _opened(self) -> Iterator[Callable[[Blob], Copied]]:
        """What copies a blob in one thread, with connections of its own."""
        with self._source.only() as source, Target(self._place.name, self._engine) as target:
            yield lambda blob: self._copy(blob, source, target)

    def _copy(self, blob: Blob, source: ImageSource, target: Target) -> Copied:
        how = "sent"
        if target.has_blob(blob.digest, blob.size):
            how = "there"
        elif any(target.mount_blob(blob.digest, blob.size, name) for name in self._holders(blob, source)):
            how = "mounted"
        else:
            self._send(blob, source, target)
        self._uploads.forget(blob.digest)
        self._advance(blob, blob.size)
        return Copied(blob.digest, blob.size, how, self._sent.get(blob.digest, 0))

    def _holders(self, blob: Blob, source: ImageSource) -> Iterator[str]:
        """Repositories of the target's registry that may have the blob."""
        places = (name.partition("/") for name in source.places if name != self._place.name)
        here = [repository for registry, _, repository in places if registry == self._place.registry]
        known = self._uploads.repositories_with(blob.digest)
        yield from islice(dict.fromkeys([*here, *known]), MOST_MOUNTS)

    def _send(self, blob: Blob, source: ImageSource, target: Target) -> None:
        """Send a blob. Where it turns out to be others' bytes, each place that has it is asked alone, from the start.

        Raises:
            RegistryError: it cannot be had, or not be left there.
        """
        try:
            self._push(blob, source, target, self._uploads.begun(blob.digest))
            return
        except WrongBytes:
            self._uploads.forget(blob.digest)
        for name in source.places:
            try:
                with source.only(name) as alone:
                    self._push(blob, alone, target, None)
                return
            except WrongBytes:
                last = RegistryError(f"{name}: {blob.digest[:19]}…: it sends other bytes; do not use this source")
            except RegistryError as error:
                last = error
        raise last

    def _push(self, blob: Blob, source: ImageSource, target: Target, begun: Upload | None) -> None:
        def counted(offset: int) -> Iterator[bytes]:
            for piece in source.pieces(blob, offset):
                offset += len(piece)
                self._sent[blob.digest] = self._sent.get(blob.digest, 0) + len(piece)
                self._advance(blob, offset)
                yield piece

        def keep(upload: Upload) -> None:
            self._uploads.keep(blob.digest, upload)
            if self._off.is_set():
                raise CalledOff(f"{blob.digest}: not sent to its end")

        target.push_blob(blob.digest, blob.size, counted, begun=begun, keep=keep)

    def _advance(self, blob: Blob, done: int) -> None:
        with self._lock:
            self._done[blob.digest] = done
            self._step(self._place.name, sum(self._done.values()), self._total)


def in_threads(
    items: Sequence[A],
    opened: Callable[[], AbstractContextManager[Callable[[A], T]]],
    off: threading.Event,
    tell: Callable[[str], None],
) -> list[T]:
    """What becomes of each item, in their order; a few at once, each thread with what ``opened`` gives it.

    The first failure sets ``off``: nothing more is begun, and what has begun may end early.

    Raises:
        TfslurmError: the first failure.
        KeyboardInterrupt: Ctrl-C; what was under way has ended, unless Ctrl-C came again.
    """
    waiting, results, failures = deque(enumerate(items)), dict[int, T](), list[BaseException]()

    def work() -> None:
        try:
            with opened() as do:
                while waiting and not off.is_set():
                    number, item = waiting.popleft()
                    results[number] = do(item)
        except IndexError:
            pass  # another thread took the last one
        except BaseException as error:
            failures.append(error)
            off.set()

    running: list[Callable[[], None]] = []
    try:
        for _ in range(min(THREADS, len(items))):
            running.append(in_background(work))
        for ended in running:
            ended()
    except KeyboardInterrupt:
        off.set()
        tell("ending the pieces under way, so that the same command continues from there; Ctrl-C again ends at once")
        for ended in running:
            ended()
        raise
    for failure in sorted(failures, key=lambda each: isinstance(each, CalledOff)):
        raise failure
    return [results[number] for number in range(len(items))]

"""The bytes of a pinned image: its documents whole, its blobs in pieces, from its mirrors and then its own registry."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from typing import NamedTuple, TypeVar

from tfslurm.errors import RegistryError
from tfslurm.image import Pin, mirror_names
from tfslurm.registry.documents import Blob, Manifest, Unreadable, blobs, sha256_of
from tfslurm.registry.image_tree import ImageTree, tree_at
from tfslurm.registry.resolve import manifest_at, manifest_in
from tfslurm.registry.wire import CONFIG_LIMIT, Patience, Remote

PATIENCE = Patience(place_s=30 * 86400.0)
"A blob's own time grows with its size; that of a whole image has no other bound."
T = TypeVar("T")
TRIES, WORTH = 5, 2**16
"In a row that bring fewer bytes than that."


class Contents(NamedTuple):
    """What an image is made of. ``documents``: what its digest names, and the manifest where that is an index."""

    served_by: str
    platform: str
    documents: tuple[Manifest, ...]
    blobs: tuple[Blob, ...]  # the config, then the layers, as the manifest lists them

    @property
    def manifest(self) -> Manifest:
        """The manifest of the platform."""
        return self.documents[-1]


class ImageSource:
    """A context manager: each place is logged in to once, and left when the block ends."""

    def __init__(self, pin: Pin, mirrors: Mapping[str, Sequence[str]], engine: str = "docker", last: str = "") -> None:
        """``last``: a place that is asked only where no other has what is wanted."""
        self._pin, self._engine = pin, engine
        self._names = sorted(mirror_names(pin.name, mirrors), key=lambda name: name == last)
        self._open, self._remotes = ExitStack(), dict[str, Remote]()

    def only(self, *names: str) -> ImageSource:
        """Another source of the same image, with connections of its own; without names, of the same places in their
        order."""
        other = ImageSource(self._pin, {}, self._engine)
        other._names = list(names or self._names)
        return other

    def __enter__(self) -> ImageSource:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def places(self) -> tuple[str, ...]:
        """Where the image is looked for, in that order; the place that served it is the first."""
        return tuple(self._names)

    def contents(self) -> Contents:
        """What the image is made of, by the first place that has it.

        Raises:
            RegistryError: no place has it, with what each said; or it is no image that could be kept.
        """
        return self._first(self._contents_at)

    def tree(self, only: Sequence[str] = ()) -> ImageTree:
        """The image with all its platforms, or those of ``only``, by the first place that has all its documents.

        Raises:
            RegistryError: no place has it, with what each said.
        """
        return self._first(lambda remote: tree_at(remote, self._pin.digest, self._pin.platform, only))

    def first_with(self, found: Callable[[Remote], T], empty: T) -> T:
        """What the first place has of something that the image's digest does not cover; ``empty``: none has any.

        Raises:
            RegistryError: no place has any, and one did not say so.
        """
        failure = None
        for name in self._names:
            try:
                if there := found(self._remote(name)):
                    return there
            except RegistryError as error:
                failure = failure or error
        if failure:
            raise failure
        return empty

    def _first(self, ask: Callable[[Remote], T]) -> T:
        """The answer of the first place that has one; its blobs come from there too, if they can."""
        failures = []
        for name in self._names:
            try:
                found = ask(self._remote(name))
            except RegistryError as failure:
                failures.append(failure)
                continue
            self._names.remove(name)
            self._names.insert(0, name)
            return found
        reasons = " | ".join(str(failure) for failure in failures)
        raise RegistryError(reasons, transient=any(failure.transient for failure in failures))

    def pieces(self, blob: Blob, offset: int = 0) -> Generator[bytes, None, None]:
        """The bytes of a blob from ``offset`` on, in order, as they come. They are not hashed here.

        A line that breaks is taken up where it broke, there or in the next place.

        Raises:
            RegistryError: no place has the blob, or the line broke too often.
        """
        what = f"{blob.digest[:19]}…"
        failure = RegistryError(f"{self._pin.name}: {what}: no place has it")
        for name in self._names:
            tries = 0
            while offset < blob.size and tries < TRIES:
                before = offset
                try:
                    for place, piece in self._remote(name).stream(f"blobs/{blob.digest}", what, blob.size, offset):
                        fresh = piece[offset - place :]
                        if fresh:
                            offset += len(fresh)
                            yield fresh
                    if offset < blob.size:
                        raise RegistryError(f"{name}: {what}: it ended before its {blob.size} bytes", transient=True)
                except RegistryError as error:
                    failure = error
                    if not error.transient:
                        break
                tries = 0 if offset - before >= WORTH else tries + 1
            if offset == blob.size:
                return
        raise failure

    def config(self, contents: Contents) -> bytes:
        """The bytes of the image's config, as its manifest names them.

        Raises:
            RegistryError: no place has them, or they are too many.
        """
        blob = contents.blobs[0]
        if blob.size > CONFIG_LIMIT:
            raise RegistryError(f"{self._pin.name}: its config has {blob.size} bytes; {CONFIG_LIMIT} are the most")
        body = b"".join(self.pieces(blob))
        if (found := sha256_of(body)) != blob.digest:
            raise RegistryError(f"{contents.served_by}: its config is {found}, its manifest says {blob.digest}")
        return body

    def _contents_at(self, remote: Remote) -> Contents:
        pin, what = self._pin, f"{self._pin.digest[:19]}…"
        try:
            top = manifest_at(remote, pin.digest, what)
            if top.kind == "manifest":
                return Contents(remote.name, pin.platform, (top,), blobs(top))
            platform, manifest = manifest_in(remote, top, pin.platform, what)
            return Contents(remote.name, platform, (top, manifest), blobs(manifest))
        except Unreadable as why:
            raise RegistryError(f"{remote.name}: {what}: {why}") from None

    def _remote(self, name: str) -> Remote:
        if name not in self._remotes:
            self._remotes[name] = self._open.enter_context(Remote(name, self._engine, PATIENCE))
        return self._remotes[name]

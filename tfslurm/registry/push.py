"""A repository that images are pushed to: blobs by digest, then manifests, and a look at what is served afterwards.

Source: OCI distribution specification, "Push"; docs/adr/0067 says what is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import urlencode

from tfslurm.errors import RegistryError
from tfslurm.registry.documents import sha256_of
from tfslurm.registry.errors import Answer, seconds_to_wait
from tfslurm.registry.resolve import ACCEPT
from tfslurm.registry.scopes import Login
from tfslurm.registry.transport import MANIFEST_LIMIT, Patience, Request
from tfslurm.registry.uploads import BlobUpload, Upload, WrongBytes, same_digest
from tfslurm.registry.wire import Remote

__all__ = ["PATIENCE", "Target", "Upload", "WrongBytes"]
PATIENCE = Patience(place_s=30 * 86400.0)
"A blob's own time grows with its size; that of a whole image has no other bound."
READ_BACK = 2**20
"A blob of so many bytes at most is read again and hashed after it was pushed."
_ASKED = "a push"
_MOST_WAITS, _LONGEST_WAIT_S = 3, 30


class Target:
    """A context manager: ``HOST/REPOSITORY``, its connections and its login, for one thread.

    ``engine`` is the one whose logins come first. ``pause`` waits so many seconds before something is tried again.
    """

    def __init__(
        self,
        name: str,
        engine: str = "docker",
        patience: Patience = PATIENCE,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name, self._pause = name, pause
        self._remote = Remote(name, engine, patience, pushes=True)
        self._logins = dict[str, Login]()  # that may read another repository too
        self._begun = dict[str, Upload]()  # by a mount that was none

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self._remote.__exit__()

    def has_blob(self, digest: str, size: int = -1) -> bool:
        """Whether a blob is there, of ``size`` bytes if the registry says how many it has; -1: of any size.

        Raises:
            RegistryError: it is there with another size or digest, or the registry refuses to say.
        """
        what = _short(digest)
        answer = self._ask(Request("HEAD", self._remote.address(f"blobs/{digest}"), what))
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise self._remote.refused(what, answer)
        same_digest(self._remote, what, answer, digest)
        length = answer.headers.get("content-length", "")
        if size >= 0 and length and length != str(size):
            raise self._lie(what, f"it says that it has {length[:30]!r} bytes of it, and it has {size}")
        return True

    def mount_blob(self, digest: str, size: int, from_repository: str) -> bool:
        """Have the registry take a blob from another repository of its own; False: it did not, so push it.

        Raises:
            RegistryError: it says that it did, and does not have it.
        """
        what = _short(digest)
        login = self._logins.setdefault(from_repository, self._remote.login_to_read(from_repository))
        words = urlencode({"mount": digest, "from": from_repository})
        url = f"{self._remote.address('blobs/uploads/')}?{words}"
        try:
            answer = self._ask(Request("POST", url, what), login)
        except RegistryError:
            return False  # the push says what is wrong
        if answer.status == 201:
            if not self.has_blob(digest, size):
                raise self._lie(what, f"it says that it took it from {from_repository}, and does not have it")
            return True
        if answer.status == 202 and "location" in answer.headers:
            self._begun[digest] = Upload(self._remote.transport.target(url, answer, what, "its upload goes"), 0)
        return False

    def push_blob(
        self,
        digest: str,
        size: int,
        read: Callable[[int], Iterator[bytes]],
        *,
        begun: Upload | None = None,
        keep: Callable[[Upload], None] = lambda _: None,
    ) -> None:
        """Send a blob, and look whether the registry has it then.

        ``read`` gives the bytes from a place on; it is called again where a line breaks. ``begun`` is the state of an
        earlier call, which ``keep`` got: what the registry still has of it is not sent again.

        Raises:
            RegistryError: the registry refuses it, says that it has it and has not, or the bytes are not the digest's.
                ``transient``: calling again may help.
        """
        upload = BlobUpload(self._remote, self._ask, digest, size, read, keep)
        mounting = self._begun.pop(digest, None)  # nothing of it is there yet
        upload.run(begun or mounting, self._pause)
        what = _short(digest)
        if size > READ_BACK:
            if not self.has_blob(digest, size):
                raise self._lie(what, "it says that it took it, and does not have it")
            return
        answer = self._remote.ask(f"blobs/{digest}", what, limit=READ_BACK)
        if answer.status != 200:
            raise self._lie(what, f"it says that it took it, and answers HTTP {answer.status} for it")
        if (found := sha256_of(answer.body)) != digest:
            raise self._lie(what, f"it says that it took it, and serves {found}")

    def ask_to_push(self, *, by_token: bool = False) -> None:
        """Begin an upload and cancel it, which shows before any byte is there whether this repository takes one.

        A registry that knows no cancelling forgets the upload by itself. ``by_token``: begin none where the token that
        the registry wants says that it is for a push: some registries make a repository as soon as one is begun.

        Raises:
            RegistryError: the registry refuses it, for want of a right or of a repository of this name.
        """
        if by_token and self._remote.has_token_to_push(_ASKED):
            return
        url = self._remote.address("blobs/uploads/")
        answer = self._ask(Request("POST", url, _ASKED))
        if answer.status != 202:
            raise self._remote.refused(_ASKED, answer)
        begun = self._remote.transport.target(url, answer, _ASKED, "its upload goes")
        with suppress(RegistryError):
            self._remote.delete(begun, _ASKED)

    def manifest_digest(self, reference: str) -> str:
        """The digest that a tag or a digest stands for there; '': there is none. Asked with HEAD, which is no pull.

        Raises:
            RegistryError: the registry refuses to say, or has another manifest for a digest.
        """
        what = _short(reference)
        answer = self._ask(Request("HEAD", self._remote.address(f"manifests/{reference}"), what, accept=ACCEPT))
        if answer.status == 404:
            return ""
        if answer.status == 200 and not answer.headers.get("docker-content-digest"):
            answer = self._remote.ask(f"manifests/{reference}", what, accept=ACCEPT)
            answer = Answer(answer.status, {"docker-content-digest": sha256_of(answer.body)}, answer.body)
        if answer.status != 200:
            raise self._remote.refused(what, answer)
        if reference.startswith("sha256:"):
            same_digest(self._remote, what, answer, reference)
        return answer.headers["docker-content-digest"]

    def push_manifest(self, body: bytes, media_type: str, reference: str) -> str:
        """Store a manifest or an index under a tag or its digest, and compare what is served there then, byte by byte;
        its digest comes out. What it names has to be there before.

        Raises:
            RegistryError: the registry refuses it, or serves something else for it.
        """
        what, digest = _short(reference), sha256_of(body)
        if reference.startswith("sha256:") and reference != digest:
            raise RegistryError(f"{self.name}: {what}: the manifest to be pushed is {digest}; do not use this source")
        if len(body) > MANIFEST_LIMIT:
            raise RegistryError(
                f"{self.name}: {what}: the manifest has {len(body)} bytes; {MANIFEST_LIMIT} are the most"
            )
        url = self._remote.address(f"manifests/{reference}")
        answer = self._ask(Request("PUT", url, what, headers={"Content-Type": media_type}, body=body))
        if answer.status not in (200, 201, 202):
            raise self._remote.refused(what, answer)
        same_digest(self._remote, what, answer, digest)
        self._compare(what, reference, body, media_type)
        return digest

    def _compare(self, what: str, reference: str, body: bytes, media_type: str) -> None:
        served = self._remote.ask(f"manifests/{reference}", what, accept=media_type)
        if served.status != 200:
            raise self._lie(what, f"it says that it took it, and answers HTTP {served.status} for it")
        same_digest(self._remote, what, served, sha256_of(body))
        if served.body != body:
            raise self._lie(what, f"it says that it took {sha256_of(body)}, and serves {sha256_of(served.body)}")
        kind = served.headers.get("content-type", media_type).partition(";")[0].strip()
        if kind != media_type:
            raise self._lie(what, f"it serves it as {kind[:80]!r}, and it is {media_type}")

    def _ask(self, asked: Request, login: Login | None = None) -> Answer:
        """The answer, after a short wait where the registry's rate limit asks for one."""
        for _ in range(_MOST_WAITS):
            answer = self._remote.follow(asked, login=login)
            seconds = seconds_to_wait(answer)
            if seconds is None or seconds > _LONGEST_WAIT_S:
                return answer
            self._pause(seconds)
        return self._remote.follow(asked, login=login)

    def _lie(self, what: str, why: str) -> RegistryError:
        return RegistryError(f"{self.name}: {what}: {why}; do not use this registry, and tell who runs it")


def _short(reference: str) -> str:
    return f"{reference[:19]}…" if reference.startswith("sha256:") else f"tag {reference}"

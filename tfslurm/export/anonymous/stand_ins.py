"""Names -> what stands in for each, in texts and in the bytes of files. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from tfslurm.export.anonymous.names import Name, once
from tfslurm.export.anonymous.opening import opened
from tfslurm.export.anonymous.spelling import (
    before_a_job,
    encoded,
    in_place,
    is_ordinary,
    path,
    spellings,
    whole,
    word,
)

FORMS = {
    "email": "address-{}@example.invalid",
    "image": "hidden/image-{}",
    "mirror": "mirror-{}.invalid/mirror",
    "registry": "registry-{}.invalid",
    "remote": "https://example.invalid/repository-{}",
}
"Where ``KIND-1`` would not be of the form that a reader expects."
GENERAL_WORDS = "bin boot dev etc home lib lib64 local media mnt opt proc root run sbin srv sys tmp users usr var"
GENERAL = frozenset(GENERAL_WORDS.split())
"Folders that every machine has."
ENDINGS = rb"(?:[a-z]{2}|com|org|net|edu|gov|mil|int|info|dev|cloud|local|lan|example|invalid)"
EMAIL = rb"[A-Za-z0-9][A-Za-z0-9._%+-]*@(?:[A-Za-z0-9-]+\.)+" + ENDINGS + rb"(?![A-Za-z0-9_(\[])"
HOME = rb"(?<![A-Za-z0-9_.])/(?:home|Users)/[^/\s\"'`:;,()<>\\\0]+"
HEXADECIMAL = re.compile(rb"[0-9a-f]+")
HASH = re.compile(rb"[0-9A-Za-z]{8,}")
UID = rb"((?<![A-Za-z])(?i:[ug]id)[\"']?[ =:_\0]{1,3}[\"']?)([1-9][0-9]*)"
LONGEST_HASH = 160
ENCODED = re.compile(rb"[0-9A-Za-z+/_-]{7,}(?:(?:\r?\n|\\n)[0-9A-Za-z+/_-]+)*")
"Base64 or hexadecimal digits, in lines too; of a name of five letters, base64 has seven."
LINE_END = re.compile(rb"\r?\n|\\n")
WIDE_TEXT = (
    (re.compile(rb"(?:[\t\n\r -~]\0){3}"), rb"\0"),
    (re.compile(rb"(?:[\t\n\r -~]\0{3}){2}"), rb"(?<=[^\0])\0{3}"),
)
"A text in UTF-16 and in UTF-32 (arrays of NumPy are), and the bytes without which it is one of single bytes."
SOMEBODY, SOMEWHERE = b"somebody@example.invalid", b"/home/somebody"
IS_WHOLE = re.compile(r"[/:@\s]|^[0-9a-f]{7,}$|^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-")
BINARY = re.compile(rb"[\x01-\x06\x0e-\x1a\x1c-\x1f]")
UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Replaced(NamedTuple):
    """One pattern, what it puts, and a part of it that a file holds, in lower case, if it holds the name."""

    name: str
    pattern: bytes
    stand_in: bytes
    signs: tuple[bytes, ...]
    groups: int = 0  # that the pattern has: with two, the first stays

    def may_be_in(self, lowered: bytes) -> bool:
        """Whether it is worth to look for the pattern."""
        return any(sign in lowered for sign in self.signs)

    def is_in(self, data: bytes, lowered: bytes) -> bool:
        """Whether the name is in a file; looked for around each sign of it, as most bytes of most files are none."""
        pattern, _ = pattern_of((self,))
        around = LONGEST_HASH + 4 * len(self.name)
        for sign in self.signs:
            at = lowered.find(sign)
            while at >= 0:
                end = min(at + len(sign) + around, len(data))
                for found in pattern.finditer(data, max(0, at - around), end):
                    if (found.end() < end or end == len(data)) and not is_in_hash(found):
                        return True
                at = lowered.find(sign, end - len(sign) - around // 2) if end < len(data) else -1
        return False


class StandIns:
    """A table of names, each with what stands in for it: the same everywhere for the same name.

    ``inside`` are paths of the container, which stay, and ``keys`` words that the export itself has to hold.
    """

    def __init__(self, names: Iterable[Name], inside: Sequence[str] = (), keys: Collection[str] = ()) -> None:
        self._inside = [PurePosixPath(each) for each in inside]
        self._counts: dict[str, int] = {}
        self._table: dict[str, str] = {}
        self._ordinary: dict[str, str] = {}
        self._paths: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._seen: dict[str, str] = {}  # by the name in lower case
        names = once(names)
        self._dash = dash_of(names)
        for name in names:
            if name.kind not in ("path", "above") and name.text.casefold() not in self._seen:
                is_word = is_ordinary(name.text) or name.text.casefold() in keys
                kept = self._ordinary if is_word else self._table
                form = FORMS.get(name.kind, name.kind + "-{}").replace("-{}", self._dash + "{}")
                kept[name.text] = self._seen[name.text.casefold()] = form.format(self._number(name.kind))
        folders = [PurePosixPath(name.text) for name in names if name.kind == "path"]
        for folder in sorted(folders, key=lambda each: len(each.parts)):
            self._add_path(folder, ends=True)
        for folder in (*folders, *(PurePosixPath(name.text) for name in names if name.kind == "above")):
            self._add_above(folder)

    def _number(self, kind: str) -> int:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return self._counts[kind]

    def _add_path(self, folder: PurePosixPath, *, ends: bool) -> None:
        """A path; what stands in for it ``ends`` as it does, unless that is a name."""
        parts = folder.parts[1:]
        if folder.is_absolute() and not all(is_ordinary(part) for part in parts) and str(folder) not in self._paths:
            is_name = parts[-1].casefold() in self._seen or self.text(parts[-1]) != parts[-1]
            shown = f"/{parts[-1]}" if ends and not is_name else ""
            self._paths[str(folder)] = f"/path{self._dash}{self._number('path')}{shown}"

    def _add_above(self, folder: PurePosixPath) -> None:
        """A path and those above it, but for what any machine, or the container, has."""
        for each in (folder, *folder.parents):
            is_general = all(part.lower() in GENERAL for part in each.parts[1:])
            is_inside = any(each == kept or each in kept.parents for kept in self._inside)
            if len(each.parts) > 2 and not is_general and not is_inside:
                self._add_path(each, ends=False)

    def number_of(self, kind: str, what: str) -> int:
        """A number for a thing that has no name: the same for the same."""
        if f"{kind} {what}" not in self._numbers:
            self._numbers[f"{kind} {what}"] = self._number(kind)
        return self._numbers[f"{kind} {what}"]

    def of(self, name: str) -> str:
        """What stands in for a whole name, an ordinary word too; a text that is none of the table, cleaned."""
        return self._seen.get(name.casefold()) or self.text(name)

    @property
    def planted(self) -> tuple[str, ...]:
        """The names that may be in no byte; the longest first."""
        return tuple(sorted({*self._paths, *self._table}, key=lambda each: (-len(each), each)))

    @property
    def unclear(self) -> tuple[str, ...]:
        """The names that are ordinary words: replaced where a key or a sign says that they are names, and else left."""
        return tuple(sorted(self._ordinary))

    def _all(self) -> Iterator[Replaced]:
        """In the order in which they are tried at a place."""
        longest = sorted(self._table, key=lambda each: (-len(each), each))
        for each in sorted(self._paths, key=lambda each: (-len(each), each)):
            part = max(PurePosixPath(each).parts[1:], key=len)
            yield Replaced(each, path(each), self._paths[each].encode(), signs_of(part))
        for each in filter(IS_WHOLE.search, longest):
            yield Replaced(each, whole(each), self._table[each].encode(), signs_of(each))
        yield Replaced("", EMAIL, SOMEBODY, (b"@",))
        yield Replaced("", HOME, SOMEWHERE, (b"/home/", b"/users/"))
        yield Replaced("", UID, b"1000", (b"uid", b"gid"), 2)
        for each in longest:
            if not IS_WHOLE.search(each):
                yield Replaced(each, word(each), self._table[each].encode(), signs_of(each))
        for each, stand_in in self._ordinary.items():
            yield Replaced(each, in_place(each), stand_in.encode(), signs_of(each), 2)
            if stand_in.startswith("cluster-"):
                yield Replaced(each, before_a_job(each), stand_in.encode(), signs_of(each), 2)

    def _ready(self) -> tuple[Replaced, ...]:
        """Made anew while names are added, then once."""
        if len(self._paths) + len(self._seen) != self.__dict__.get("_made_of"):
            self.__dict__["_made_of"] = len(self._paths) + len(self._seen)
            self.__dict__["_made"] = tuple(self._all())
        made: tuple[Replaced, ...] = self.__dict__["_made"]
        return made

    def text(self, text: str) -> str:
        """The same text with the names replaced, and every e-mail address, home folder and base64 with a name too."""
        return self._cleaned(text, len(self._paths))

    @cached_property
    def _cleaned(self) -> Callable[[str, int], str]:
        """Records of one sweep have most texts in common. The number is of the paths that are known by now."""

        @lru_cache(maxsize=2**14)
        def cleaned(text: str, _: int) -> str:
            data = self._replaced(text.encode("utf-8", "surrogatepass"))
            data = ENCODED.sub(lambda found: b"hidden" if self._is_encoded(found[0]) else found[0], data)
            return data.decode("utf-8", "surrogatepass")

        return cleaned

    def _replaced(self, data: bytes) -> bytes:
        """By lines, of which most hold none."""
        lowered = data.lower()
        there = tuple(each for each in self._ready() if each.may_be_in(lowered))
        if not there:
            return data
        pattern, places = pattern_of(there)
        put = dict(zip(places, there, strict=True))

        def stand_in(found: re.Match[bytes]) -> bytes:
            each = put[found.lastindex or 0]
            if is_in_hash(found):
                return found[0]
            if each.stand_in == SOMEWHERE:
                head, _, user = found[0].rpartition(b"/")
                return head + b"/" + self._seen.get(user.decode("utf-8", "replace").casefold(), "somebody").encode()
            return (found[(found.lastindex or 0) - 1] if each.groups else b"") + each.stand_in

        signs = tuple({sign for each in there for sign in each.signs if sign in lowered})
        lines = zip(data.split(b"\n"), lowered.split(b"\n"), strict=True)
        return b"\n".join(
            pattern.sub(stand_in, line) if any(sign in low for sign in signs) else line for line, low in lines
        )

    def scrub(self, data: bytes) -> bytes | None:
        """The same file with the names replaced; None if it holds one that cannot be: it is no text, or hides it.

        A file without any name comes back as it was.
        """
        if data[:2] in UTF16:
            try:
                cleaned = self.text(data.decode("utf-16")).encode("utf-16")
            except UnicodeError:
                return None
        else:
            cleaned = data if BINARY.search(data) else self._replaced(data)
        return None if self.leaks(cleaned) else cleaned

    def leaks(self, data: bytes) -> list[str]:
        """The names that are in a file's bytes; also in UTF-16, UTF-32, base64 and hexadecimal, and in packed files.

        Not seen: what is encrypted, or compressed within another format (PNG, PDF, HDF5, Parquet); a name written
        backwards or in pieces. A file that is packed and cannot be unpacked counts as one, with the reason.
        """
        found: dict[str, None] = {}
        for layer in opened(data):
            if isinstance(layer, str):
                found[layer] = None
                continue
            found |= dict.fromkeys(self._named_in(layer))
            for text, filling in WIDE_TEXT if b"\0" in layer else ():
                if text.search(layer):
                    found |= dict.fromkeys(self._named_in(re.sub(filling, b"", layer)))
        return [*found]

    def _named_in(self, data: bytes) -> Iterator[str]:
        lowered = data.lower()
        yield from (each.name for each in self._ready() if each.name and each.is_in(data, lowered))
        digits = b"\n".join(LINE_END.sub(b"", each) for each in ENCODED.findall(data))
        yield from (name for name, forms in self._encoded if digits and any(form in digits for form in forms))

    def _is_encoded(self, data: bytes) -> bool:
        digits = LINE_END.sub(b"", data)
        return any(form in digits for _, forms in self._encoded for form in forms)

    @cached_property
    def _encoded(self) -> list[tuple[str, tuple[bytes, ...]]]:
        """Name -> its forms; the names are all known when the table is made."""
        return [(each, tuple(dict.fromkeys(encoded(each)))) for each in self._table]


def dash_of(names: Sequence[Name]) -> str:
    """What stands before a stand-in's number. A node may have the name `node-1`, and no stand-in may be a name."""
    kinds = {name.kind for name in names} | {"address", "registry", "image", "mirror", "repository", "path", "job"}
    numbered = re.compile(rf"(?:{'|'.join(map(re.escape, kinds))})(-+)[0-9]{{1,7}}", re.IGNORECASE)
    taken = {found[1] for name in names if (found := numbered.fullmatch(name.text))}
    return next(dash for dash in ("-" * count for count in range(1, len(taken) + 2)) if dash not in taken)


def signs_of(name: str) -> tuple[bytes, ...]:
    """The spellings of a name in lower case."""
    return tuple(dict.fromkeys(each.lower() for each in spellings(name)))


def is_in_hash(found: re.Match[bytes]) -> bool:
    """Whether a short name is found by chance in the digits of a longer hash."""
    if not HEXADECIMAL.fullmatch(found[0]):
        return False
    start, end = found.span()
    digits = found.string[max(0, start - LONGEST_HASH) : end + LONGEST_HASH]
    at = start - max(0, start - LONGEST_HASH)
    token = next((each for each in HASH.finditer(digits) if each.start() <= at < each.end()), None)
    if token is None or len(token[0]) == end - start:
        return False
    return bool(HEXADECIMAL.fullmatch(token[0]) and re.search(rb"[0-9]", token[0]))


@lru_cache(maxsize=4096)
def pattern_of(names: tuple[Replaced, ...]) -> tuple[re.Pattern[bytes], tuple[int, ...]]:
    """One pattern for several names, and which of its groups is that of each."""
    parts, places, groups = [], [], 0
    for each in names:
        groups += each.groups or 1
        places.append(groups)
        parts.append(each.pattern if each.groups else b"(" + each.pattern + b")")
    return re.compile(b"|".join(parts)), tuple(places)

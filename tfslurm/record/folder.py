"""The raw observations of one place, and why some of them are missing. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Folder:
    """Files below one prefix of the job's folder; one that cannot be read is noted in ``unknown``, never raised.

    ``unknown`` (path of the fact in the record -> why) is one dict for the whole record, written as facts are read.
    """

    files: Mapping[str, bytes]
    prefix: str  # '' or ends with '/'
    path: str  # of the facts in the record: 'attempts[0].tasks[0]'
    unknown: dict[str, str] = field(default_factory=dict)

    def below(self, prefix: str, path: str) -> Folder:
        """A folder in this one, whose facts stand under another path."""
        return Folder(self.files, f"{self.prefix}{prefix}/", path, self.unknown)

    def at(self, path: str) -> Folder:
        """The same files, whose facts stand under another path."""
        return Folder(self.files, self.prefix, path, self.unknown)

    def quiet(self) -> Folder:
        """The same files, for values that are no facts: why one of them is missing is not put down."""
        return Folder(self.files, self.prefix, "")

    @property
    def names(self) -> list[str]:
        """The files in it, by their paths from here."""
        return [name.removeprefix(self.prefix) for name in self.files if name.startswith(self.prefix)]

    def raw(self, name: str) -> bytes | None:
        """The file's bytes; None if it is not there."""
        return self.files.get(self.prefix + name)

    def text(self, name: str) -> str | None:
        """The file as one stripped line or more; None if it is not there or empty."""
        raw = self.raw(name)
        return raw.decode("utf-8", "backslashreplace").strip() or None if raw is not None else None

    def missing(self, name: str) -> str:
        """The reason why the file is not there, in the words of the command that should have written it."""
        said = self.text(f"{name}.error")
        return f"{name}: {' '.join(said.split())[:400]}" if said else f"{name} was not written"

    def fact(self, key: str, name: str, parse: Callable[[bytes], Value]) -> Value | None:
        """The value that the file holds for a fact; None, with the reason in ``unknown``, if it holds none."""
        raw = self.raw(name)
        if raw is None:
            self.note(key, self.missing(name))
            return None
        try:
            return parse(raw)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            self.note(key, f"{name} cannot be read: {kind}{str(error)[:200]}")
            return None

    def why(self, key: str) -> str:
        """The reason that was put down for a fact; '' for none."""
        return self.unknown.get(f"{self.path}.{key}" if self.path else key, "")

    def note(self, key: str, why: str) -> None:
        """Note why a fact is null."""
        self.unknown[f"{self.path}.{key}" if self.path else key] = why

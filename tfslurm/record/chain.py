"""The chain of a tracker's records, each of which names the hash of the record before it: which entry does not hold?

Pure. An entry's hash covers ``integrity.previous``, so a record that was changed, taken out or moved breaks the chain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from tfslurm.errors import RecordError
from tfslurm.record.model import record_bytes, unsealed

WHOLE = re.compile(r"(?<=[0-9])\.0(?=[,}\]])")
"The end of a whole number that Python has as a float."


class ChainEntry(NamedTuple):
    """One entry as the tracker has it; ``values`` are its record's JSON values, None: they are not there or no JSON."""

    place: int  # from 1
    job: str  # CLUSTER:ID
    record_sha256: str
    previous: str | None  # None: of the first
    values: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        """The entry for a reader."""
        return f"entry {self.place} ({self.job})"


def broken_entries(
    entries: Iterable[ChainEntry], ended: int, after: tuple[int, str | None] = (0, None)
) -> Iterator[str]:
    """One line for each place where the entries, in their order, do not hold.

    ``ended`` is the place that the last of them must have; ``after`` the place and hash of the entry before the first.
    """
    place, head = after
    for entry in entries:
        if entry.place != place + 1:
            yield f"{places(place + 1, entry.place - 1)} not there any more"
        elif entry.previous != head:
            yield f"{entry.name} follows the record {shown(entry.previous)}, and before it is {shown(head)}"
        if why := fault(entry):
            yield f"{entry.name}: {why}"
        place, head = entry.place, entry.record_sha256
    if ended > place:
        yield f"{places(place + 1, ended)} not there any more: the end of the chain"


def places(first: int, last: int) -> str:
    """The subject of a sentence about entries that are gone."""
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"


def shown(digest: str | None) -> str:
    """The beginning of a hash."""
    return "none" if digest is None else f"{digest[:16]}…"


def fault(entry: ChainEntry) -> str:
    """Why an entry's record is not the one that was chained; '' if it is."""
    if entry.values is None:
        return "its record is not there any more, or cannot be read"
    if not has_sha256(entry.values, entry.record_sha256):
        return f"its record was changed: it does not have the sha256 {shown(entry.record_sha256)} any more"
    integrity = entry.values["integrity"]
    if integrity.get("record_sha256") != entry.record_sha256:
        return f"its record says the sha256 {shown(str(integrity.get('record_sha256')))} of itself"
    if integrity.get("previous") != entry.previous:
        return f"its record follows {shown(str(integrity.get('previous')))}, and the chain says {shown(entry.previous)}"
    return ""


def has_sha256(values: Mapping[str, Any], said: str) -> bool:
    """Whether a record's content has this hash."""
    return bytes_with(values, said) is not None


def bytes_with(values: Mapping[str, Any], said: str) -> bytes | None:
    """The canonical bytes of a record, if they have this hash; else None.

    Python's own JSON, with sorted keys and `12` for `12.0`, is the canonical form of most records, and made ten times
    as fast. Bytes with the hash are the canonical ones, whoever made them.
    """
    try:
        text = json.dumps(unsealed(values), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        quick = (each.encode() for each in (text, WHOLE.sub("", text)))
        made = next((each for each in quick if sha256(each).hexdigest() == said), None) or record_bytes(values)
        return made if sha256(made).hexdigest() == said else None
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, RecordError):
        return None

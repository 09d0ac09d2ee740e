"""The lines of a program that looks at a node (check.sh, reap.sh) as they came. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfslurm.slurm.values import MOST_ROWS, at_most, lines_of

MARK = "probe."


@dataclass(frozen=True, slots=True)
class ProbeOutput:
    """What was printed, key -> its lines. ``whole``: the script came to its end."""

    lines: Mapping[str, tuple[str, ...]]
    whole: bool

    def one(self, key: str) -> str:
        """The first line of a key; '' where there is none."""
        return next(iter(self.lines.get(key, ())), "")

    def all(self, key: str) -> tuple[str, ...]:
        """Every line of a key, in order."""
        return self.lines.get(key, ())

    def json(self, key: str) -> Mapping[str, Any]:
        """The JSON object among a key's lines; empty where there is none.

        A program may print warnings beside it; docker prints it on one line, podman on many.
        """
        lines = self.all(key)
        begins = next((at for at, line in enumerate(lines) if line.startswith("{")), len(lines))
        try:
            value, _ = json.JSONDecoder().raw_decode("\n".join(lines[begins:]))
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


def parse_probe_output(text: str) -> ProbeOutput:
    """The script's lines; what a site's prolog or a login shell printed between them is left out.

    Raises:
        SlurmParseError: they are more than a node has to say.
    """
    found: dict[str, list[str]] = {}
    for line in at_most(MOST_ROWS, lines_of(text), "what a node printed"):
        if line.startswith(MARK) and "\t" in line:
            key, _, value = line.removeprefix(MARK).partition("\t")
            found.setdefault(key, []).append(value.strip(" \r"))
    lines = {key: tuple(values) for key, values in found.items()}
    return ProbeOutput(lines, "begin" in found and "end" in found)

"""~/.ssh/config as paramiko's parser can read it: with Include, which that parser lacks, replaced by what it names.

Source: ssh_config(5). The first value wins, so what the cluster file says is put in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

DEEPEST = 16
"How many files may include each other, as in OpenSSH."


def config_text(user_file: Path, system_file: Path = Path("/etc/ssh/ssh_config")) -> str:
    """Return the user's and then the system's settings; a file that does not exist is empty."""
    return "\n".join([*_lines(user_file, user_file.parent, 0), "Host *", *_lines(system_file, system_file.parent, 0)])


def _lines(file: Path, home: Path, depth: int) -> Iterator[str]:
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return
    block = "Host *"
    for line in text.splitlines():
        found = re.match(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*$", line)
        key, value = (found[1].lower(), found[2]) if found else ("", "")
        if key in ("host", "match"):
            block = line
        if key != "include":
            yield line
            continue
        for pattern in value.replace('"', "").split() if depth < DEEPEST else ():
            path = Path(pattern).expanduser()
            base, relative = (Path("/"), str(path)[1:]) if path.is_absolute() else (home, str(path))
            for included in sorted(base.glob(relative)):
                yield from _lines(included, home, depth + 1)
        yield block  # what follows an Include belongs to the block that the Include stands in

"""What jobs wrote about their own ends: the files of any number of them, read with one command."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from tfslurm.errors import HostError
from tfslurm.host import Host
from tfslurm.host.files import in_bash, one_line
from tfslurm.host.protocol import MOST_BYTES

LARGEST = 65536
USUAL = 4096
"Bytes of an end, and more; of one of many jobs LARGEST is rare."
MOST_IN_ALL = 512 * 2**20
REQUEUED = "requeued after "  # how node.sh says that an attempt's end is not the job's
STOPPED = "stopped by SIG"  # and that it was stopped from outside

# On stdin, for each job, a run folder, the job's folder in it, and 1 where its secrets are to go, each ended by NUL.
# Out comes for each the end that its last attempt wrote ({}: none yet), and NUL. No program is started for one: there
# may be many.
ENDS = one_line(r"""export LC_ALL=C; most=$1;
while IFS= read -r -d '' run && IFS= read -r -d '' job && IFS= read -r -d '' forget; do
[ "$forget" = 0 ] || rm -rf -- "$run/secrets"; last=0 end=;
for one in "$run/$job"/attempt-*; do n=${one##*/attempt-}; case $n in ''|*[!0-9]*) continue ;; esac;
[ "$n" -le "$last" ] || last=$n; done;
[ "$last" = 0 ] || end='{}'; file=$run/$job/attempt-$last/exit.json;
[ ! -f "$file" ] || IFS= read -r -d '' -n "$most" end <"$file" || :;
printf '%s\0' "$end"; done""")


@dataclass(frozen=True, slots=True)
class Wish:
    """The job whose end is wanted: its run folder, its own folder in that, and whether its secrets are to go."""

    run_dir: PurePosixPath
    job_id: str
    forget: bool = False


def read_ends(host: Host, wishes: Sequence[Wish]) -> list[Mapping[str, Any] | None]:
    """The end that each job's last attempt wrote; {} where it wrote none yet, None where there is no attempt.

    Raises:
        HostError: the machine does not answer, or not for all of them.
    """
    if not wishes:
        return []
    words = (word for wish in wishes for word in (str(wish.run_dir), wish.job_id, str(int(wish.forget))))
    asked = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
    most = min(MOST_BYTES + USUAL * len(wishes), MOST_IN_ALL)
    done = host.run(in_bash(ENDS, str(LARGEST)), input=asked, timeout_s=60 + len(wishes) / 20, max_bytes=most)
    said = done.stdout.split("\0")
    if done.exit_code or len(said) != len(wishes) + 1:
        why = done.stderr.strip() or f"exit {done.exit_code}"
        raise HostError(f"{host.name}: the jobs' own ends could not be read: {why}", transient=True)
    return [end_in(text) for text in said[:-1]]


def end_in(text: str | bytes) -> Mapping[str, Any] | None:
    """What an exit.json holds; None where it holds nothing whole."""
    try:
        end = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return end if isinstance(end, dict) and is_end(end) else None


def is_end(values: Mapping[str, Any]) -> bool:
    """Whether what is read of an end has the types that node.sh writes: the program may write in the same folder."""
    code, signal = (values.get(key) for key in ("exit_code", "signal"))
    texts = (values.get(key) for key in ("reason", "began_at", "ended_at"))
    return (
        (code is None or (type(code) is int and 0 <= code <= 255))
        and (signal is None or (type(signal) is int and 0 < signal <= 127))
        and all(text is None or isinstance(text, str) for text in texts)
    )


def last_end(files: Mapping[str, bytes]) -> Mapping[str, Any] | None:
    """The end of the last attempt among the files of one job, or None while it runs."""
    attempts = {int(found[1]) for name in files if (found := re.match(r"attempt-([0-9]+)/", name))}
    return end_in(files.get(f"attempt-{max(attempts)}/exit.json", b"")) if attempts else None

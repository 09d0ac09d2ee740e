"""Read the end files of any number of jobs with one command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import PurePosixPath
from typing import NamedTuple

from tfslurm.errors import HostError, last_words
from tfslurm.host import Host
from tfslurm.job_plan.folders import job_folder
from tfslurm.remote_programs import program
from tfslurm.run_folder import paths
from tfslurm.run_folder.ending import End, parse_end

LARGEST = 65536
USUAL = 1024
"Bytes of an end, and more: so many are read of each, however many there are."
MOST_IN_ALL = 256 * 2**20


class Missing(Enum):
    """In place of the end of a job that has no end."""

    UNWRITTEN = "its last attempt has written none"
    GONE = "there is no run folder, so nobody will write one"


UNWRITTEN, GONE = Missing.UNWRITTEN, Missing.GONE


class ExitRequest(NamedTuple):
    """The job whose end is wanted: its run folder, its own folder in that, and whether its secrets are to go."""

    run_dir: PurePosixPath
    job_id: str
    forget: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The request as words of exit-files.sh."""
        job = job_folder(self.run_dir, self.job_id)
        return str(self.run_dir.parent), self.run_dir.name, job.name, str(int(self.forget))


def read_ends(host: Host, requests: Sequence[ExitRequest]) -> list[End | Missing | None]:
    """The end that each job's last attempt wrote; None where there is no attempt.

    Raises:
        HostError: the machine does not answer, or not for all of them.
    """
    if not requests:
        return []
    words = (word for request in requests for word in request.words)
    asked = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
    each = min(LARGEST, max(USUAL, MOST_IN_ALL // len(requests)))
    most = (each + len("=\0")) * len(requests)
    done = host.run(program("exit-files", str(each)), input=asked, timeout_s=60 + len(requests) / 20, max_bytes=most)
    said = done.stdout.split("\0")
    if done.exit_code or len(said) != len(requests) + 1:
        raise HostError(f"{host.name}: the jobs' own ends could not be read: {last_words(done)}", transient=True)
    return [GONE if text == "gone" else end_in(text[1:]) if text[:1] == "=" else None for text in said[:-1]]


def end_in(text: str | bytes) -> End | Missing:
    """The end in an exit.json; UNWRITTEN if it is none that a job writes, for example because it was cut off."""
    try:
        return parse_end(text)
    except ValueError:
        return UNWRITTEN


def last_end(files: Mapping[str, bytes]) -> End | None:
    """The end of the last attempt among the files of one job, or None while it runs."""
    attempts = paths.attempts_in(files)
    end = end_in(files.get(f"{paths.attempt(attempts[-1])}/{paths.END}", b"")) if attempts else None
    return end if isinstance(end, End) else None

"""The tree of errors that cross tfslurm's own boundary.

TfslurmError                 exit 1: the world said no
  InputError                 exit 2: what the user wrote; carries every problem of the text at once
  RegistryError              a registry refused, does not know the image, or sent other bytes than it announced
  HostError                  a machine could not be reached, or a command could not be started or timed out
    TooLarge                 what is asked for is more than is read
  CommandFailed              a command ran and ended with a non-zero exit code
    SubmitRejected           sbatch refused the job
  SlurmParseError            Slurm printed something that is not understood (never guessed at)
  TrackerError               the tracker's file cannot be read or written
  RecordError                a run folder does not hold what a record needs

No exception of a library (yaml, pydantic, jinja2, requests, docker, paramiko, sqlite3) leaves the module that uses it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Completed:
    """One command and how it ended; text is UTF-8 with undecodable bytes kept as surrogates."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    host: str = "localhost"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a text: where it stands, why it is one, and the mend. ``line`` 0 means the whole file."""

    file: str
    line: int
    key: str
    why: str
    fix: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        parts = [part for part in (where, self.key) if part]
        return ": ".join([*parts, self.why]) + (f"; {self.fix}" if self.fix else "")


class TfslurmError(Exception):
    """An error that is told to the user in one line. ``transient`` says whether trying again can help."""

    exit_code = 1

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class InputError(TfslurmError):
    """What the user wrote does not hold; ``problems`` lists all of them in the order of the text."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def refuse(what: str, why: str, fix: str = "") -> InputError:
    """An InputError with one problem that stands on the command line rather than in a file."""
    return InputError([Problem(file=what, line=0, key="", why=why, fix=fix)])


class RegistryError(TfslurmError):
    """The registry's answer, or its silence, does not let the image be pinned."""


class HostError(TfslurmError):
    """A machine could not be reached, or a command on it could not be started or did not end in time."""


class TooLarge(HostError):
    """What a machine has is more than is read of it."""


class CommandFailed(TfslurmError):
    """A command ended with a non-zero exit code: says the command as one pastable line and the end of its stderr."""

    def __init__(self, completed: Completed, *, what: str = "") -> None:
        self.completed = completed
        said = completed.stderr.strip() or completed.stdout.strip() or "it said nothing"
        last = "\n".join(said.splitlines()[-10:])
        command = command_line(completed.argv)
        head = f"{completed.host}: {what or command}: exit {completed.exit_code}: {last}"
        super().__init__(head + (f"\n  command: {command}" if what else ""))


def command_line(argv: Sequence[str]) -> str:
    """A command as one line; the many variables that `env` takes away from it are counted, not listed."""
    words, gone = list(argv), 0
    if words[:1] == ["env"]:
        while len(words) > 3 and words[1] == "-u":
            del words[1:3]
            gone += 1
    line = shlex.join(words[1:] if gone and "=" not in words[1] else words)
    return f"{line}  # without {gone} variables that would change it" if gone else line


class SubmitRejected(CommandFailed):
    """sbatch refused the job; nothing was queued."""


class SlurmParseError(TfslurmError):
    """Slurm printed something that this version of tfslurm does not understand."""

    def __init__(self, what: str, raw: str) -> None:
        self.raw = raw
        super().__init__(f"{what}: cannot read Slurm's answer {raw[:400]!r}; please report it with your Slurm version")


class TrackerError(TfslurmError):
    """The tracker's file cannot be read or written."""


class RecordError(TfslurmError):
    """A run folder does not hold what a record needs."""

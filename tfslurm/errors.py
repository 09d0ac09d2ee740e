"""The tree of errors that cross tfslurm's own boundary.

TfslurmError                 exit 1: a cluster, a machine or a registry refused
  InputError                 exit 2: what the user wrote; carries every problem of the text at once
  RegistryError              a registry refused, does not know the image, or sent other bytes than it announced
  HostError                  a machine could not be reached, or a command could not be started or timed out
    NoProgram                the program is not on that machine
    TooMuchOutput            a command printed more than anybody could use, and was killed
    SlurmParseError          Slurm printed something that is not understood (never guessed at)
  CommandFailed              a command ran and ended with a non-zero exit code
    SubmitRejected           sbatch refused the job
  TrackerError               the tracker's file cannot be read or written
    Untracked                a job was queued, and the tracker could not write it down
  JobFailed                  a job that was waited for did not end well
  RecordError                a run folder does not hold what a record needs

No exception of a library (yaml, pydantic, jinja2, requests, docker, paramiko, sqlite3) leaves the module that uses it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

LONGEST_WORDS = 4000
"Characters of a command's own words that a message repeats."
LONGEST_LINE = 400
"Of them in a message of one line."


class Completed(NamedTuple):
    """One command and how it ended; text is UTF-8 with undecodable bytes kept as surrogates."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    host: str = "localhost"


class Problem(NamedTuple):
    """One mistake in a text: where it stands, why it is one, and the fix. ``line`` 0 means the whole file."""

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
    """An error that the user sees as one line. ``transient`` says whether trying again can help."""

    exit_code = 1

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


MOST_PROBLEMS = 100


class InputError(TfslurmError):
    """Mistakes in the user's text; ``problems`` lists the first MOST_PROBLEMS in the order of the text.

    Where there are more, a last one says how many.
    """

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        ordered = sorted(problems, key=lambda problem: (problem.file, problem.line))
        more = len(ordered) - MOST_PROBLEMS
        rest = [Problem(ordered[-1].file, 0, "", f"has {more} more problems", "fix these first")] if more > 0 else []
        self.problems = (*ordered[:MOST_PROBLEMS], *rest)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def refuse(what: str, why: str, fix: str = "") -> InputError:
    """An InputError with one problem that stands on the command line rather than in a file."""
    return InputError([Problem(file=what, line=0, key="", why=why, fix=fix)])


class RegistryError(TfslurmError):
    """The registry's answer, or its silence, does not let the image be pinned."""


class HostError(TfslurmError):
    """A machine could not be reached, or a command on it could not be started or did not end in time."""


class NoProgram(HostError):
    """The program is not on that machine, or cannot be executed there."""


class TooMuchOutput(HostError):
    """A command printed more bytes, lines or items than its answer can have; what it printed is not used."""


class CommandFailed(TfslurmError):
    """A command ended with a non-zero exit code: says the command as one pastable line and the end of its stderr."""

    def __init__(self, completed: Completed, *, what: str = "") -> None:
        self.completed = completed
        said = completed.stderr.strip() or completed.stdout.strip() or "it said nothing"
        last = "\n".join(said[-LONGEST_WORDS:].splitlines()[-10:])
        command = command_line(completed.argv)
        head = f"{completed.host}: {what or command}: exit {completed.exit_code}: {last}"
        super().__init__(head + (f"\n  command: {command}" if what else ""))


def last_words(completed: Completed) -> str:
    """The end of a command's stderr in one short line; its exit code if that is empty."""
    lines = completed.stderr[-LONGEST_WORDS:].strip().splitlines()
    return lines[-1].strip()[-LONGEST_LINE:] if lines else f"exit {completed.exit_code}"


def command_line(argv: Sequence[str]) -> str:
    """A command as one line; the many variables that `env` takes away from it are counted, not listed."""
    words, gone = list(argv), []
    if words[:1] == ["env"]:
        while len(words) > 3 and words[1] == "-u":
            gone.append(words[2])
            del words[1:3]
    line = shlex.join(words[1:] if gone and "=" not in words[1] else words)
    if words[:1] == ["sbatch"]:  # by job_templates/remote/unsteered.sh
        return f"{line}  (SBATCH_/SLURM_ variables of your shell removed)"
    return f"{line}  ({len(gone)} {kinds(gone)} variables of your shell removed)" if gone else line


def kinds(names: Sequence[str]) -> str:
    """The beginnings of names of variables: ``SQUEUE_/SLURM_``."""
    return "/".join(dict.fromkeys(f"{name.partition('_')[0]}_" for name in names))


class SubmitRejected(CommandFailed):
    """sbatch refused the job; nothing was queued."""


class SlurmParseError(HostError):
    """Slurm printed something that this version of tfslurm does not understand: as if it had not answered."""

    def __init__(self, what: str, raw: str, *, why: str = "") -> None:
        why = why or f"cannot read Slurm's answer {raw[:400]!r}; please report it with your Slurm version"
        super().__init__(f"{what}: {why}")


class TrackerError(TfslurmError):
    """The tracker's file cannot be read or written."""


class Untracked(TrackerError):
    """A job was queued and the tracker does not know it; ``job`` is how a user names it: ``alpha:1234``."""

    def __init__(self, cluster: str, job_id: str, plan_id: str, why: str) -> None:
        self.job = f"{cluster}:{job_id}"
        self.plan_id = plan_id
        fix = f"when that is fixed, run `tfslurm tracker rebuild {cluster}`"
        super().__init__(f"{self.job} was submitted, and the tracker does not know it: {why}; {fix}")


class RecordError(TfslurmError):
    """A run folder does not hold what a record needs."""


class JobFailed(TfslurmError):
    """A job that was waited for has ended, and not well: ``job``, its ``state`` and ``job_exit_code``."""

    def __init__(self, job: str, state: str, exit_code: int, why: str, stderr: str) -> None:
        said = f"\n{stderr}" if stderr else ""
        super().__init__(f"{job}: {state}: {why or f'exit {exit_code}'}{said}")
        self.job, self.state, self.job_exit_code = job, state, exit_code


def complaint(error: TfslurmError) -> list[str]:
    """The lines of an error for stderr; those after the first, such as a command's own words, are indented."""
    said = str(error).split("\n")
    said[-1] += " (trying again can help)" if error.transient else ""
    return [f"error: {said[0]}", *(line if line[:1] == " " else f"  {line}" for line in said[1:])]

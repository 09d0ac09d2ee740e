"""Print the error of a command that failed, and give its exit code: the only catch-all."""

from __future__ import annotations

import errno
import os
import sys
from io import StringIO
from traceback import format_exception
from typing import Any

import click

from tfslurm.cli.console import EMITTED, emit, say
from tfslurm.errors import InputError, TfslurmError, complaint

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def report_failure(error: BaseException, *, whole: bool, as_json: bool = False) -> int:
    """The exit code of a command that ended with an error, which is printed, in ``whole`` with its traceback.

    ``as_json``: on stdout too, as the one document of the command, unless that was printed before.
    """
    code = tell(error, whole=whole)
    if as_json and not EMITTED and not isinstance(error, BrokenPipeError):
        try:
            emit({"error": as_value(error, code)})
        except OSError:  # stderr has it
            drop_output()
    return code


def drop_output() -> None:
    """Have nothing more be written on stdout, not even as Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def as_value(error: BaseException, code: int) -> dict[str, Any]:
    """An error for --json; ``problems`` are those of a text or of the command line, each with its place."""
    is_interrupt = isinstance(error, click.Abort | KeyboardInterrupt)
    message = error.format_message() if isinstance(error, click.ClickException) else str(error)
    found = error.problems if isinstance(error, InputError) else ()
    return {
        "kind": "Interrupted" if is_interrupt else type(error).__name__,
        "message": "interrupted" if is_interrupt else message,
        "exit_code": code,
        "transient": isinstance(error, TfslurmError) and error.transient,
        "problems": [{**each._asdict(), "line": each.line or None} for each in found],
    }


def usage(error: click.ClickException) -> str:
    """A mistake on the command line in one line: the command, what click says of it, and what to do."""
    said = " ".join(error.format_message().split())
    if type(error) is not click.UsageError or said.startswith("Got "):  # click's own words, not a command's
        said = said[0].lower() + said[1:].rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if not context:
        return said
    fix = f"; `{context.command_path} --help` explains it" if "`" not in said else ""
    if isinstance(error, click.NoSuchOption):
        said, near = f"no such option {error.option_name!r}", " or ".join(error.possibilities or ())
        fix = f"; {f'did you mean {near}? ' if near else ''}`{context.command_path} --help` lists them"
    return f"{context.command_path}: {said}{fix}"


def tell(error: BaseException, *, whole: bool) -> int:
    """Print an error on stderr; the exit code."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        say("interrupted")
        return 130
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # `tfslurm` alone
        shown = StringIO()
        error.show(file=shown)
        say(*shown.getvalue().rstrip("\n").split("\n"))
        return 2
    if isinstance(error, click.ClickException):
        say(f"error: {usage(error)}")
        return 2
    if isinstance(error, BrokenPipeError):  # the reader of stdout went away (`| head`): end without a word, as cat does
        drop_output()
        return 1
    if isinstance(error, OSError) and error.filename is None and error.errno in FULL:  # of a write
        drop_output()
        say(f"error: the output cannot be written: {error.strerror}; free some space, or send it elsewhere")
        return 1
    if whole:
        say(*"".join(format_exception(error)).rstrip("\n").split("\n"))
    elif isinstance(error, InputError):  # a line for each problem of a text
        say(*(f"error: {problem}" for problem in error.problems))
    elif isinstance(error, TfslurmError):
        say(*complaint(error))
    else:
        say(f"error: {type(error).__name__}: {error}; this is a defect of tfslurm: run again with -vv")
    return error.exit_code if isinstance(error, TfslurmError) else 1

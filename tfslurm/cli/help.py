"""tfslurm help, and the manual page: both are the help texts of the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from tfslurm import __version__
from tfslurm.cli import COMMANDS, ELSEWHERE, group, nearest_command
from tfslurm.cli.console import deliver, emit, show
from tfslurm.cli.options import plain


@click.command()
@click.argument("command", required=False)
@click.option("--man", is_flag=True, help="Print the manual page of tfslurm, with all commands.")
@plain
def help_command(command: str | None, man: bool, as_json: bool) -> None:
    """Explain a command as its --help does; without COMMAND, list all commands.

    \b
    To have `man tfslurm`:
        mkdir -p ~/.local/share/man/man1
        tfslurm help --man >~/.local/share/man/man1/tfslurm.1
    """
    if man:
        text = "\n".join(page()) + "\n"
        emit({"man": text}) if as_json else deliver(text, None, is_data=True)
        return
    if command is not None and command not in COMMANDS:
        near = nearest_command(command, COMMANDS, ELSEWHERE)
        meant = f"Did you mean {near!r}? " if near else ""
        raise click.UsageError(f"No such command {command!r}. {meant}`tfslurm help` lists the commands.")
    text = help_of(command)
    emit({"help": text}) if as_json else show(text)


def help_of(name: str | None) -> str:
    """The help of a command, or of tfslurm."""
    top = click.Context(group, info_name="tfslurm", max_content_width=110)
    found = group.get_command(top, name) if name else None
    if found is None:
        return group.get_help(top)
    return found.get_help(click.Context(found, parent=top, info_name=name))


def page() -> Iterator[str]:
    """The manual page in man(7)'s macros, line by line."""
    top = click.Context(group, info_name="tfslurm")
    yield f'.TH TFSLURM 1 "" "tfslurm {__version__}" "User Commands"'
    yield from (".SH NAME", r"tfslurm \- run a pinned TensorFlow image as a Slurm job, with a record")
    yield from (".SH SYNOPSIS", ".B tfslurm", r"COMMAND [OPTIONS] [ARGUMENTS]", ".SH DESCRIPTION")
    yield from prose(group.help or "")
    yield ".SH COMMANDS"
    for name in COMMANDS:
        command = group.get_command(top, name)
        assert command is not None  # noqa: S101 - it is in the table
        yield from of_command(name, command, top)


def of_command(name: str, command: click.Command, top: click.Context) -> Iterator[str]:
    """One command of the page: how it is called, what it does, its options."""
    context = click.Context(command, parent=top, info_name=name)
    words = " ".join(command.collect_usage_pieces(context))
    yield from (f".SS tfslurm {name}", f".B tfslurm {name}", roff(words), ".PP")
    yield from prose(command.help or "")
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and (shown := parameter.get_help_record(context)):
            yield from (".TP", f".B {roff(shown[0])}", roff(shown[1]))
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            if inner := command.get_command(context, each):
                yield from of_command(f"{name} {each}", inner, top)


def prose(text: str) -> Iterator[str]:
    """Paragraphs of a help text; one that begins with a line of \\b keeps its lines."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        lines = [line.rstrip() for line in paragraph.split("\n")]
        if lines[0].strip() == "\b":
            yield from (".nf", *map(roff, lines[1:]), ".fi")
        else:
            yield roff(" ".join(line.strip() for line in lines))


def roff(text: str) -> str:
    """A line that troff prints as it is."""
    line = " ".join(text.split("\n")).replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga")
    return rf"\&{line}" if line[:1] in (".", "'") else line

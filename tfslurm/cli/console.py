"""How the commands speak: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from tfslurm.errors import refuse

F = TypeVar("F", bound=Callable[..., Any])


def common(function: F) -> F:
    """The options of every command that may read cluster files: --clusters, --json and -v."""
    clusters = click.option(
        "--clusters",
        "clusters_folder",
        metavar="DIR",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=name_clusters,
        help="Read the cluster files of this folder too, in place of ./cluster_configs; your own stand before them.",
    )
    return clusters(plain(function))


def name_clusters(context: click.Context, parameter: click.Parameter, folder: Path | None) -> None:
    """Have this command read a folder's cluster files."""
    from tfslurm.submit.cluster_files import name_folder

    name_folder(folder)


def plain(function: F) -> F:
    """The options that every command has: --json and -v (-vv shows tracebacks)."""
    verbose = click.option("-v", "--verbose", count=True, help="Show each command that is run (-vv: tracebacks too).")
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else."
    )
    return verbose(as_json(function))


def emit(value: object) -> None:
    """The one JSON document of a command."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def deliver(text: str, output: Path | None) -> None:
    """The text on stdout, or in the file that was named.

    Raises:
        InputError: the file cannot be written.
    """
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise refuse(str(output), f"cannot be written: {error.strerror}") from error


def say(message: str) -> None:
    """A message or progress line, on stderr."""
    click.echo(message, err=True)


def tracer(verbose: int) -> Callable[[str], None] | None:
    """What the hosts call with each command line they run; None when nobody asked to see them."""
    return (lambda line: say(f"+ {line}")) if verbose else None


def plain_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows with their cells one below the other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], styles: Callable[[str], str] | None = None) -> None:
    """A table on stdout; colour only on a terminal and without NO_COLOR (rich sees to both)."""
    if not sys.stdout.isatty() and not os.environ.get("FORCE_COLOR"):  # nothing to fold or to colour
        click.echo(plain_table([headers, *rows]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    wide = None if sys.stdout.isatty() else 10_000
    console = Console(width=wide, highlight=False)
    grid = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for header in headers:
        grid.add_column(header, overflow="fold")
    for row in rows:
        grid.add_row(*[Text(cell, style=styles(cell) if styles else "") for cell in row])
    console.print(grid, soft_wrap=wide is not None)

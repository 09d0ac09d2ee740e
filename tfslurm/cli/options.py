"""What several commands take: EXP.yaml, the options --clusters, --json, -v and --wait; and the session of each."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from tfslurm.cli.console import agreed, say

F = TypeVar("F", bound=Callable[..., Any])
HERE = "exp.yaml"
VERBOSE = "tfslurm.verbose"


def common(function: F) -> F:
    """The options of every command that may read cluster files (--clusters, --json and -v), and its session."""
    clusters = click.option(
        "--clusters",
        "clusters_folder",
        metavar="DIR",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=name_clusters,
        help="Read the cluster files of this folder in place of ./cluster_configs; your own come first.",
    )

    @wraps(function)
    def command(**options: object) -> object:
        from tfslurm.workspace.session import Session

        with Session(say, tracer(), agreed) as session:
            return function(session, **options)

    return cast(F, clusters(plain(command)))


def name_clusters(context: click.Context, parameter: click.Parameter, folder: Path | None) -> None:
    """Have this command, and no later one of this process, read a folder's cluster files."""
    if folder is not None:
        from tfslurm.workspace.cluster_files import name_folder

        name_folder(folder)
        context.call_on_close(lambda: name_folder(None))


def keep_verbose(context: click.Context, parameter: click.Parameter, count: int) -> None:
    """Remember whether the commands that are run are to be shown."""
    context.meta[VERBOSE] = count


def plain(function: F) -> F:
    """The options that every command has: --json and -v (-vv shows tracebacks)."""
    verbose = click.option(
        "-v",
        "--verbose",
        count=True,
        expose_value=False,
        callback=keep_verbose,
        help="Show each command that tfslurm runs (-vv: tracebacks too).",
    )
    as_json = click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else."
    )
    return verbose(as_json(function))


def wait_option(default: int, text: str) -> Callable[[F], F]:
    """The option --wait of a command that needs a node which may be busy."""
    kind = click.IntRange(1, 480)
    return click.option("--wait", "wait_s", type=kind, default=default, show_default=True, metavar="SECONDS", help=text)


def tracer() -> Callable[[str], None] | None:
    """A function that prints each command line that a host runs; None without -v."""
    return (lambda line: say(f"+ {line}")) if click.get_current_context().meta.get(VERBOSE) else None


def or_here(context: click.Context, parameter: click.Parameter, file: Path | None) -> Path:
    """As ``experiment_or_here``, for a parameter."""
    return experiment_or_here(file)


def experiment_or_here(file: Path | str | None) -> Path:
    """The file that was named, or the current folder's exp.yaml.

    Raises:
        UsageError: none was named, and there is none.
    """
    if not file and not Path(HERE).exists():
        fix = "name the file, or write one: `tfslurm init`"
        raise click.UsageError(f"no experiment is named, and there is no {HERE} in this folder; {fix}")
    return Path(file or HERE)


experiment_file = click.argument(
    "experiment", type=click.Path(path_type=Path), metavar="[EXP.yaml]", required=False, callback=or_here
)

"""The argument EXP.yaml: the current folder's exp.yaml, if no file is named."""

from __future__ import annotations

from pathlib import Path

import click

HERE = "exp.yaml"


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

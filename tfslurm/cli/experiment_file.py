"""The argument EXP.yaml: the current folder's exp.yaml, if no file is named."""

from __future__ import annotations

from pathlib import Path

import click

HERE = "exp.yaml"


def or_here(context: click.Context, parameter: click.Parameter, file: Path | None) -> Path:
    """The file that was named, or the current folder's exp.yaml.

    Raises:
        UsageError: none was named, and there is none.
    """
    if file is None and not Path(HERE).exists():
        fix = "name the file, or write one: `tfslurm init`"
        raise click.UsageError(f"no experiment is named, and there is no {HERE} in this folder; {fix}")
    return file or Path(HERE)


experiment_file = click.argument(
    "experiment", type=click.Path(path_type=Path), metavar="[EXP.yaml]", required=False, callback=or_here
)

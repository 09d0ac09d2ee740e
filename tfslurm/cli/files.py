"""tfslurm init and schema: the files that a user starts from."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

from tfslurm.cli.console import emit, say, show
from tfslurm.cli.options import plain
from tfslurm.errors import refuse
from tfslurm.local_files import refuse_links, write_file
from tfslurm.workspace.cluster_files import cluster_files
from tfslurm.workspace.folders import config_folder, user_folders


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".", metavar="[DIR]")
@click.option("--force", is_flag=True, help="Replace an existing exp.yaml.")
@plain
def init(folder: Path, force: bool, as_json: bool) -> None:
    """Write a commented exp.yaml into DIR (default: here), and a cluster file if you have none."""
    written = [write(folder / "exp.yaml", starter("exp.yaml"), force)]
    if not cluster_files(user_folders()).used:
        written.append(write(config_folder() / "clusters" / "mycluster.yaml", starter("mycluster.yaml"), force=False))
    if as_json:
        emit({"written": [str(path) for path in written]})
        return
    for path in written:
        show(str(path))
    say(f"next: edit them, then `tfslurm check` and `tfslurm plan {written[0]}`")


def starter(name: str) -> str:
    """The text of a starter file that ships with tfslurm."""
    text = (resources.files("tfslurm.cluster_configs") / "starters" / name).read_text("utf-8")
    return text.replace("@HOME@", str(Path.home()))


def write(path: Path, text: str, force: bool) -> Path:
    """The path, now holding the text.

    Raises:
        InputError: it is there already, or cannot be written.
    """
    refuse_links(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, text.encode(), mode=0o666, replace=force)
    except FileExistsError as error:
        raise refuse(str(path), "is there already; nothing was changed", "--force replaces it") from error
    except OSError as error:
        own = path.is_relative_to(config_folder())
        fix = "set XDG_CONFIG_HOME to a folder that may be written" if own else "go to a folder that may be written"
        raise refuse(str(path), f"cannot be written: {error.strerror}", fix) from error
    return path


@click.command()
@click.argument("which", type=click.Choice(["experiment", "cluster"]), default="experiment")
@plain
def schema(which: str, as_json: bool) -> None:
    """Print the JSON Schema of exp.yaml, or of a cluster file.

    Save it, and name it in the first line of the YAML file. Your editor then checks the file while you type:

    \b
        tfslurm schema > exp.schema.json
        # yaml-language-server: $schema=exp.schema.json
    """
    if which == "experiment":
        from tfslurm.spec import experiment_schema

        emit(experiment_schema())
    else:
        from tfslurm.cluster import cluster_schema

        emit(cluster_schema())

"""tfslurm completion: what a shell completes, and with what.

click's own scripts ask tfslurm for the words at each press of the key. No cluster is asked: jobs and sweeps come from
the tracker, partitions from what a cluster last said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from tfslurm.cli.console import deliver, emit
from tfslurm.cli.options import HERE, plain
from tfslurm.errors import TfslurmError

MOST = 200  # words that are offered
RECENT = 50  # submissions whose jobs are
SHELLS = ("bash", "zsh", "fish")
Words = Callable[[click.Context, str], Iterable[tuple[str, str]]]


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@plain
def completion(shell: str, as_json: bool) -> None:
    """Print what SHELL needs to complete commands, options, jobs, sweeps, clusters, partitions and keys.

    \b
    bash: eval "$(tfslurm completion bash)"    in ~/.bashrc
    zsh:  eval "$(tfslurm completion zsh)"     in ~/.zshrc, after compinit
    fish: tfslurm completion fish >~/.config/fish/completions/tfslurm.fish
    """
    from tfslurm.cli import COMPLETE, group

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click knows these three
    made = kind(group, {}, "tfslurm", COMPLETE)
    text = made.source_template % made.source_vars()
    if as_json:
        emit({"shell": shell, "script": text})
    else:
        deliver(text, None, is_data=True)


def attach(command: click.Command) -> None:
    """Have the parameters of a command offer their words."""
    for parameter in command.params:
        words = words_for(parameter)
        if words:
            setattr(parameter, "shell_complete", partial(offer, words))  # noqa: B010 - mypy knows a method there


def words_for(parameter: click.Parameter) -> Words | None:
    """What a parameter offers, by what its help calls its value; None: what click offers, such as files."""
    shown = (parameter.metavar or parameter.name or "").upper()
    names = {part.strip("[].") for part in shown.split("|")}
    if parameter.opts[0] == "--name":
        return experiments
    if {"EXP.YAML", "JOB"} <= names:
        return files_and_jobs
    if {"JOB", "SWEEP"} & names or shown in ("A", "B"):
        return sweeps if "SWEEP" in names and "JOB" not in names else jobs_and_sweeps
    if "CLUSTER" in names or (shown == "NAME" and parameter.opts[0] in ("--cluster", "--from", "--to")):
        return clusters
    return {"KEY=VALUE": settings, "STATE": states, "[EXP.YAML]": None, "COMMAND": commands}.get(shown)


def offer(words: Words, context: click.Context, incomplete: str) -> list[CompletionItem]:
    """The words that begin so; none where anything is wrong: a press of a key shows no error."""
    found: list[CompletionItem] = []
    with suppress(TfslurmError, OSError, ValueError):
        for word, told in words(context, incomplete):
            if word.startswith(incomplete) and word.isprintable() and " " not in word and len(found) < MOST:
                found.append(CompletionItem(word, help=told or None))
    return found


def jobs_and_sweeps(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """``last``, the names of experiments, sweeps, and jobs: an id alone where one cluster has it."""
    yield "last", "what you submitted last"
    yield from sweeps(context, incomplete)
    yield from experiments(context, incomplete)
    from tfslurm.workspace.config import tracker_if_made

    tracker = tracker_if_made()
    jobs = tracker.jobs(recent=RECENT)[::-1] if tracker else []
    clusters_of: dict[str, set[str]] = {}
    for job in jobs:
        clusters_of.setdefault(job.job_id, set()).add(job.cluster)
    for job in jobs:
        is_alone = len(clusters_of[job.job_id]) == 1 and not incomplete.startswith(f"{job.cluster}:")
        yield job.job_id if is_alone else job.key, f"{job.name} {job.state}"


def files_and_jobs(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The files of experiments in this folder, then jobs."""
    yield from ((path.name, "") for path in sorted(Path().glob("*.y*ml")) if not path.name.endswith(".lock.yaml"))
    yield from jobs_and_sweeps(context, incomplete)


def sweeps(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The ids of sweeps, the last one first."""
    from tfslurm.workspace.clock import local_time
    from tfslurm.workspace.config import tracker_if_made

    tracker = tracker_if_made()
    found = tracker.sweeps.all()[::-1] if tracker else []
    yield from ((sweep.sweep_id, f"sweep of {local_time(sweep.planned_at)}") for sweep in found)


def experiments(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The names of experiments that have jobs."""
    from tfslurm.tracker.submissions import experiments as names
    from tfslurm.workspace.config import tracker_if_made

    tracker = tracker_if_made()
    yield from ((name, "experiment") for name in (names(tracker) if tracker else ()))


def clusters(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The clusters that have a file."""
    from tfslurm.workspace.cluster_files import cluster_files
    from tfslurm.workspace.folders import user_folders

    yield from ((name, "cluster") for name in cluster_files(user_folders()).used)


def states(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Slurm's states."""
    from tfslurm.slurm import STATES

    yield from ((state, "") for state in STATES)


def commands(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The commands, for `help`."""
    from tfslurm.cli import COMMANDS

    yield from ((name, text) for name, (_, text) in COMMANDS.items())


def settings(context: click.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """The keys of exp.yaml and its parameters, with a ``=`` behind; after ``slurm.partition=`` the partitions."""
    if incomplete.startswith("slurm.partition="):
        yield from ((f"slurm.partition={name}", on) for name, on in partitions())
        return
    from tfslurm.spec import experiment_schema
    from tfslurm.spec.overrides import keys

    for key in keys(experiment_schema()):
        if not key.endswith(".NAME") and not key.startswith("sweep."):
            yield f"{key}=", ""
    yield "slurm.partition=", ""
    named = [
        word for word in context.args if word.endswith((".yaml", ".yml"))
    ]  # click stops at `--set` without a value
    yield from ((f"{name}=", "parameter") for name in parameters(Path(named[-1] if named else HERE)))


def parameters(file: Path) -> list[str]:
    """The parameters of an experiment; none where its file cannot be read."""
    from tfslurm.submission.prepare import read_experiment

    return sorted(read_experiment(file, sweeps=True).experiment.takes) if file.exists() else []


def partitions() -> Iterator[tuple[str, str]]:
    """The partitions that clusters had when they were last asked, each with its cluster."""
    from tfslurm.workspace.config import known_clusters
    from tfslurm.workspace.site_cache import kept_profile

    for known in known_clusters():
        profile = kept_profile(known, datetime.now(timezone.utc))
        for partition in (profile.partitions if profile else None) or ():
            yield partition.name, known.cluster.name

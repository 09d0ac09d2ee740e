"""The command line: the only prints, the only exit codes.

Each command lives in its own module, imported when it is called, so that `tfslurm --help` costs click alone.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from tfslurm import __version__

Table = Mapping[str, tuple[str, str]]
"Command -> its module and function, and what `--help` says of it."

COMMANDS: Table = {
    "init": ("tfslurm.cli.files:init", "Write a commented exp.yaml, and a cluster file if there is none."),
    "check": ("tfslurm.cli.check:check", "Check each cluster: what works, and how to fix what does not."),
    "trust": ("tfslurm.cli.trust:trust", "Trust the cluster files of a folder, as they are now."),
    "schema": ("tfslurm.cli.files:schema", "Print the JSON Schema of exp.yaml or of a cluster file."),
    "pin": ("tfslurm.cli.pin:pin", "Resolve the image's tag to a digest and write EXP.lock.yaml."),
    "plan": ("tfslurm.cli.submit:plan", "Show the plan and the script that submit would send."),
    "submit": ("tfslurm.cli.submit:submit", "Submit the experiment; print one line per Slurm job."),
    "run": ("tfslurm.cli.submit:run", "Run the experiment on this machine, with docker alone."),
    "rehearse": (
        "tfslurm.cli.rehearse:rehearse",
        "Warn the experiment's program early, to test its checkpoint.",
    ),
    "status": ("tfslurm.cli.status:status", "Show the states of your jobs on all clusters."),
    "watch": ("tfslurm.cli.status:watch", "Show the states until all jobs have ended."),
    "logs": ("tfslurm.cli.logs:logs", "Print what a job's program wrote to stdout and stderr."),
    "exec": (
        "tfslurm.cli.exec_command:exec_command",
        "Run a command, or a shell, in the container of a job that runs.",
    ),
    "shell": ("tfslurm.cli.shell:shell", "Open a terminal in a new container with the experiment's GPUs and files."),
    "jupyter": ("tfslurm.cli.jupyter:jupyter", "Run Jupyter on a node, and print the URL that opens it here."),
    "tensorboard": (
        "tfslurm.cli.tensorboard:tensorboard",
        "Run TensorBoard on a node for the outputs of jobs, and print its URL.",
    ),
    "serve": (
        "tfslurm.cli.serve:serve",
        "Serve a model that a job left by TensorFlow Serving's REST API, and print its URL.",
    ),
    "services": ("tfslurm.cli.jupyter:services", "List the services that run, or open one again."),
    "wait": ("tfslurm.cli.wait:wait", "Wait until jobs have ended; exit with the job's own exit code."),
    "cancel": ("tfslurm.cli.cancel:cancel", "Cancel jobs."),
    "resume": (
        "tfslurm.cli.resume:resume",
        "Submit again the points of a sweep that failed, were lost or were never sent.",
    ),
    "rebalance": (
        "tfslurm.cli.rebalance:rebalance",
        "Move points of a sweep that have not begun from one cluster to others.",
    ),
    "results": ("tfslurm.cli.results:results", "Print a table of what the points of a sweep measured."),
    "fetch": (
        "tfslurm.cli.fetch:fetch_command",
        "Bring a job's outputs to this machine, and verify them.",
    ),
    "reap": ("tfslurm.cli.reap:reap", "Remove containers whose job is gone."),
    "provenance": (
        "tfslurm.cli.provenance:provenance",
        "Print a job's record: image, node, driver, GPUs, code, outputs.",
    ),
    "verify": ("tfslurm.cli.verify:verify", "Check whether a record and its files are unchanged."),
    "sign": ("tfslurm.cli.sign:sign", "Sign records with your ssh key."),
    "diff": ("tfslurm.cli.diff:diff", "Compare two runs: the verdict, then what differs."),
    "rerun": (
        "tfslurm.cli.rerun:rerun",
        "Run a job again from its record, and print the verdict against the original.",
    ),
    "cite": ("tfslurm.cli.cite:cite", "Print the statement of the environment for a paper."),
    "compute": ("tfslurm.cli.compute:compute", "Print what your runs took, as a venue asks for it."),
    "audit": ("tfslurm.cli.audit:audit_command", "Check whether records would still run today."),
    "image": ("tfslurm.cli.image:image", "Look at, build, scan, keep, pull and mirror the images of your experiments."),
    "tracker": ("tfslurm.cli.tracker:tracker", "Show where the index of your jobs is, or rebuild it."),
    "completion": ("tfslurm.cli.completion:completion", "Print what a shell needs to complete commands and jobs."),
    "help": ("tfslurm.cli.help:help_command", "Explain a command, or print the manual page."),
}
# What other programs call it.
ELSEWHERE = {
    **dict.fromkeys(("list", "ls", "ps", "jobs", "queue", "squeue", "sacct", "sq"), "status"),
    **dict.fromkeys(("sbatch", "launch", "start", "sub", "queue-up"), "submit"),
    **dict.fromkeys(("kill", "stop", "rm", "delete", "scancel", "abort"), "cancel"),
    **dict.fromkeys(("log", "tail", "cat", "stdout", "stderr", "output"), "logs"),
    **dict.fromkeys(("download", "get", "pull", "cp", "rsync"), "fetch"),
    **dict.fromkeys(("show", "info", "record", "describe", "inspect"), "provenance"),
    **dict.fromkeys(("compare", "cmp"), "diff"),
    **dict.fromkeys(("lock", "resolve"), "pin"),
    **dict.fromkeys(("new", "create"), "init"),
    **dict.fromkeys(("doctor", "test", "sinfo"), "check"),
    **dict.fromkeys(("retry", "requeue", "restart"), "resume"),
    **dict.fromkeys(("dry-run", "preview"), "plan"),
    **dict.fromkeys(("table", "metrics"), "results"),
    **dict.fromkeys(("enter", "attach", "ssh"), "exec"),
    **dict.fromkeys(("interactive", "salloc", "bash", "terminal"), "shell"),
    **dict.fromkeys(("notebook", "lab", "jupyterlab", "jupyter-lab"), "jupyter"),
    **dict.fromkeys(("man", "manual", "usage"), "help"),
}
COMPLETE = "_TFSLURM_COMPLETE"


class LazyGroup(click.Group):
    """A group that imports a command's module when that command is called."""

    def __init__(self, *args: Any, table: Table, elsewhere: Mapping[str, str], **settings: Any) -> None:
        """A group of the commands of a table; ``elsewhere`` holds what other programs call them."""
        super().__init__(*args, **settings)
        self.table, self.elsewhere = table, elsewhere

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of a user's work."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None when there is none of that name."""
        if cmd_name not in self.table:
            return None
        hush_libraries()
        module, attribute = self.table[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the tables are ours
        command.short_help = self.table[cmd_name][1]
        if COMPLETE in os.environ:
            importlib.import_module("tfslurm.cli.completion").attach(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest command named when there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = nearest_command(args[0], self.table, self.elsewhere)
            meant = f"Did you mean {near!r}? " if near else ""
            listed = "`tfslurm help`" if ctx.parent is None else f"`{ctx.command_path} --help`"
            raise click.UsageError(f"{error.message} {meant}{listed} lists the commands.", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, as it is: nothing is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    elsewhere=ELSEWHERE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="tfslurm")
def group() -> None:
    """Run a pinned TensorFlow image as a Slurm job, with a record that a reviewer can check.

    JOB is 1234, 1234_7 or alpha:1234_7. With --json, a command prints one JSON document on stdout and nothing else.
    Messages go to stderr. With -v, tfslurm shows each command that it runs.

    Exit codes: 0 success; 1 the scheduler, a registry or the network refused, or a job failed; 2 your input is wrong;
    130 interrupted.
    """


def nearest_command(typed: str, table: Table, elsewhere: Mapping[str, str]) -> str:
    """The command that somebody means who types this: one that begins so, does that elsewhere, or looks alike."""
    from difflib import get_close_matches

    word = typed.lower()
    begun = [name for name in table if len(word) > 1 and name.startswith(word)]
    near = get_close_matches(word, [*table, *elsewhere], 1, cutoff=0.5)
    found = elsewhere.get(word) or next(iter([*begun, *near]), "")
    return elsewhere.get(found, found)


def hush_libraries() -> None:
    """Have no library print: Python writes what nobody handles on stderr as it is, and a server may have chosen it."""
    from logging import NullHandler, getLogger

    root = getLogger()
    if not root.handlers:
        root.addHandler(NullHandler())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; a user's mistake never shows a traceback without -vv."""
    if any(getattr(stream, "encoding", "utf-8") != "utf-8" for stream in (sys.stdout, sys.stderr)):
        from tfslurm.cli.console import accept_all

        accept_all()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """The exit code of one command line."""
    if console := sys.modules.get("tfslurm.cli.console"):
        console.EMITTED.clear()
    try:
        result = group.main(arguments, prog_name="tfslurm", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (Exception, KeyboardInterrupt) as error:
        from tfslurm.cli.failure import report_failure

        return report_failure(error, whole="-vv" in arguments, as_json="--json" in arguments)
    return result if isinstance(result, int) else 0

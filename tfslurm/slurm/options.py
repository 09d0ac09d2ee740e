"""sbatch's long options: names checked and values formatted by simple_slurm's own parser. Pure, but see below.

simple_slurm is used for its vocabulary and its formatting only. Importing it sets up the root logger and reads
SQUEUE_FORMAT (a usual value of which makes the import fail): the logger is put back here, the variable is for the
caller to remove, because nothing in this module reads the environment.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from copy import copy
from functools import cache
from typing import NoReturn, Protocol

from tfslurm.errors import InputError, Problem

# Long options of sbatch(1) up to 25.05 that simple_slurm 0.3.6 does not know.
NEWER = ("consolidate_segments", "oom_kill_step", "resv_ports", "segment", "stepmgr", "tres_bind")
# Those that may stand without a value. Source: the struct options of slurm_opt.c, has_arg none or optional.
FLAGS = frozenset(
    [
        "consolidate_segments",
        "contiguous",
        "exclusive",
        "get_user_env",
        "hold",
        "nice",
        "no_kill",
        "no_requeue",
        "oom_kill_step",
        "overcommit",
        "oversubscribe",
        "reboot",
        "requeue",
        "resv_ports",
        "spread_job",
        "stepmgr",
        "use_min_nodes",
        "verbose",
    ]
)
# What a job's script and its submission depend on; each with what to write in its place.
OURS: Mapping[str, str] = {
    "array": "write `sweep:`",
    "chdir": "the job's own folder is its working directory; give the container path in `command`",
    "clusters": "name the cluster in `clusters:`",
    "comment": "it holds the token that finds the job again; `wckey` or `extra` are free",
    "error": "the output is kept in the job's own folder; read it with `tfslurm logs`",
    "ignore_pbs": "there are no PBS lines to ignore",
    "input": "read the file in `command`",
    "job_name": "write `name:`",
    "open_mode": "a requeued job keeps the output of each attempt",
    "output": "the output is kept in the job's own folder; read it with `tfslurm logs`",
    "parsable": "tfslurm asks for it",
    "quiet": "it would hide the job's id",
    "test_only": "write `tfslurm plan`",
    "wait": "write `tfslurm submit --wait`",
    "wrap": "write `command:`",
}


def check_options(options: Mapping[str, str | int | bool], *, file: str = "slurm") -> Mapping[str, str]:
    """The options as sbatch reads them, in the order given: name with dashes -> value, '' for a flag.

    A False option is left out. ``file`` says where the options stand, for the errors.

    Raises:
        InputError: every option that is unknown, tfslurm's own, or has a value that a directive cannot hold.
    """
    slurm = new_vocabulary()
    known = known_to(slurm)
    checked: dict[str, str] = {}
    problems: list[Problem] = []
    for key, value in options.items():
        name = key.replace("-", "_")
        refusal = refuse_name(name, known, slurm) or refuse_value(name, value)
        text = None
        if not refusal:
            try:
                text = formatted(slurm, name, value)
            except ValueError as error:
                refusal = (str(error), "")
        if refusal:
            problems.append(Problem(file, 0, f"slurm.{key}", *refusal))
        elif text is not None:
            checked[name.replace("_", "-")] = text
    if problems:
        raise InputError(problems)
    return checked


def is_option(name: str) -> bool:
    """Whether sbatch has a long option of this name that tfslurm does not set itself."""
    slurm = new_vocabulary()
    return refuse_name(name.replace("-", "_"), known_to(slurm), slurm) is None


def known_to(slurm: Vocabulary) -> set[str]:
    """Every option with its dashes."""
    return {*slurm.parser._option_string_actions, *(f"--{name}" for name in NEWER)} - {"--help"}


def check_plugin_options(options: Mapping[str, str | int | bool], file: str = "slurm") -> Mapping[str, str]:
    """The options of a site's own plugins as sbatch reads them: the name as written -> value, '' for a flag.

    A False option is left out. sbatch takes the beginning of an option's name for the whole (getopt_long(3)).

    Raises:
        InputError: every one that sbatch itself has, or would take for one of its own, or that has a bad value.
    """
    known = known_to(new_vocabulary()) if options else set()
    problems: list[Problem] = []
    for name, value in options.items():
        begun = [option[2:].replace("_", "-") for option in known if option.startswith(f"--{name.replace('-', '_')}")]
        refusal = refuse_value("", value) if value is not True else None
        if name.replace("_", "-") in begun:
            refusal = ("is an option of sbatch itself", f"write it under `slurm`: `slurm: {{{name}: …}}`")
        elif begun:
            refusal = (f"would be read as the beginning of `{min(begun)}`", "write the option's whole name")
        if refusal:
            problems.append(Problem(file, 0, f"plugin_options.{name}", *refusal))
    if problems:
        raise InputError(problems)
    return {name: "" if value is True else str(value) for name, value in options.items() if value is not False}


class Vocabulary(Protocol):
    """The parts of simple_slurm.Slurm that are used: its parser, and the values that went through it."""

    parser: argparse.ArgumentParser
    namespace: object

    def add_arguments(self, **options: str | int | bool) -> object:
        """Check and format some options."""


def new_vocabulary() -> Vocabulary:
    """A vocabulary that has seen no values yet."""
    fresh = copy(_vocabulary())
    fresh.namespace = argparse.Namespace()
    return fresh


@cache
def _vocabulary() -> Vocabulary:
    """simple_slurm's parser, which takes no shortened names and raises ValueError in place of ending the program."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    import simple_slurm

    root.handlers[:] = handlers
    root.setLevel(level)
    slurm = getattr(simple_slurm, "_", None) or simple_slurm.Slurm()  # it makes one as it is imported, for nobody
    slurm.parser.allow_abbrev = False
    slurm.parser.error = refuse_argument
    vocabulary: Vocabulary = slurm
    return vocabulary


def refuse_argument(message: str) -> NoReturn:
    """argparse's complaint as an exception."""
    raise ValueError(message)


def refuse_name(name: str, known: set[str], slurm: Vocabulary) -> tuple[str, str] | None:
    """The reason why the option cannot be given, and the fix; None if it can."""
    if name in OURS:
        return "tfslurm sets this option itself", OURS[name]
    if f"--{name}" in known and len(name) > 1:
        return None
    action = slurm.parser._option_string_actions.get(f"-{name}")
    if action is not None:
        return "is the short form of an option", f"write `{action.dest.replace('_', '-')}`"
    import difflib

    free = sorted(option[2:] for option in known if option.startswith("--") and option[2:] not in OURS)
    begun = [option for option in free if option.startswith(name)][:2]
    near = dict.fromkeys([*begun, *difflib.get_close_matches(name, free, n=3)])
    names = " or ".join(f"`{option.replace('_', '-')}`" for option in near)
    plugin = f"an option of a plugin of your site goes under `plugin_options: {{{name.replace('_', '-')}: …}}`"
    return "is not an option of sbatch", f"did you mean {names}? {plugin}" if near else plugin


def refuse_value(name: str, value: object) -> tuple[str, str] | None:
    """The reason why a #SBATCH line cannot hold the value; sbatch drops a backslash even in quotes."""
    if isinstance(value, str) and any(character in value for character in "\\\n\r\0"):
        return f"{value!r} has a backslash or a line break, which a #SBATCH line cannot hold", "leave it out"
    if value is True and name not in FLAGS:
        return "needs a value, and `true` is none", f"see `man sbatch`, --{name.replace('_', '-')}"
    if isinstance(value, str) and value.startswith("-") and not value[1:].isdecimal():
        return f"{value!r} begins with a dash, which sbatch reads as another option", "leave the dash out"
    if name in ("nodelist", "exclude") and isinstance(value, str) and "/" in value:
        return f"{value!r} is a path, and sbatch would read that file", "write the nodes' names"
    return None


def formatted(slurm: Vocabulary, name: str, value: str | int | bool) -> str | None:
    """The value as simple_slurm writes it; None for a flag that is off."""
    from simple_slurm.core import fmt_value

    if value is False:
        return None
    if name in NEWER:
        return str(fmt_value(value))
    slurm.add_arguments(**{name: value})
    return str(getattr(slurm.namespace, name))

"""The options that say which jobs are meant: --name, --since, --state and --sweep."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import click

from tfslurm.errors import refuse
from tfslurm.monitoring.choose import Filters, since_given, states_given

F = TypeVar("F", bound=Callable[..., Any])


def filtering(function: F) -> F:
    """The four options, as one argument ``filters``."""
    name = click.option(
        "--name", callback=written, metavar="NAME", help="Only jobs of this experiment; * and ? stand for any text."
    )
    since = click.option(
        "--since",
        callback=written,
        metavar="TIME",
        help="Only jobs submitted since then: 2d, 12h, yesterday, 2026-11-28T05:00.",
    )
    state = click.option(
        "--state", "states", multiple=True, metavar="STATE", help="Only jobs in this state, such as FAILED. Repeatable."
    )
    sweep = click.option(
        "--sweep", callback=written, metavar="SWEEP", help="Only the points of this sweep, one by one."
    )

    @wraps(function)
    def command(name: str, since: str, states: tuple[str, ...], sweep: str, **options: object) -> object:
        return function(filters=Filters(name, since_given(since), states_given(states), sweep), **options)

    return cast(F, name(since(state(sweep(command)))))


def written(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    """The value of an option, '' where the option was left out.

    Raises:
        InputError: it was given as '', as from a shell's unset variable, and would choose every job.
    """
    if value == "":
        raise refuse(f"{parameter.opts[0]} ''", "is empty", "leave the option out to choose all jobs")
    return value or ""

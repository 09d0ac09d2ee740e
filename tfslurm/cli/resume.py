"""tfslurm resume."""

from __future__ import annotations

from pathlib import Path

import click

from tfslurm.cli.console import say
from tfslurm.cli.options import common
from tfslurm.cli.sweep import print_sent
from tfslurm.monitoring.choose import states_given
from tfslurm.monitoring.lookup import find_sweep
from tfslurm.monitoring.refresh import refresh_all
from tfslurm.monitoring.wait import clusters_to_ask
from tfslurm.submission.sweep_resume import asked_anew, is_wanted, open_points, plan_again
from tfslurm.workspace.session import Session


@click.command()
@click.argument("sweep")
@click.argument("experiment", type=click.Path(path_type=Path), metavar="[EXP.yaml]", required=False)
@click.option(
    "--failed-only", is_flag=True, help="Only points whose job failed; not those that were lost or never sent."
)
@click.option("--state", "states", multiple=True, metavar="STATE", help="Only points in this state, such as TIMEOUT.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="As for submit; needs EXP.yaml.")
@click.option(
    "--yes",
    is_flag=True,
    help="Do not ask, if something has changed or `tracker rebuild` read the points from run folders.",
)
@common
def resume(
    session: Session,
    sweep: str,
    experiment: Path | None,
    failed_only: bool,
    states: tuple[str, ...],
    sets: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> int:
    """Submit again the points of a sweep that failed, were lost or were never sent; print one line per Slurm job.

    The points run as you first asked for them, with the same image, code and command. With EXP.yaml they run as the
    file says now, and resume adds the points that are new in it. If the image, the code or the command has changed,
    resume says so and asks first. It leaves alone the points that are done, that run or that wait. If `tfslurm tracker
    rebuild` read the sweep from run folders, resume first shows what would run and what it could reach, and asks.
    """
    if sets and not experiment:
        raise click.UsageError("--set needs EXP.yaml")
    states = states_given(states)
    found = find_sweep(session.tracker, sweep)
    silent = refresh_all(session, clusters_to_ask(session.tracker, session.tracker.sweeps.jobs(found.sweep_id)))
    for line in silent.values():
        say(f"error: {line}; its points are left as last seen")
    swept = asked_anew(session, experiment, sets, found) if experiment else None
    agree = (lambda question: True) if yes else session.agree
    with session.tracker.claim(found.sweep_id, wait=True):
        wanted = [each for each in open_points(found, session.tracker) if is_wanted(each, failed_only, states)]
        if not plan_again(session, found, wanted, swept, agree):
            say(f"{found.sweep_id}: nothing to submit again")
    print_sent(session, found, swept, as_json=as_json)
    session.tracker.sweeps.tell(found.sweep_id)
    return 1 if silent else 0

"""`tfslurm rerun` of many runs: the points of a sweep, a sample of them, or one run with other seeds."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfslurm.cli.console import emit, say, show, table
from tfslurm.cli.diff import deliver_diff
from tfslurm.document.tree import printable
from tfslurm.export.diff_report.tables import with_values
from tfslurm.export.difference import Diff, diff_json
from tfslurm.reruns.chosen import Chosen
from tfslurm.reruns.run import Rerun
from tfslurm.reruns.several import Group, make_groups, run_group_here, submit_group, verdict_of_groups
from tfslurm.reruns.workspace import Wish
from tfslurm.workspace.session import Session

MOST_POINTS = 20


def rerun_several(
    session: Session,
    chosen: Chosen,
    wish: Wish,
    tell_of_one: Callable[[Rerun], None],
    *,
    dry_run: bool,
    wait_too: bool,
    again: bool,
    form: str,
    as_json: bool,
) -> int:
    """Run them again, and print one verdict for all; its exit code, or 0 where they were submitted alone.

    ``tell_of_one`` says what of a rerun is not as it was.
    """
    for line in chosen.said:
        say(f"note: {line}")
    groups = make_groups(session, chosen, wish)
    for group in groups:
        tell_of_one(group.rerun)
    if dry_run:
        return show_chosen(chosen, groups, as_json)
    quiet = as_json or (form != "text" and (wish.is_here or wait_too))  # then stdout has the verdict alone
    if wish.is_here:
        made = here(session, groups, quiet=quiet)
    else:
        made = submitted(session, groups, again=again, quiet=quiet)
        if not wait_too:
            tell_next(session, chosen, made, as_json)
            return 0
        from tfslurm.cli.wait import wait_and_report

        wait_and_report(session, made)
    found = verdict_of_groups(session, groups, made)
    show_verdict(chosen, found, wish.settings, made, form, as_json)
    return found.exit_code


def show_chosen(chosen: Chosen, groups: Sequence[Group], as_json: bool) -> int:
    """Print the runs that would be made, and where, and what is not to be had; 1 if that would stop them."""
    losses = dict.fromkeys(loss for group in groups for loss in group.rerun.losses)
    code = 1 if any(loss.stops for loss in losses) else 0
    where = [(group, point) for group in groups for point in group.chosen.points]
    if as_json:
        points = [{"cluster": group.rerun.known.cluster.name, "parameters": dict(point)} for group, point in where]
        value = {"original": chosen.name, "how": list(chosen.said), "points": points}
        emit({**value, "losses": [loss._asdict() for loss in losses]})
        return code
    rows = [[group.rerun.known.cluster.name, with_values(point)] for group, point in where]
    table(["cluster", "parameters"], rows[:MOST_POINTS])
    if len(rows) > MOST_POINTS:
        show(f"and {len(rows) - MOST_POINTS} more, in --json")
    for loss in losses:
        if loss.stops:
            show(printable(f"MISSING  {loss.what}: {loss.asked}; {loss.here}; {loss.fix}"))
    return code


def here(session: Session, groups: Sequence[Group], *, quiet: bool) -> list[str]:
    """The jobs that ran on this machine."""
    from tfslurm.cli.logs import pour_stream

    return [key for group in groups for key in run_group_here(session, group, None if quiet else pour_stream)]


def submitted(session: Session, groups: Sequence[Group], *, again: bool, quiet: bool) -> list[str]:
    """The sweeps that were submitted; their Slurm jobs are printed as they are queued."""

    def told(key: str) -> None:
        if not quiet:
            show(key)

    return [submit_group(session, group, told, again=again) for group in groups]


def tell_next(session: Session, chosen: Chosen, made: Sequence[str], as_json: bool) -> None:
    """Say which commands give the verdict."""
    for name in made:
        say(f"`tfslurm wait {name}`, then `tfslurm diff {shlex.quote(chosen.name)} {name}`")
    if as_json:
        emit({"original": chosen.name, "how": list(chosen.said), "sweeps": list(made)})


def show_verdict(
    chosen: Chosen, found: Diff, settings: Mapping[str, str], made: Sequence[str], form: str, as_json: bool
) -> None:
    """Print the verdict; of other seeds, where the value of each is."""
    if as_json:
        value: dict[str, Any] = {**diff_json(found), "how": list(chosen.said), "made": list(made)}
        emit({**value, "variation": dict(settings) or None})
        return
    if settings and form == "text":
        show(f"{'variation':<13}" + with_values(settings))
    deliver_diff(found, form, all_code=False, as_json=False)
    if chosen.of_seeds and len(made) == 1:
        say(f"`tfslurm results {made[0]}` prints the value of each seed")

"""tfslurm rerun."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tfslurm.cli.console import emit, say, show
from tfslurm.cli.diff import FORMS, deliver_diff
from tfslurm.cli.options import common
from tfslurm.cli.submit import set_option
from tfslurm.document.tree import printable
from tfslurm.errors import refuse
from tfslurm.export.difference import Diff, diff_json
from tfslurm.reruns.chosen import Chosen, chosen_points, chosen_seeds
from tfslurm.reruns.original import original_of
from tfslurm.reruns.run import Rerun, make_rerun, place_of, run_here, submit_rerun, verdict
from tfslurm.reruns.workspace import Wish
from tfslurm.retrieval.comparing import ended
from tfslurm.retrieval.evidence import Evidence
from tfslurm.submission.review import reaching
from tfslurm.workspace.session import Session

COUNT = click.IntRange(min=1)


@click.command()
@click.argument("name", metavar="JOB|SWEEP|RECORD|CRATE")
@click.option("--cluster", metavar="NAME", default="", help="The cluster to use; default: where the original ran.")
@click.option("--local", "here", is_flag=True, help="Run it on this machine, with docker alone and no scheduler.")
@set_option
@click.option("--data", multiple=True, metavar="TARGET=SOURCE", help="Where the data of a mount lie here. Repeatable.")
@click.option("--points", type=COUNT, metavar="N", help="Of a sweep, run N points: a stratified sample.")
@click.option(
    "--seeds", type=int, metavar="N", help="Run it with N other seeds, 5 or more: how far does its metric vary?"
)
@click.option("--dry-run", is_flag=True, help="Show the job that would run and what differs; run nothing.")
@click.option(
    "--image-archive", type=click.Path(path_type=Path), metavar="FILE",
    help="Load the image from this archive, which `tfslurm image save` wrote.",
)  # fmt: skip
@click.option("--check", "is_check", is_flag=True, help="Look whether all is there that it needs; run nothing.")
@click.option("--review", "is_review", is_flag=True, help="Show everything that it could reach; run nothing.")
@click.option("--wait", "wait_too", is_flag=True, help="Wait for the job to end, and print the verdict.")
@click.option("--format", "form", type=click.Choice(FORMS), default="text", help="Of the verdict; default: text.")
@click.option("--again", is_flag=True, help="Submit although the same rerun is queued or running already.")
@click.option("--anyway", is_flag=True, help="Run a record or code that was changed; the verdict says so.")
@click.option("--yes", is_flag=True, help="Do not ask before the template of somebody else's record runs.")
@common
def rerun(
    session: Session,
    name: str,
    cluster: str,
    here: bool,
    sets: tuple[str, ...],
    data: tuple[str, ...],
    points: int | None,
    seeds: int | None,
    dry_run: bool,
    image_archive: Path | None,
    is_check: bool,
    is_review: bool,
    wait_too: bool,
    form: str,
    again: bool,
    anyway: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Run a job again from its record, and print the verdict against the original.

    The rerun has the same image digest, code, command, parameters, variables and resources. By default it runs where
    the original ran. --set makes a variation, and the verdict says so.

    rerun first says what it cannot have as the original had it. --check asks the cluster, a node and registries, in
    less than a minute, and ends with 1 if something is missing.

    --review is for the record or crate of somebody else: it shows everything that runs and that it can reach.

    A sweep is run again in one submission, all of it or --points of it, and the verdict has a row for each point.

    Without --wait, rerun prints the new job and the command that compares it. With --wait or --local, it prints the
    verdict as `tfslurm diff` does. Exit codes: 0 the results agree by the rule that applies, 1 they do not, 3 they
    cannot be compared.
    """
    refuse_together(("--cluster", cluster), ("--local", here))
    refuse_together(("--points", points), ("--seeds", seeds))
    refuse_together(("--json", as_json), ("--format", form != "text"))
    refuse_together(("--dry-run", dry_run), ("--check", is_check))
    refuse_together(("--review", is_review), ("--dry-run or --check", dry_run or is_check))
    if form != "text" and (dry_run or is_check or is_review or not (here or wait_too)):
        raise click.UsageError(
            "--format is of the verdict: add --wait or --local, without --dry-run, --check and --review"
        )
    settings, places = pairs_of(sets, "--set"), pairs_of(data, "--data")
    wish = Wish(cluster, here, settings, places, anyway, Path().resolve(), image_archive, yes)
    found = ended(session, name)
    chosen = chosen_of(name, found, points, seeds, wish)
    if is_check:
        given = {"--points": points, "--seeds": seeds}
        return show_check(session, name, chosen.originals if chosen else found, wish, given, as_json)
    if is_review:
        return show_reach(session, name, chosen.originals if chosen else found, wish, as_json)
    if chosen:
        from tfslurm.cli.rerun_several import rerun_several

        return rerun_several(
            session, chosen, wish, tell, dry_run=dry_run, wait_too=wait_too, again=again, form=form, as_json=as_json
        )
    made = make_rerun(session, original_of(found[0], name, anyway=anyway), wish)
    if dry_run:
        from tfslurm.cli.rerun_plan import show_plan

        return show_plan(session, made, as_json)
    tell(made)
    quiet = as_json or (form != "text" and (here or wait_too))  # then stdout has the verdict alone
    key = started(session, made, again=again, wait_too=wait_too, quiet=quiet, as_json=as_json)
    if not key:
        return 0
    return show_verdict(made, verdict(session, made, key), form, as_json)


def refuse_together(*options: tuple[str, object]) -> None:
    """Refuse two options that exclude each other, where both have a value."""
    if all(value not in (None, False, "") for _, value in options):
        raise click.UsageError(f"{' and '.join(name for name, _ in options)} exclude each other")


def chosen_of(name: str, found: Sequence[Evidence], points: int | None, seeds: int | None, wish: Wish) -> Chosen | None:
    """The runs that are made together; None: it is one run."""
    if seeds is not None:
        return chosen_seeds(name, found, seeds, wish.settings)
    return chosen_points(name, found, points) if len(found) > 1 or points else None


def show_reach(session: Session, name: str, found: Sequence[Evidence], wish: Wish, as_json: bool) -> int:
    """Print the program that would run and all that it could reach; of several runs the first stands for all."""
    from tfslurm.cli.review import show_review

    if len(found) > 1:
        say(f"note: {found[0].key} stands for all {len(found)} runs")
    made = make_rerun(session, original_of(found[0], name, anyway=wish.anyway), wish)
    show_review(session, made.workspace.asked, [made.known], as_json)
    return 0


def show_check(
    session: Session, name: str, found: Sequence[Evidence], wish: Wish, given: Mapping[str, object], as_json: bool
) -> int:
    """Print what a rerun needs, and whether it is there; of several runs the first stands for all.

    ``given`` are options of the rerun that are not in ``wish``, by their names.
    """
    from tfslurm.cli.rerun_check import checked_json, show_checked
    from tfslurm.reruns.check import check

    if len(found) > 1:
        say(f"note: {found[0].key} stands for all {len(found)} runs")
    original = original_of(found[0], name, anyway=wish.anyway)
    checked = check(session, original, place_of(session, original, wish), wish)
    if as_json:
        emit(checked_json(checked))
    else:
        show_checked(checked, [*wished(wish), *(f"{each}={value}" for each, value in given.items() if value)])
    return 0 if checked.can_start else 1


def wished(wish: Wish) -> Iterator[str]:
    """The options of a rerun that say how it is to differ, as they are typed."""
    yield from (f"--set={key}={value}" for key, value in wish.settings.items())
    yield from (f"--data={target}={source}" for target, source in wish.data.items())
    if wish.image_archive:
        yield f"--image-archive={wish.image_archive}"
    if wish.anyway:
        yield "--anyway"


def pairs_of(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """The values of an option by their names.

    Raises:
        InputError: one has no name or no value.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            form = "KEY=VALUE" if option == "--set" else "TARGET=SOURCE"
            raise refuse(f"{option} {text}", f"is not {form}", f"for example {option} {EXAMPLES[option]}")
        found[name.strip()] = value
    return found


EXAMPLES = {"--set": "lr=0.1", "--data": "/data=/scratch/alice/digits"}


def tell(made: Rerun) -> None:
    """Say what is not as it was."""
    for line in made.workspace.warnings:
        say(f"warning: {line}")
    for line in made.workspace.notes:
        say(f"note: {line}")
    for line in reaching(made.workspace.asked.experiment):
        say(f"note: {line}")
    for loss in made.losses:
        if not loss.stops:
            say(f"note: not as before: {printable(str(loss))}")


def started(session: Session, made: Rerun, *, again: bool, wait_too: bool, quiet: bool, as_json: bool) -> str:
    """The new job, which has ended; '' where it was submitted alone."""
    if made.is_here:
        from tfslurm.cli.logs import pour_stream

        result: dict[str, Any] = run_here(session, made, None if quiet else pour_stream)
        say(f"{result['job']}: {result['state']}, exit {result['exit_code']}")
        return str(result["job"])
    queued: list[str] = []

    def told(key: str) -> None:
        queued.append(key)
        if not quiet:
            show(key)

    key = submit_rerun(session, made, told, again=again)
    compare = f"`tfslurm diff {shlex.quote(made.original.name)} {key}`"
    if wait_too:
        from tfslurm.cli.wait import wait_and_report

        try:
            wait_and_report(session, [key])
        except click.Abort:
            say(f"when it has ended, {compare}")
            raise
        return key
    from tfslurm.monitoring.lookup import queued_jobs
    from tfslurm.monitoring.reasons import tell_of_start

    say(f"`tfslurm wait {key}`, then {compare}")
    tell_of_start(say, queued_jobs(session.tracker, [key]))
    if as_json:
        emit({"job": key, "original": made.original.evidence.key})
    return ""


def show_verdict(made: Rerun, found: Diff, form: str, as_json: bool) -> int:
    """Print the verdict."""
    settings = made.wish.settings
    if as_json:
        emit({**diff_json(found), "variation": dict(settings) or None})
        return found.exit_code
    if settings and form == "text":
        show(f"{'variation':<13}" + " ".join(f"{name}={value}" for name, value in settings.items()))
    deliver_diff(found, form, all_code=False, as_json=False)
    return found.exit_code

"""Several reruns in as few submissions as can be: a sweep for each cluster, or one by one on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tfslurm.errors import refuse
from tfslurm.export.difference import Diff
from tfslurm.job_plan import DerivedFrom
from tfslurm.record.comparison.seeds import text_of
from tfslurm.reruns.chosen import Chosen, refuse_parameters, sweep_of
from tfslurm.reruns.experiment_text import written_tree
from tfslurm.reruns.naming import named_by_record
from tfslurm.reruns.original import original_of
from tfslurm.reruns.run import Rerun, ask_for_template, make_rerun, refuse_losses, refuse_other_outputs, run_here
from tfslurm.reruns.workspace import Wish
from tfslurm.retrieval.comparing import ended, of_run_and_seeds, of_sweeps
from tfslurm.spec import fill
from tfslurm.submission.sweep_submit import submit_sweep, swept_for
from tfslurm.workspace.session import Session


class Group(NamedTuple):
    """The runs that go to one cluster, and the rerun that stands for them: one spec, code and image."""

    chosen: Chosen
    rerun: Rerun


def make_groups(session: Session, chosen: Chosen, wish: Wish) -> list[Group]:
    """The runs by where they go; nothing has started.

    Raises:
        InputError: a setting is a parameter's, or as make_rerun.
        RecordError: the command of a run is not what its parameters make of exp.yaml, or as make_rerun.
    """
    refuse_parameters(wish.settings)
    if wish.is_here or wish.cluster or chosen.of_seeds:
        parts = [chosen]
    else:
        clusters = dict.fromkeys(each.record.job.cluster for each in chosen.originals)
        parts = [part_of(chosen, cluster) for cluster in clusters]
    return [group_of(session, part, wish) for part in parts]


def part_of(chosen: Chosen, cluster: str) -> Chosen:
    """Those that ran on one cluster."""
    pairs = zip(chosen.originals, chosen.points, strict=True)
    own = [(original, point) for original, point in pairs if original.record.job.cluster == cluster]
    return chosen._replace(originals=tuple(each for each, _ in own), points=tuple(point for _, point in own))


def group_of(session: Session, chosen: Chosen, wish: Wish) -> Group:
    """The workspace of the runs of one cluster."""
    first = chosen.originals[0]
    warnings = [text for each in chosen.originals for text in original_of(each, each.key, anyway=wish.anyway).warnings]
    original = original_of(first, chosen.name, anyway=wish.anyway)._replace(warnings=tuple(warnings))
    given = written_tree(first.record.asked.spec if first.record.asked else None).get("sweep")
    sweep = sweep_of(chosen, given if isinstance(given, Mapping) else {})
    derived_from = None if chosen.of_seeds else DerivedFrom(name_of(chosen), set=dict(wish.settings))
    rerun = make_rerun(session, original, wish, sweep=sweep, derived_from=derived_from)
    refuse_other_commands(chosen, rerun)
    return Group(chosen, rerun)


def name_of(chosen: Chosen) -> str:
    """What the reruns of several points are derived from: the one array that they were, else the name of a sweep."""
    arrays = {(each.record.job.cluster, each.record.job.array_job_id) for each in chosen.originals}
    cluster, array = next(iter(arrays))
    return f"{cluster}:{array}" if len(arrays) == 1 and array else chosen.name


def refuse_other_commands(chosen: Chosen, rerun: Rerun) -> None:
    """Refuse runs whose parameters have no place in the command that is known.

    Raises:
        InputError: the command of one is not what exp.yaml makes of its parameters: another value would change nothing.
    """
    experiment = rerun.workspace.asked.experiment
    for each in chosen.originals:
        argv, _ = fill(experiment, each.record.experiment.parameters)
        words = each.record.experiment.command
        if rerun.workspace.text.is_literal or words[len(words) - len(argv) :] != argv:
            why = f"the record of {each.key} does not say where in its command the parameters stand"
            raise refuse(chosen.name, why, f"rerun one run at a time: `tfslurm rerun {each.key}`")


# --------------------------------------------------------------------------------------------------------------- begun


def submit_group(session: Session, group: Group, told: Callable[[str], None], *, again: bool = False) -> str:
    """The sweep that one submission made; its Slurm jobs are ``told`` as they are queued.

    Raises:
        TfslurmError: as submit_sweep; something that the runs need is not to be had.
    """
    refuse_losses(group.rerun)
    ask_for_template(session, group.rerun)
    rerun, asked = group.rerun, group.rerun.workspace.asked
    where, force = [rerun.known], rerun.wish.anyway
    with named_by_record(group.chosen.name):
        if any(mount.run for mount in asked.experiment.mounts):
            for base in swept_for(session, asked, where).bases:
                refuse_other_outputs(rerun, base)
        sweep = submit_sweep(session, asked, where, force=force, again=again, told=told, shown=lambda sweep, jobs: None)
    return sweep.sweep_id


def run_group_here(session: Session, group: Group, shown: Callable[[str, str], None] | None) -> list[str]:
    """Run them one after another on this machine; the names of the jobs.

    Raises:
        InputError: something that the runs need is not to be had.
    """
    refuse_losses(group.rerun)
    ask_for_template(session, group.rerun)
    chosen, wish = group.chosen, group.rerun.wish
    made = []
    for at, point in enumerate(chosen.points):
        run = chosen.originals[0 if chosen.of_seeds else at]
        own = run.record.experiment.parameters
        other = {f"parameters.{name}": text_of(value) for name, value in point.items() if own[name] != value}
        original = original_of(run, run.key, anyway=wish.anyway)
        rerun = make_rerun(session, original, wish._replace(settings={**wish.settings, **other}, is_agreed=True))
        session.say(f"{at + 1} of {len(chosen.points)}: {run.key}" + "".join(f" {k}={v}" for k, v in other.items()))
        made.append(str(run_here(session, rerun, shown)["job"]))
    return made


def verdict_of_groups(session: Session, groups: Sequence[Group], made: Sequence[str]) -> Diff:
    """The verdict of the originals and what was made of them: sweeps by their ids, or jobs.

    Raises:
        RecordError: none of them has a record.
    """
    new = [each for name in made for each in ended(session, name)]
    originals = [each for group in groups for each in group.chosen.originals]
    chosen, here = groups[0].chosen, groups[0].rerun.wish.here
    name = made[0] if len(made) == 1 else f"{made[0]} and {len(made) - 1} more"
    if chosen.of_seeds:
        found = of_run_and_seeds(originals[0].key, name, originals, new, None, here)
    else:
        found = of_sweeps(chosen.name, name, originals, new, None, here)
    warnings = [text for group in groups for text in group.rerun.workspace.warnings]
    return found._replace(warnings=tuple(dict.fromkeys(warnings)))

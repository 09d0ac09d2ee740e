"""Which runs are made together: the points of a sweep, a sample of them, or one run again with other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tfslurm.errors import RecordError, refuse
from tfslurm.record import Record
from tfslurm.record.asked import SEED
from tfslurm.record.comparison.points import key_of
from tfslurm.record.comparison.prediction import FEWEST
from tfslurm.record.comparison.results import ENDED_WELL
from tfslurm.record.comparison.seeds import seeds_of, text_of
from tfslurm.retrieval.evidence import Evidence
from tfslurm.spec import KEYS, MAX_POINTS
from tfslurm.sweeps.sample import stratified

LARGEST_SEED = 2**31 - 1
"What every library takes. Source: numpy.random.seed and tf.random.set_seed take more."


class Chosen(NamedTuple):
    """Runs that are made again together. ``name`` is what was typed for the originals.

    ``originals`` are the runs that the new ones are held against, ``points`` the parameters of the new ones, and
    ``said`` how they were chosen and what was left out. ``of_seeds``: they are one run with other seeds.
    """

    name: str
    originals: tuple[Evidence, ...]
    points: tuple[Mapping[str, Any], ...]
    said: tuple[str, ...]
    of_seeds: bool = False


def chosen_points(name: str, found: Sequence[Evidence], count: int | None) -> Chosen:
    """The points that ended well, or so many of them, chosen so that each value of each parameter is among them.

    Raises:
        InputError: they are of several experiments, or no sweep's; or none of them is asked for.
        RecordError: none ended well.
    """
    refuse_several_experiments(name, found)
    if count is not None and count < 1:
        raise refuse("--points", f"{count} points are none", "write --points 5")
    last = list({key_of(each.record): each for each in found}.values())
    if len(last) == 1 and count is not None:
        raise refuse("--points", f"{name} is one run, and not a sweep", "leave it out, or give --seeds 5")
    whole = [each for each in last if each.record.job.state == ENDED_WELL]
    if not whole:
        raise RecordError(f"{name}: none of its {len(last)} points is {ENDED_WELL}: there is no result to compare with")
    left = len(last) - len(whole)
    sample = stratified([plain(each.record) for each in whole], len(whole) if count is None else count)
    said = [sample.said]
    if left:
        said.append(
            f"{left} of {len(last)} points are left out: they are not {ENDED_WELL}, and nothing can be compared"
        )
    taken = tuple(whole[place] for place in sample.places)
    return Chosen(name, taken, tuple(each.record.experiment.parameters for each in taken), tuple(said))


def plain(record: Record) -> dict[str, str | int | float | bool]:
    """The parameters as values that can be counted: a stranger's record may have others."""
    values = record.experiment.parameters.items()
    return {name: value if isinstance(value, str | int | float) else text_of(value) for name, value in values}


def refuse_several_experiments(name: str, found: Sequence[Evidence]) -> None:
    """Refuse runs that differ by more than their parameters and their place.

    Raises:
        InputError: they do.
    """
    kinds: dict[tuple[object, ...], Evidence] = {}
    for each in found:
        record = each.record
        asked = record.asked
        spec = (asked.spec, asked.template, asked.secrets, asked.network) if asked else record.experiment.spec_sha256
        tree = record.code.tree if record.code else None
        mounts = str([(mount.get("target"), mount.get("read_only")) for mount in record.experiment.mounts])
        kinds.setdefault((record.experiment.name, record.image.digest, tree, spec, mounts), each)
    if len(kinds) > 1:
        some = ", ".join(each.key for each in [*kinds.values()][:5])
        raise refuse(name, f"stands for runs of {len(kinds)} experiments, such as {some}", "name one job, or one sweep")


# --------------------------------------------------------------------------------------------------------------- seeds


def chosen_seeds(name: str, found: Sequence[Evidence], count: int, settings: Mapping[str, str]) -> Chosen:
    """One run with so many other seeds, to learn how far they may take its metric.

    Raises:
        InputError: the name is a sweep's, there are too few seeds to say anything, no parameter is a seed, or nothing
            says by which metric the runs are compared.
        RecordError: the run did not end well.
    """
    if len(found) > 1:
        raise refuse(name, f"stands for {len(found)} runs, and --seeds takes one", f"name one, such as {found[0].key}")
    if count < FEWEST:
        raise refuse("--seeds", f"{count} are too few to say anything", f"write --seeds {FEWEST}, or more")
    record = found[0].record
    if record.job.state != ENDED_WELL:
        raise RecordError(f"{found[0].key} is {record.job.state}: there is no result to compare with")
    declared = record.asked.reproduce.metric if record.asked and record.asked.reproduce else None
    if not declared and not settings.get("reproduce.metric") and "reproduce" not in settings:
        why = f"the interval is that of a metric, and {found[0].key} declares none"
        raise refuse("--seeds", why, "--set reproduce.metric=accuracy names it, as metrics.json does")
    seeds = whole_seeds(found[0])
    steps = [steps_of(value, count) for value in seeds.values()]
    points = tuple(
        {**record.experiment.parameters, **{seed: values[at] for seed, values in zip(seeds, steps, strict=True)}}
        for at in range(count)
    )
    shown = "; ".join(f"{seed} {values[0]} to {values[-1]}" for seed, values in zip(seeds, steps, strict=True))
    return Chosen(name, (found[0],), points, (f"{count} other seeds: {shown}",), True)


def whole_seeds(run: Evidence) -> dict[str, int | str]:
    """The parameters that are seeds; they are changed together, for a run has all of its chance from them.

    Raises:
        InputError: there are none, or one of them is no whole number.
    """
    parameters = run.record.experiment.parameters
    named = {name: value for name, value in parameters.items() if SEED.fullmatch(name)}
    if not named:
        fixed = ", ".join(f"{name} {value}" for name, value in seeds_of(run.record).items())
        why = f"no parameter of {run.key} is a seed" + (f": {fixed} stands in its command as it is" if fixed else "")
        fix = "write `parameters: {seed: 0}` and `--seed {{ seed }}` in exp.yaml, and run that once"
        raise refuse("--seeds", why, f"{fix}; a seed in the program's own code cannot be set from outside")
    found: dict[str, int | str] = {}
    for name, value in named.items():
        text = value if isinstance(value, str) else text_of(value)
        if isinstance(value, bool) or not (text.isascii() and text.isdecimal() and int(text[:20]) <= LARGEST_SEED):
            why = f"parameter {name} of {run.key} is {text[:40]}: other seeds are whole numbers beside it"
            raise refuse("--seeds", why, f"a seed is a number from 0 to {LARGEST_SEED}")
        found[name] = value
    return found


def steps_of(value: int | str, count: int) -> list[int | str]:
    """The seeds that follow a seed, or that come before it where too few follow; of the same kind."""
    seed = int(value)
    first = seed + 1 if seed + count <= LARGEST_SEED else seed - count
    found = range(first, first + count)
    return [str(number) for number in found] if isinstance(value, str) else list(found)


# ---------------------------------------------------------------------------------------------------------------- both


def refuse_parameters(settings: Mapping[str, str]) -> None:
    """Refuse a parameter's value for many runs at once: each is held against the run that has its parameters.

    Raises:
        InputError: there is one.
    """
    for name in settings:
        if name.partition(".")[0] not in KEYS - {"parameters"}:
            why = "each run is compared with the one that has its parameters"
            raise refuse(f"--set {name}", why, "rerun one job with --set, or submit another sweep")
        if name.partition(".")[0] == "sweep":
            raise refuse(f"--set {name}", "the points are those of the originals", "use --points")


def sweep_of(chosen: Chosen, given: Mapping[str, Any]) -> dict[str, Any]:
    """The key ``sweep`` of an exp.yaml that makes these points; ``given`` is the original's own."""
    kept = ("results", "max_parallel", "points_per_job")
    most = {"max_points": len(chosen.points)} if len(chosen.points) > MAX_POINTS else {}
    return {"include": [dict(point) for point in chosen.points], **most, **{k: given[k] for k in kept if k in given}}

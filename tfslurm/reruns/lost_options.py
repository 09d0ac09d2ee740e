"""Options of sbatch that are the original's cluster's, and a time limit that the partition does not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tfslurm.job_plan.options import own_options, slurm_time
from tfslurm.record import Record
from tfslurm.reruns.loss import Loss
from tfslurm.reruns.place import Place
from tfslurm.slurm import Partition
from tfslurm.slurm.rejection import duration, nearest
from tfslurm.spec import Checkpoint, Experiment, Resources

# Said as resources and checkpoint, which are compared as such.
RESOURCES = frozenset(
    (
        *own_options(Resources(gpu_type="x", memory_mib=1, time_s=60), Checkpoint(requeue=True)),
        *("mem-per-cpu", "gpus-per-node", "no-requeue"),
    )
)
MOST_NAMES = 5


def option_losses(record: Record, place: Place, options: Mapping[str, str]) -> Iterator[Loss]:
    """The options that the rerun has otherwise than the original, or that this cluster does not know."""
    had = record.asked.options if record.asked else {}
    keys = [key for key in (*had, *(key for key in options if key not in had)) if key not in RESOURCES]
    refused = {loss.what: loss for loss in unknown_here(place, had, options)}
    yield from refused.values()
    for key in keys:
        if had.get(key) != options.get(key) and key not in refused and record.asked:
            fix = "" if key in options else f"--set slurm.{key}={had[key]}, if {place.name} has it"
            yield Loss(key, had.get(key, "not asked for"), options.get(key, "not asked for"), fix=fix)


def unknown_here(place: Place, had: Mapping[str, str], options: Mapping[str, str]) -> Iterator[Loss]:
    """A partition, an account, a QOS that the user does not have here; [] of what the site did not say."""
    partitions = [part.name for part in place.site.partitions or ()]
    named = [name for name in options.get("partition", "").split(",") if name]
    gone = [name for name in named if name not in partitions]
    if partitions and gone and (len(gone) == len(named)):
        yield absent(place, "partition", had, gone[0], partitions, stops=True)
    if partitions and not named and not place.partitions(""):
        yield absent(place, "partition", had, "", partitions, stops=True)
    enforced = place.site.config.words("AccountingStorageEnforce") if place.site.config else ()
    for key, word in (("account", "associations"), ("qos", "qos")):
        accounts = place.site.accounts or ()
        have = [name for each in accounts for name in ((each.account,) if key == "account" else each.qos)]
        if have and options.get(key) and options[key] not in have:
            yield absent(place, key, had, options[key], list(dict.fromkeys(have)), stops=word in enforced)


def absent(place: Place, key: str, had: Mapping[str, str], typed: str, have: Sequence[str], *, stops: bool) -> Loss:
    """One that is not there, with those that are, the nearest first."""
    names = nearest(typed, have)
    there = ", ".join(names[:MOST_NAMES]) + (" …" if len(names) > MOST_NAMES else "")
    here = f"{place.name} has no {typed or 'default'}, but {there}"
    return Loss(key, had.get(key) or typed or "not asked for", here, stops, f"--set slurm.{key}={names[0]}")


def time_losses(record: Record, experiment: Experiment, place: Place, parts: Sequence[Partition]) -> Iterator[Loss]:
    """A time limit that no partition of the job allows: it would wait for ever."""
    asked = experiment.resources.time_s
    if place.is_local or not asked or not parts or any(part.time_limit_s is None for part in parts):
        return
    longest = max(part.time_limit_s or 0 for part in parts)
    if asked > longest:
        took = record.job.elapsed_s
        words = f"; it took {duration(took)}" if took is not None else ""
        fix = f'--set resources.time="{slurm_time(longest)}"' if took is not None and took <= longest else ""
        fix = fix or "another partition: --set slurm.partition=…"
        named = ", ".join(part.name for part in parts)
        yield Loss("time limit", f"{duration(asked)}{words}", f"partition {named}: {duration(longest)}", True, fix)

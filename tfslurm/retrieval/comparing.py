"""Compare what two names stand for: the records, the outputs that must be read, and the code."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from tfslurm.errors import CommandFailed, HostError, RecordError, last_words, refuse
from tfslurm.export.difference import Diff, Pair
from tfslurm.host import Host
from tfslurm.host.fetching import Entry, pack
from tfslurm.host.files import fitting
from tfslurm.job_plan.folders import job_folder
from tfslurm.record import Record, record_json
from tfslurm.record.comparison import Comparison, Run, compare, measure_of
from tfslurm.record.comparison.code import FileChange, changes
from tfslurm.record.comparison.contents import MOST_BYTES
from tfslurm.record.comparison.differences import Difference, differences
from tfslurm.record.comparison.files import wanted
from tfslurm.record.comparison.points import matched, seeds_beside, with_its_seed
from tfslurm.record.comparison.results import by_interval
from tfslurm.record.comparison.rule import why_the_interval
from tfslurm.record.metrics import LARGEST, metric_files
from tfslurm.record.model import Output, record_sha256
from tfslurm.retrieval.code_trees import code_of
from tfslurm.retrieval.compare_scripts import judged
from tfslurm.retrieval.evidence import Evidence, evidence_of, placed
from tfslurm.retrieval.selection import is_below
from tfslurm.run_folder import paths
from tfslurm.slurm import is_final
from tfslurm.spec import Reproduce
from tfslurm.workspace.session import Session

MOST_AT_ONCE = 64 * 2**20
"Bytes of one answer, and of what is kept in memory at once of one run."
MOST_IN_ALL = 512 * 2**20
UNLIKE = ("identical", "unknown", "same image", "other image")
MOST_ROWS = 1000
"Of the differences between two sweeps."


def diff_of(
    session: Session,
    a: str | Record,
    b: str | Record,
    given: Reproduce | None = None,
    here: Path = Path(),
    *,
    anyway: bool = False,
) -> Diff:
    """The verdict of two names or records, and what differs; ``here`` is the folder whose repository may have the code.

    Raises:
        InputError: a name stands for nothing.
        RecordError: a job has none, or one was changed after it was made; ``anyway``: the verdict only says so.
    """
    one, other = (ended(session, each) for each in (a, b))
    warnings = tuple(changed_records([*one, *other]))
    if warnings and not anyway:
        raise RecordError(f"{warnings[0]}; take the original, or add --anyway to compare what it says")
    found = compared(a, b, one, other, given, here)._replace(warnings=warnings)
    return of_sample(session, found, one, other) if found.is_of_sweeps else found


def compared(
    a: str | Record,
    b: str | Record,
    one: Sequence[Evidence],
    other: Sequence[Evidence],
    given: Reproduce | None,
    here: Path,
) -> Diff:
    """The verdict by how many runs each side has.

    Raises:
        InputError: no point of a sweep has the parameters of the one run beside it.
    """
    if len(one) == 1 and len(other) == 1:
        return of_two(one[0], other[0], given, here)
    left, right = (side[0].key if isinstance(each, Record) else each for each, side in ((a, one), (b, other)))
    if len(one) > 1 and len(other) > 1:
        return of_sweeps(left, right, one, other, given, here)
    return of_run_and_seeds(left, right, one, other, given, here)


def ended(session: Session, name: str | Record) -> list[Evidence]:
    """What a name stands for; a record that the tracker kept before its job's end is read again."""
    if isinstance(name, Record):
        return [placed(session, Evidence(name, record_json(name)))]
    found = evidence_of(session, name)
    if len(found) == 1 and not is_final(found[0].record.job.state or "RUNNING"):
        found = evidence_of(session, name, latest=True)
    return found


def changed_records(evidences: Iterable[Evidence]) -> Iterator[str]:
    """A line for each record that is not the one that its hash names."""
    for each in evidences:
        try:
            is_whole = record_sha256(each.values) == each.record.integrity.record_sha256
        except (RecordError, KeyError, TypeError, AttributeError):
            is_whole = False
        if not is_whole:
            yield f"{each.key}: its record was changed after it was made: it does not have its own hash"


def of_two(a: Evidence, b: Evidence, given: Reproduce | None, here: Path) -> Diff:
    """Two runs."""
    one, other = read_pairs([(a, b)], given)[0]
    code, why = code_changes(a, b, here)
    verdict = compare(one, other, given, [each.name for each in code], judged(one, other, given))
    rows = tuple(differences(one, other))
    return Diff(a.key, b.key, (Pair(a.key, b.key, verdict, {}, (a.record, b.record)),), (), (), rows, code, why)


def of_sweeps(
    a: str, b: str, one: Sequence[Evidence], other: Sequence[Evidence], given: Reproduce | None, here: Path
) -> Diff:
    """Two sweeps: each point beside the one with its parameters."""
    by_run = {id(each.record): each for each in (*one, *other)}
    found = matched(*([Run(each.record) for each in side] for side in (one, other)))
    evidences = [(by_run[id(left.record)], by_run[id(right.record)]) for left, right in found.pairs]
    runs = read_pairs(evidences, given)
    pairs = tuple(
        Pair(
            left.key,
            right.key,
            compare(left, right, given, None, judged(left, right, given)),
            left.record.experiment.parameters,
            (left.record, right.record),
        )
        for left, right in runs
    )
    code, why = code_changes(*evidences[0], here) if evidences else ((), "")
    only_a, only_b = (tuple(run.key for run in side) for side in (found.only_in_a, found.only_in_b))
    return Diff(a, b, pairs, only_a, only_b, common_rows(runs), code, why, is_of_sweeps=True)


def of_sample(session: Session, found: Diff, one: Sequence[Evidence], other: Sequence[Evidence]) -> Diff:
    """The verdict of two sweeps; reruns of some points of one are a sample of it, and the others say nothing.

    A point of the reruns without a record is not one of these: then all that have no partner count.
    """
    for name, made, of, originals, alone, more in (
        (found.b, other, found.a, one, found.only_in_a, found.only_in_b),
        (found.a, one, found.b, other, found.only_in_b, found.only_in_a),
    ):
        is_whole = len(session.tracker.sweeps.points(name)) in (0, len(made))
        if alone and not more and is_whole and are_reruns(made, of, originals):
            return found._replace(only_in_a=(), only_in_b=(), not_rerun=alone)
    return found


def are_reruns(made: Sequence[Evidence], name: str, originals: Sequence[Evidence]) -> bool:
    """Whether all of these runs say that they repeat points of a sweep, by its name, its arrays or its jobs."""
    jobs = [each.record.job for each in originals]
    names = {name, *(f"{job.cluster}:{each}" for job in jobs for each in (job.job_id, job.array_job_id))}
    return all(each.record.derived_from and each.record.derived_from.job in names for each in made)


def of_run_and_seeds(
    a: str, b: str, one: Sequence[Evidence], other: Sequence[Evidence], given: Reproduce | None, here: Path
) -> Diff:
    """A sweep and one run: by the run's own seed where the sweep has it, else by the interval of the others.

    Raises:
        InputError: no point of the sweep has the run's parameters.
    """
    many, (single,) = (one, other) if len(one) > 1 else (other, one)
    is_first = single is one[0]
    names = ("B", "A") if is_first else ("A", "B")
    sweep = b if is_first else a
    group = seeds_beside([Run(each.record) for each in many], Run(single.record))
    evidences = [each for each in many if any(each.record is run.record for run in group)]
    if not group:
        why = f"none of its {len(many)} points has the parameters of {single.key}, whatever the seed"
        raise refuse(sweep, why, f"`tfslurm results {sweep}` lists them")
    twin = with_its_seed(group, Run(single.record))
    if twin is not None:
        point = next(each for each in many if each.record is twin.record)
        beside = of_two(*((single, point) if is_first else (point, single)), given, here)
        if beside.agree is not None:
            return beside
    *seeded, run = read_all([(each, metric_files(each.record)[0]) for each in (*evidences, single)])
    at = max(range(len(seeded)), key=lambda number: unlikeness(seeded[number], run))  # stands for all of them
    pair = (run, seeded[at]) if is_first else (seeded[at], run)
    code, why = code_changes(*((single, evidences[at]) if is_first else (evidences[at], single)), here)
    verdict = compare(*pair, given, [each.name for each in code])
    found = by_interval(seeded, run, measure_of(*pair, given), names)
    if is_first:
        found = found._replace(values=(found.values[1], found.values[0]))
    verdict = Comparison(verdict.environment, verdict.inputs, found, "", why_the_interval(sweep, twin is not None))
    left, right = (single.key, sweep) if is_first else (sweep, single.key)
    records = (pair[0].record, pair[1].record)
    return Diff(left, right, (Pair(left, right, verdict, {}, records),), (), (), tuple(differences(*pair)), code, why)


def unlikeness(one: Run, other: Run) -> tuple[int, int]:
    """How unlike the environment and the inputs of two runs are: to find the run of a sweep that is most so."""
    verdict = compare(one, other)
    return UNLIKE.index(verdict.environment.answer), len(verdict.inputs.differs)


def common_rows(runs: Sequence[tuple[Run, Run]]) -> tuple[Difference, ...]:
    """What differs between two sweeps; what is not the same for all points is counted."""
    seen: dict[str, list[Difference]] = {}
    for pair in runs:
        for row in differences(*pair):
            if row.what in seen or len(seen) < MOST_ROWS:
                seen.setdefault(row.what, []).append(row)
    return tuple(
        rows[0] if len(rows) == len(runs) and len(set(rows)) == 1
        else Difference(what, f"differs for {len(rows)} of {len(runs)} points", "")
        for what, rows in seen.items()
    )  # fmt: skip


def code_changes(a: Evidence, b: Evidence, here: Path) -> tuple[tuple[FileChange, ...], str]:
    """The files of the code that differ, and why they are not known."""
    one, other = a.record.code, b.record.code
    if (one.tree if one else None) == (other.tree if other else None):
        return (), ""
    trees = []
    for evidence in (a, b):
        tree, why = code_of(evidence, here)
        if tree is None:
            return (), why
        trees.append(tree)
    locks = tuple(each.record.asked.lock if each.record.asked else "" for each in (a, b))
    return tuple(changes(*trees, locks=(locks[0], locks[1]))), ""


# ------------------------------------------------------------------------------------------------------------- outputs


def read_pairs(pairs: Sequence[tuple[Evidence, Evidence]], given: Reproduce | None) -> list[tuple[Run, Run]]:
    """The runs with what their comparison needs of their outputs."""
    asked: list[tuple[Evidence, Sequence[str]]] = []
    for a, b in pairs:
        one, other = Run(a.record), Run(b.record)
        needed = wanted(one, other, measure_of(one, other, given))
        asked += [(a, needed), (b, needed)]
    found = iter(read_all(asked))
    return [(next(found), next(found)) for _ in pairs]


def read_all(asked: Iterable[tuple[Evidence, Sequence[str]]]) -> list[Run]:
    """Each run with these outputs, as far as they are there and have the sha256 of its record.

    The outputs of all jobs in one run folder come in few commands.
    """
    asked = list(asked)
    places: dict[tuple[int, PurePosixPath], tuple[Host, list[Entry]]] = {}
    unread: list[dict[str, str]] = []
    for evidence, needed in asked:
        why: dict[str, str] = {}
        unread.append(why)
        try:
            below = job_folder(PurePosixPath(), evidence.record.job.job_id) / paths.OUTPUTS
        except RecordError as error:
            why[""] = str(error)
            continue
        if evidence.host is None or evidence.folder is None:
            why[""] = evidence.why or "its files are not on a machine that is known here"
            continue
        outputs = {output.path: output for output in evidence.record.experiment.outputs or ()}
        metrics = frozenset(metric_files(evidence.record)[0])
        _, entries = places.setdefault((id(evidence.host), evidence.folder), (evidence.host, []))
        for path in needed:
            if path in outputs:
                why[path] = refusal(outputs[path], is_metric=path in metrics)
                if not why[path]:
                    entries.append(Entry("f", str(below / path), outputs[path].bytes or 0))
    brought = {place: bring(host, place[1], entries) for place, (host, entries) in places.items()}
    return [run_of(*each, why, brought) for each, why in zip(asked, unread, strict=True)]


def refusal(output: Output, *, is_metric: bool) -> str:
    """Why an output is not read; '': it is."""
    most = LARGEST if is_metric and not output.path.endswith(".keras") else MOST_BYTES
    if output.bytes is None:
        return "a record of this age does not have its size"
    if output.bytes > most:
        return f"it has {output.bytes} bytes, and {most} are the most that is read"
    return "" if is_below(output.path) else "its path leads out of the outputs"


def bring(host: Host, folder: PurePosixPath, entries: Sequence[Entry]) -> tuple[dict[str, bytes], str]:
    """Path below a run folder -> content, and why there is nothing more."""
    found: dict[str, bytes] = {}
    left, total = list({entry.path: entry for entry in entries}.values()), 0
    while left:
        count = fitting((entry.bytes + 1024 for entry in left), MOST_AT_ONCE)
        total += sum(entry.bytes for entry in left[:count])
        if total > MOST_IN_ALL:
            return found, f"more than {MOST_IN_ALL} bytes would have to be read"
        try:
            found.update(pack(host, folder, left[:count]))
        except CommandFailed as error:
            words = re.sub(r"^[\w.-]+: line [0-9]+: (?:cd: )?", "", last_words(error.completed))
            return found, f"it cannot be read on {host.name}: {words}"
        except HostError as error:
            return found, str(error).splitlines()[0]
        del left[:count]
    return found, ""


def run_of(
    evidence: Evidence,
    needed: Sequence[str],
    why: dict[str, str],
    brought: Mapping[tuple[int, PurePosixPath], tuple[Mapping[str, bytes], str]],
) -> Run:
    """The run with those contents that its record has the hash of."""
    if evidence.folder is None or "" in why:
        return Run(evidence.record, {}, why)
    found, lost = brought.get((id(evidence.host), evidence.folder), ({}, ""))
    below = PurePosixPath(evidence.record.job.job_id) / paths.OUTPUTS
    outputs = {output.path: output for output in evidence.record.experiment.outputs or ()}
    contents: dict[str, bytes] = {}
    for path in needed:
        if path not in outputs or why.get(path):
            continue
        content = found.get(str(below / path))
        if content is None:
            why[path] = lost or "it is not there any more"
        elif hashlib.sha256(content).hexdigest() != outputs[path].sha256:
            why[path] = "it was changed after the job ended: it does not have the sha256 of the record"
        else:
            contents[path] = content
    return Run(evidence.record, contents, {path: text for path, text in why.items() if text})

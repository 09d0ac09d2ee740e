"""What a verdict leaves to a reviewer, and which of ACM's words could apply; each a line of Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tfslurm.export.difference import Diff, Pair
from tfslurm.export.markdown import quoted
from tfslurm.record import Record
from tfslurm.record.comparison.answers import Answer
from tfslurm.record.comparison.prediction import FEWEST
from tfslurm.record.comparison.seeds import seeds_of
from tfslurm.record.verification import is_anonymous

LINKS = ("image", "gpus", "driver", "tensorflow_gpu", "code", "packages")
MOST_NAMES = 10


def left_to_judge(found: Diff) -> Iterator[str]:
    """What no record says, what was not compared, and what was compared by somebody's choice."""
    yield "Whether the metric and the files that were compared carry the claim of the paper."
    records = records_of(found)
    yield from (*of_the_rules(found), *of_the_inputs(found), *of_the_environment(found), *of_the_rest(found))
    if records and not any(map(seeds_of, records)):
        yield "No seed can be seen from outside. Seeds that the program sets in its own code were not compared."
    yield (
        "Settings that the program makes in its own code, such as determinism, TF32 and threads: a record has the "
        "variables, and not these."
    )
    if any(record.integrity.signature is None for record in records):
        yield (
            "Who made the records: not all are signed. A hash shows that a record was not changed by accident, and not "
            "who made it. `tfslurm verify` checks signatures."
        )


def records_of(found: Diff) -> list[Record]:
    """All that were compared."""
    return [record for pair in found.pairs for record in pair.records or ()]


def names(of: Iterable[str]) -> str:
    """The first of these names, each once, as code."""
    listed = [*dict.fromkeys(of)]
    more = f" and {len(listed) - MOST_NAMES} more" if len(listed) > MOST_NAMES else ""
    return ", ".join(map(quoted, listed[:MOST_NAMES])) + more


def of_the_rules(found: Diff) -> Iterator[str]:
    """What the rules that were applied rest on."""
    rules = {(pair.comparison.results.rule, pair.comparison.results.agree) for pair in found.pairs}
    if any(rule == "tolerance" and agree is not None for rule, agree in rules):
        yield "Whether the tolerance is strict enough for the claim. Whoever declared it chose it."
    if any(rule == "interval" and agree is not None for rule, agree in rules):
        yield (
            "Whether the seeds are enough, and the metric about normally distributed. Of 100 good runs, 5 lie outside "
            "a 95 % prediction interval; one that lies inside may still be wrong."
        )
    if ("interval", None) in rules:
        yield f"How far runs with other seeds may differ: that takes at least {FEWEST} seeds (`tfslurm rerun --seeds`)."
    if ("bits", True) in rules:
        yield "Whether what the program does is right: equal bits show that it did the same."
    files = [pair.comparison.results.files for pair in found.pairs]
    if found.agree and (paths := [one.path for each in files for one in each.those("differs")]):
        yield f"Files whose bytes differ although the results agree by the rule: {names(paths)}."
    if paths := [one.path for each in files for one in each.undecided]:
        yield f"Files that could not be compared: {names(paths)}."


def of_the_inputs(found: Diff) -> Iterator[str]:
    """What was put in that is not the same, or not known to be."""
    inputs = [pair.comparison.inputs for pair in found.pairs]
    if differ := [name for each in inputs for name in each.differs]:
        yield f"The inputs are not the same ({names(differ)}): B is not A once more, but a variation of it."
    if unknown := [name for each in inputs for name, _ in each.unknown]:
        yield f"Whether these inputs were the same: {names(unknown)}."
    dirty = {key for pair in found.pairs for key, record in of_records(pair) if record.code and record.code.dirty}
    if dirty:
        yield (
            f"The code of {names(sorted(dirty))} had changes on top of its commit: its tree id names what ran, "
            "and its commit does not."
        )


def of_records(pair: Pair) -> Iterator[tuple[str, Record]]:
    """The records of a pair by their names."""
    yield from zip((pair.a, pair.b), pair.records or (), strict=False)


def of_the_environment(found: Diff) -> Iterator[str]:
    """What is not the same around the program, or not known to be."""
    environments = [pair.comparison.environment for pair in found.pairs]
    if differ := [name for each in environments for name in each.differs]:
        yield f"Whether these differences matter for the claim, above all for one about speed: {names(differ)}."
    if any(each.answer == "other image" for each in environments):
        yield "Whether another image is the same experiment: its software is not the same."
    if unknown := [name for each in environments for name, _ in each.unknown]:
        yield f"What the environment was where it was not observed: {names(unknown)}."


def of_the_rest(found: Diff) -> Iterator[str]:
    """Warnings, points without a partner, links that were not verified, and files that are gone."""
    if found.warnings:
        yield "Whether records or files that were changed can be trusted at all: see the warnings."
    if count := len(found.only_in_a) + len(found.only_in_b):
        yield f"The {count} points that only one of the two has."
    if found.not_rerun:
        yield f"The {len(found.not_rerun)} points that were not rerun: the others are a sample of them."
    broken = [
        f"{key}: {link}: {verdict.status}: {verdict.reason}"
        for pair in found.pairs
        for key, record in of_records(pair)
        for link in LINKS
        if (verdict := getattr(record.verified, link)) and verdict.status != "ok"
    ]
    if broken:
        yield f"Links of the chain that are not verified: {names(broken)}."
    sides = (side for pair in found.pairs for side in of_records(pair))
    lost = [f"{key}: {each.path}" for key, record in sides for each in record.experiment.lost or ()]
    if lost:
        yield f"What the program wrote outside its outputs, which is gone: {names(lost)}."


# ---------------------------------------------------------------------------------------------------------- ACM's words


def acm_lines(found: Diff) -> Iterator[str]:
    """Which of the words of ACM's Artifact Review and Badging, version 1.1, could apply."""
    if found.agree is not True:
        what = "cannot all be compared" if found.agree is None else "do not agree by the rule that applies"
        yield f"None of them applies: the results {what}."
        return
    yield from could_apply(found)
    yield (
        "Replicability (another team, with artifacts that it made itself) is nothing that two records of one "
        "experiment can show."
    )
    yield (
        'A badge such as "Results Reproduced" is awarded by a committee that also judged the claims. This report does '
        "not award it."
    )


def are_not(answers: Sequence[Answer]) -> str:
    """Whether something is 'not', or 'not known to be' identical; '' where all of it is."""
    if any(each.differs or each.answer == "other image" for each in answers):
        return "not"
    return "" if all(each.answer == "identical" for each in answers) else "not known to be"


def could_apply(found: Diff) -> Iterator[str]:
    """The words for results that agree: who ran, and whether the setup was the same, decides."""
    records = records_of(found)
    if len({record.record_id for record in records}) < 2:
        yield "None of them applies: a run was compared with itself."
        return
    if are := are_not([pair.comparison.inputs for pair in found.pairs]):
        yield f"The inputs are {are} identical, so it is not known that both ran the same experiment."
    if are := are_not([pair.comparison.environment for pair in found.pairs]):
        yield f"The environment is {are} identical. Whether that is the same setup is for the reviewer to say."
    users = {record.job.user for record in records if record.job.user}
    if not users or any(not record.job.user or is_anonymous(record) for record in records):
        yield "Who ran is not in the records. *Repeatability* if one team did both, *reproducibility* if two teams did."
    elif len(users) == 1:
        yield (
            f"All runs are of a user {quoted(users.pop())}. *Repeatability* (same team, same setup), if that is one "
            "team; two clusters may have two users of one name."
        )
    else:
        yield (
            f"The runs are of {names(sorted(users))}. *Reproducibility* (different team, same setup), if they "
            "are of different teams, which no record says; else *repeatability*."
        )

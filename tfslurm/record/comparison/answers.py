"""The verdict of two runs: three answers, each with its evidence, never one word for all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tfslurm.record.model import Output, Record
from tfslurm.spec import Comparer, Reproduce

BY_HAND = "the command line"
FEW = 10
"Names that a line of evidence has before the others are counted."


class Run(NamedTuple):
    """A record, and the contents of those of its outputs that were read; each has the sha256 of the record.

    ``unread`` says of a path why it was not read; of '' why none could be.
    """

    record: Record
    contents: Mapping[str, bytes] = {}
    unread: Mapping[str, str] = {}

    @property
    def key(self) -> str:
        """The name of its job: ``alpha:1234``."""
        return f"{self.record.job.cluster}:{self.record.job.job_id}"

    @property
    def outputs(self) -> dict[str, Output]:
        """Its outputs by their paths."""
        return {output.path: output for output in self.record.experiment.outputs or ()}

    def why_unread(self, path: str) -> str:
        """Why the content of an output is not here."""
        return self.unread.get(path) or self.unread.get("") or "it was not read"


class Measure(NamedTuple):
    """What the results are compared by, and who says so."""

    asked: Reproduce
    source: str  # 'exp.yaml' | 'the command line'; '' where nobody says anything
    problem: str = ""  # why it cannot be used
    given: tuple[Comparer, ...] = ()  # by the user now; they stand over those of ``asked``


class Answer(NamedTuple):
    """What is known of the environment, or of the inputs.

    The environment is 'identical', 'same image', 'other image' or 'unknown'; the inputs are 'identical', 'other' or
    'unknown'. ``differs`` names what is known to differ, ``unknown`` what is not known to be equal, and why.
    """

    answer: str
    differs: tuple[str, ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()
    evidence: tuple[str, ...] = ()


class FileResult(NamedTuple):
    """How one output compares; files that belong together are one: `saved/variables/variables.*`.

    ``answer`` is 'identical' (its bytes are), 'same content' (its values are; ``why`` names what else differs), 'within
    tolerance', 'differs', 'only in A', 'only in B', 'not comparable' (it should be, and ``why`` it is not), or 'not
    compared': nothing in it is the same in two equal runs, so that it decides nothing. ``rule`` says by what it was
    compared, ``declared`` who asked for that, where it is a tolerance or a script. ``max_abs`` and ``max_rel`` are the
    largest differences of two numbers in it; None: no number differs, or none was read.
    """

    path: str
    answer: str
    rule: str = "bytes"
    why: str = ""
    max_abs: float | None = None
    max_rel: float | None = None
    declared: str = ""  # 'exp.yaml' | 'the command line'


class Files(NamedTuple):
    """The outputs of two runs beside each other, in the order of their paths."""

    each: tuple[FileResult, ...] = ()
    why: str = ""  # there is nothing to compare; '': there is

    def those(self, answer: str) -> tuple[FileResult, ...]:
        """The files with this answer."""
        return tuple(each for each in self.each if each.answer == answer)

    @property
    def identical(self) -> tuple[str, ...]:
        """Those with equal bytes."""
        return tuple(each.path for each in self.those("identical"))

    @property
    def declared(self) -> tuple[FileResult, ...]:
        """Those that a declared tolerance or script decides: their values are not all the same."""
        return tuple(each for each in self.each if each.declared)

    @property
    def undecided(self) -> tuple[FileResult, ...]:
        """Those that could not be compared, or never can."""
        return (*self.those("not comparable"), *self.those("not compared"))

    @property
    def only_in_a(self) -> tuple[str, ...]:
        """Those that B does not have."""
        return tuple(each.path for each in self.those("only in A"))

    @property
    def only_in_b(self) -> tuple[str, ...]:
        """Those that A does not have."""
        return tuple(each.path for each in self.those("only in B"))

    @property
    def agree(self) -> bool | None:
        """Whether all files that should be are the same; None: one of them cannot be compared, or none can."""
        answers = {each.answer for each in self.each}
        if answers & {"differs", "only in A", "only in B"}:
            return False
        if "not comparable" in answers:
            return None
        return True if answers - {"not compared"} else None


class Interval(NamedTuple):
    """The 95 % prediction interval for one more run with another seed."""

    runs: int
    mean: float
    deviation: float
    low: float
    high: float


class Results(NamedTuple):
    """How the results compare.

    ``answer`` is 'bit-identical', 'within tolerance', 'outside the tolerance', 'bits differ', 'within the seeds' 95 %
    prediction interval', 'outside' that, or 'not comparable'. ``rule`` is the one that applies: 'bits', 'tolerance' or
    'interval'; '' where none does. ``agree`` is None where that cannot be said.
    """

    answer: str
    rule: str = ""
    agree: bool | None = None
    evidence: tuple[str, ...] = ()
    files: Files = Files()
    metric: str = ""
    values: tuple[str | None, str | None] = (None, None)
    interval: Interval | None = None


class Comparison(NamedTuple):
    """The verdict. ``acm`` is the word of ACM's that applies, with its reason; '' where none does.

    ``because`` says why the results were held against each other by their rule; '' where none applies.
    """

    environment: Answer
    inputs: Answer
    results: Results
    acm: str = ""
    because: str = ""

    @property
    def exit_code(self) -> int:
        """0: the results agree by the rule that applies; 1: they do not; 3: they cannot be compared."""
        return {True: 0, False: 1, None: 3}[self.results.agree]


def some(names: Iterable[str], most: int = FEW) -> str:
    """The first of these names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def reason(record: Record, path: str) -> str:
    """Why a fact is null, by its own path or that of a part that contains it."""
    at = path
    while at:
        if at in record.unknown:
            return record.unknown[at]
        at = at[:-1].rpartition("[")[0] if at.endswith("]") else at.rpartition(".")[0]
    return "its record does not say it"

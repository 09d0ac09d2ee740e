"""Compare two runs by their records: environment, inputs and results, each with its evidence. Pure.

answers        the three answers, and the run that a record and some contents are
environment    image, machine, engine, and the variables that TensorFlow obeys
inputs         code, parameters, command, variables, data
seeds          the seeds that can be seen from outside
results        bits, tolerance or prediction interval: the rule that applies, and what it says
rule           why it is that one
prediction     the interval for one more seed
comparers      what somebody declared for single files
files          the outputs beside each other
contents       two files by the values in them: a package
differences    what differs, the most telling first
code           the files of two trees, as a unified diff
points         the points of sweeps, matched by their parameters
"""

from __future__ import annotations

from collections.abc import Sequence

from tfslurm.record.comparison.answers import Answer, Comparison, FileResult, Files, Measure, Results, Run
from tfslurm.record.comparison.comparers import Judged
from tfslurm.record.comparison.environment import environment
from tfslurm.record.comparison.inputs import inputs, is_one_command
from tfslurm.record.comparison.results import measure, results
from tfslurm.record.comparison.rule import why_this_rule
from tfslurm.record.comparison.seeds import seeds
from tfslurm.record.model import Record
from tfslurm.record.verification import is_anonymous
from tfslurm.spec import Reproduce

__all__ = ["Answer", "Comparison", "FileResult", "Files", "Measure", "Results", "Run", "compare", "measure_of"]

NOTHING: Judged = {}


def compare(
    a: Run, b: Run, given: Reproduce | None = None, changed: Sequence[str] | None = None, judged: Judged = NOTHING
) -> Comparison:
    """The verdict of two runs.

    ``given`` stands over what they declare; ``changed`` are those files of the code that did; ``judged`` is what the
    scripts in ``given`` say of outputs.
    """
    where, what = environment(a.record, b.record), inputs(a.record, b.record, changed)
    seeded = seeds(a.record, b.record, is_one_command(a.record, b.record))
    measured = measure_of(a, b, given)
    found = results(a, b, where, what, seeded, measured, judged)
    word, because = acm(a.record, b.record, where, what, found), why_this_rule(found, where, seeded, measured)
    return Comparison(where, what, found, word, because)


def measure_of(a: Run, b: Run, given: Reproduce | None = None) -> Measure:
    """What the results of two runs are compared by."""
    one, other = (run.record.asked.reproduce if run.record.asked else None for run in (a, b))
    return measure(one, other, given)


def acm(a: Record, b: Record, where: Answer, what: Answer, found: Results) -> str:
    """ACM's word for results that agree, as its version 1.1 defines it; '' where none is known to apply.

    Repeatability is of the same team with the same setup, reproducibility of another team with the same setup; both are
    of several runs. Who is in a team is in no record: users are, unless it is anonymous. Replicability is of another
    setup, made without the author's artifacts, which is nothing that two records show.
    """
    same_setup = where.answer == what.answer == "identical"
    if not found.agree or not same_setup or a.record_id == b.record_id:
        return ""
    if any(not record.job.user or is_anonymous(record) for record in (a, b)):
        return ""
    if a.job.user == b.job.user and a.job.cluster == b.job.cluster:
        return f"repeatability (same team, same setup): both runs are of {a.job.user}"
    if a.job.user != b.job.user:
        return f"reproducibility (different team, same setup), if {a.job.user} and {b.job.user} are of different teams"
    return ""

"""Why the results of two runs are held against each other by one rule and not by another, in a sentence. Pure."""

from __future__ import annotations

from tfslurm.record.comparison.answers import Answer, Measure, Results
from tfslurm.record.comparison.seeds import Seeds

ENVIRONMENTS = {
    "identical": "the environment is identical",
    "same image": "the environment is not the same",
    "other image": "the image is another",
    "unknown": "the environment is not known to be the same",
}


def why_this_rule(found: Results, environment: Answer, seeds: Seeds, measured: Measure) -> str:
    """The sentence; '' where no rule applies, for then the answer says why."""
    if found.rule == "bits" and found.agree:
        return "all that can be compared is equal, and no other rule is needed"
    if found.rule == "interval":
        return f"the seed is another ({seeds.why}): a difference is expected, and a sweep's seeds say how large"
    where = ENVIRONMENTS[environment.answer]
    if found.rule == "bits":
        return f"the seed is the same ({seeds.why}), {where}, and {why_bits(measured)}"
    if found.rule == "tolerance":
        also = "the bits differ" if environment.answer == "identical" else "equal bits cannot be expected"
        return f"the seed is the same ({seeds.why}), and {where}: {also}, and the declared tolerance decides"
    return ""


def why_bits(measured: Measure) -> str:
    """Why no tolerance stands in for equal bits."""
    if measured.asked.files:
        return "exp.yaml names the files that must be equal"
    return "no tolerance is declared" if measured.asked.tolerance is None else "its tolerance cannot be applied"


def why_the_interval(sweep: str, has_twin: bool) -> str:
    """The same for one run beside a sweep."""
    twin = "has the run's seed, but the two cannot be compared" if has_twin else "does not have the run's seed"
    return f"{sweep} {twin}: its other seeds say how far one more may be off"

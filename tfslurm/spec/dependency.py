"""The value of sbatch's --dependency, in which jobs may also be named as tfslurm names them. Pure.

Source: sbatch(1), --dependency: ``type:job[:job…]``, with commas for all of them, question marks for any.
"""

from __future__ import annotations

import re

from tfslurm.document import Refused, nearest, show

TYPES = ("afterok", "afterany", "afternotok", "aftercorr", "after", "afterburstbuffer")
_JOB = re.compile(r"[0-9]{1,10}(?:_(?:[0-9]{1,10}|\*))?(?:\+[0-9]{1,7})?")
_CLUSTER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_EXAMPLE = "write it as in afterok:1234, or afterok:alpha:1234 for a job of tfslurm's"


def dependency(value: str, cluster: str = "") -> str:
    """The dependency as sbatch reads it: ``afterok:alpha:1234`` becomes ``afterok:1234`` on the cluster ``alpha``.

    Without ``cluster`` only the form is checked.

    Raises:
        Refused: it is none of sbatch's forms, mixes commas and question marks, or names a job of another cluster.
    """
    if re.fullmatch(r"[0-9]+(?::[0-9]+)*", value):
        return value  # an old form: after any end of these
    if "," in value and "?" in value:
        raise Refused(f"{show(value)} mixes `,` and `?`", "sbatch takes either of them")
    return re.sub("[^,?]+", lambda term: _term(term[0], value, cluster), value) if value else value


def _term(term: str, value: str, cluster: str) -> str:
    """One term of it."""
    kind, colon, rest = term.strip().partition(":")
    if kind.lower() == "singleton" and not colon:
        return kind
    if kind.lower() not in TYPES:
        word = re.split(r"[\s=:(]", kind)[0].lower().replace("-", "").replace("_", "")
        raise Refused(f"{show(value)} begins with no kind of dependency", nearest(word, TYPES) + _EXAMPLE)
    jobs: list[str] = []
    place = ""
    for word in rest.split(":"):
        if _JOB.fullmatch(word):
            if cluster and place not in ("", cluster):
                why = f"{place}:{word} is a job of {place}, and this one would run on {cluster}"
                raise Refused(why, f"a dependency holds within one cluster: submit both to {place}")
            jobs.append(word)
            place = ""
        elif not place and _CLUSTER.fullmatch(word):
            place = word
        else:
            raise Refused(f"{show(value)}: {show(word)} names no job", _EXAMPLE)
    if place:
        raise Refused(f"{show(value)}: {show(place)} names no job", _EXAMPLE)
    return ":".join((kind, *jobs))

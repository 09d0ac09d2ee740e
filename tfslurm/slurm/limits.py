"""The most jobs that a user may have at once, where accounting sets a limit. argv out, text in. Pure.

Source: sacctmgr(1), "MaxSubmitJobs" of an association (what it inherits is printed too) and "MaxSubmitJobsPerUser" of
a QOS; each task of an array counts as a job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfslurm.slurm.environment import clean
from tfslurm.slurm.values import fields_of, parse_number, rows_of

ASSOCIATION = ("Cluster", "Account", "Partition", "MaxSubmitJobs", "GrpSubmitJobs")
QOS = ("Name", "MaxSubmitJobsPerUser")
PRINTING = ("sacctmgr", "--noheader", "--parsable2", "show")


@dataclass(frozen=True, slots=True)
class SubmitLimit:
    """One association of the user; None where it sets no limit. ``group`` is shared with others of the account."""

    account: str
    partition: str
    own: int | None
    group: int | None


def limits_argv(user: str) -> tuple[str, ...]:
    """The limits of the user's associations on every cluster of this slurmdbd."""
    return (*clean("sacctmgr"), *PRINTING, "associations", "where", f"user={user}", f"format={','.join(ASSOCIATION)}")


def parse_limits(text: str, cluster: str) -> tuple[SubmitLimit, ...]:
    """The associations on one cluster (its ClusterName).

    Raises:
        SlurmParseError: a row with other fields than asked for, or a limit that is no number.
    """
    rows = [fields_of(line, len(ASSOCIATION), "|", "sacctmgr") for line in rows_of(text, "sacctmgr")]
    return tuple(SubmitLimit(row[1], row[2], number(row[3]), number(row[4])) for row in rows if row[0] == cluster)


def qos_limits_argv() -> tuple[str, ...]:
    """The limit that each QOS sets for every user of it."""
    return (*clean("sacctmgr"), *PRINTING, "qos", f"format={','.join(QOS)}")


def parse_qos_limits(text: str) -> Mapping[str, int]:
    """QOS name -> most jobs of one user, for those that set it.

    Raises:
        SlurmParseError: as parse_limits.
    """
    rows = [fields_of(line, len(QOS), "|", "sacctmgr") for line in rows_of(text, "sacctmgr")]
    return {name: limit for name, text in rows if (limit := number(text)) is not None}


def number(text: str) -> int | None:
    """A limit; empty: there is none."""
    return parse_number(text, "sacctmgr: a limit") if text else None

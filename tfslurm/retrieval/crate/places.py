"""The places of runs in a crate: in its own folder where all are of one run folder, else in one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tfslurm.errors import RecordError, refuse
from tfslurm.export.crate.contents import RECORD, RECORDS, RUNS, Run
from tfslurm.job_plan.folders import JOB_ID
from tfslurm.retrieval.evidence import PLAN_ID, Evidence


class Placed(NamedTuple):
    """A record with its files' place on their machine, and in the crate."""

    evidence: Evidence
    run: Run


def places(evidences: Sequence[Evidence]) -> list[Placed]:
    """Each record with its place, in the order of their jobs.

    Raises:
        RecordError: a record does not say what its place is, or none of them began.
        InputError: two records are of one job.
    """
    if not any(each.record.attempts for each in evidences):
        raise RecordError(f"{evidences[0].key}: it never began to run: a crate is about what ran")
    plans = {each.record.plan_id for each in evidences}
    made: dict[str, Placed] = {}
    for each in evidences:
        record = each.record
        plan_id, job_id = record.plan_id or "", record.job.job_id
        if not JOB_ID.fullmatch(job_id) or (len(plans) > 1 and not PLAN_ID.fullmatch(plan_id)):
            raise RecordError(f"{each.key[:80]!r}: its record has no plan's or job's id that can name a folder")
        base = f"{RUNS}{plan_id}/" if len(plans) > 1 else ""
        file = RECORD if len(evidences) == 1 else f"{base}{RECORDS}{job_id}.json"
        if file in made:
            raise refuse(each.key, "has two records here", "name one of them")
        made[file] = Placed(each, Run(record, base, file))
    return [*made.values()]

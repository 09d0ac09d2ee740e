"""The folders of a submission on its cluster, and what their names may be. Pure."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from tfslurm.errors import RecordError

FOLDER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}-[0-9a-f]{12}")  # NAME-PLANID
JOB_ID = re.compile(r"[0-9]{1,10}(?:_[0-9]{1,10}(?:\.[0-9]{1,10})?)?")
UNTRUE = "the tracker's file was changed, or is not yours: move it away, then run `tfslurm tracker rebuild`"


def job_folder(run_dir: PurePosixPath, job_id: str) -> PurePosixPath:
    """The folder of one job in its run folder.

    Raises:
        RecordError: it is no job's id.
    """
    if not JOB_ID.fullmatch(job_id):
        raise RecordError(f"{job_id[:80]!r} is not the id of a job; {UNTRUE}")
    return run_dir / job_id

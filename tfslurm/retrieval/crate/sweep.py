"""What a sweep adds to a crate: its own record, and a word on points without a record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tfslurm.document.visible import visible_json
from tfslurm.errors import InputError
from tfslurm.export.crate.contents import SWEEP
from tfslurm.monitoring.lookup import find_sweep, one_name
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.sweep_record import sweep_record
from tfslurm.workspace.session import Session


def sweep_parts(
    session: Session, name: str, evidences: Sequence[Evidence]
) -> tuple[Sequence[str], Mapping[str, bytes]]:
    """Notes for a crate's description, and further files of it; none where the name is not a sweep's."""
    tracker = session.tracker
    try:
        sweep = one_name(tracker, name)
    except InputError:  # a file, or a crate
        return (), {}
    if not tracker.sweeps.named(sweep):
        return (), {}
    whole = sweep_record(find_sweep(tracker, sweep), tracker)
    text = visible_json(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False))
    lacking = whole["count"] - len(evidences)
    said = f"{lacking} of the sweep's {whole['count']} points have no record, so nothing is claimed of them."
    return (said,) if lacking else (), {SWEEP: f"{text}\n".encode()}

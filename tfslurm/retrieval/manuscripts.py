"""Manuscripts on this machine, held against the records that they cite and the metrics of these runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfslurm.errors import refuse
from tfslurm.export.manuscript import Finding, checked
from tfslurm.local_files import read_text
from tfslurm.record.metrics import metric_files, metrics_of
from tfslurm.retrieval.cited_records import cited_evidence
from tfslurm.retrieval.comparing import read_all
from tfslurm.retrieval.evidence import placed
from tfslurm.workspace.session import Session

LARGEST = 4 * 2**20
"Bytes of one manuscript."
TEX = (".tex", ".ltx", ".latex", ".bib", ".sty", ".cls", ".rnw")


def check_manuscripts(session: Session, names: Sequence[str], files: Sequence[Path]) -> dict[Path, list[Finding]]:
    """File -> what it says of the named jobs, sweeps and records; a line is said for each run without metrics.

    Raises:
        InputError: a name stands for nothing, or a file cannot be read.
        RecordError: a record was changed, or there is none.
    """
    texts = {file: read_text(file, LARGEST) for file in files}
    evidences = [each if each.host else placed(session, each) for each in cited_evidence(session, names)]
    if not evidences:
        raise refuse(f"cite {' '.join(names)}", "there is no record to check against", "name jobs that have ended")
    runs = read_all((each, metric_files(each.record)[0]) for each in evidences)
    metrics = []
    for run in runs:
        paths, glob = metric_files(run.record)
        contents = {path: run.contents[path] for path in paths if path in run.contents}
        found, why = metrics_of(contents, glob)
        metrics.append(found)
        missing = [run.why_unread(path) for path in paths if path not in run.contents]
        if reason := why or "; ".join(dict.fromkeys(missing)):
            session.say(f"note: {run.key}: its metrics are not looked at: {reason}")
    records = [each.record for each in evidences]
    return {file: checked(text, records, metrics, is_tex=file.suffix.lower() in TEX) for file, text in texts.items()}

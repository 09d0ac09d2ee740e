"""The image that a user names: by a reference, or by a job that ran it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tfslurm.errors import InputError, RecordError, refuse
from tfslurm.export.citation.settings import pin_of
from tfslurm.image import Pin, parse_reference
from tfslurm.monitoring.lookup import JOB, find_jobs, one_name, plan_of
from tfslurm.retrieval.crate_files import is_crate
from tfslurm.retrieval.evidence import evidence_of, refuse_changed
from tfslurm.submission.prepare import mirrors_of, pin_now, pinned, read_experiment, resolve_now
from tfslurm.workspace.clock import now
from tfslurm.workspace.clusters_of_jobs import known_for
from tfslurm.workspace.config import known_clusters
from tfslurm.workspace.session import Session


class NamedImage(NamedTuple):
    """A pinned image, and where it may be found beside its own registry; ``engine``: whose logins come first."""

    pin: Pin
    mirrors: Mapping[str, Sequence[str]]
    engine: str = "docker"


def image_named(session: Session, name: str) -> NamedImage:
    """The image of a job or a sweep, as it was pinned, with the mirrors of its cluster; that of an experiment's file,
    as its lock file has it, or of a record or a crate; else the image of this name as a registry has it now, with the
    mirrors of all clusters.

    Raises:
        InputError: it is none of them, or a tag that is meant to move.
        RecordError: a record that was changed, or has not its pin.
        RegistryError: no registry has it.
    """
    tracker = session.tracker
    if name.endswith((".yaml", ".yml")):
        asked = read_experiment(Path(name), sweeps=True)
        clusters = [known.cluster for known in known_clusters(asked.experiment.clusters, session.say)]
        return NamedImage(pinned(asked) or pin_now(asked, clusters, now(), session.say), *mirrors_of(clusters))
    if is_crate(Path(name)) or name.endswith((".json", ".zip")):
        return NamedImage(pin_in_record(session, name), *mirrors_of([each.cluster for each in known_clusters()]))
    if is_reference(session, name):
        clusters = [known.cluster for known in known_clusters(tell=session.say)]
        mirrors, engine = mirrors_of(clusters)
        return NamedImage(resolve_now(parse_reference(name), clusters, now(), session.say), mirrors, engine)
    try:
        job = find_jobs(tracker, one_name(tracker, name))[0]
    except InputError as error:
        if JOB.fullmatch(name) or name.startswith("last"):
            raise
        found = error.problems[0]
        raise refuse(found.file, found.why, f"{found.fix}; an image needs its tag or digest: {name}:TAG") from None
    cluster = known_for(job, tracker).cluster
    return NamedImage(plan_of(job, tracker).pin, cluster.mirrors, cluster.engine)


def pin_in_record(session: Session, name: str) -> Pin:
    """The pin of the image that the records of a file or a crate name.

    Raises:
        InputError: it has no record, or they name several images.
        RecordError: a record was changed, or has not its pin.
    """
    found = evidence_of(session, name, reach=False)
    refuse_changed(found)
    digests = {each.record.image.digest for each in found}
    if len(digests) > 1:
        raise refuse(name, f"has records of {len(digests)} images", "name one record: CRATE/records/JOB.json")
    pin = pin_of(found[0].record)
    if pin is None:
        raise RecordError(f"{name}: the record does not have the pin of its image; name the image by its digest")
    return pin


def is_reference(session: Session, name: str) -> bool:
    """Whether a word names an image: it has a `/`, an `@`, or a `:` that is none of a job's."""
    before, colon, _ = name.partition(":")
    return (
        "/" in name
        or "@" in name
        or bool(colon and not JOB.fullmatch(name) and not session.tracker.sweeps.named(before))
    )

"""Records -> PROV-JSON: entities, activities and agents of W3C PROV. Pure.

Names: ``uuid:ID`` is a record, ``uuid:ID#out/model.h5`` what it names, ``sha256:…`` an image by its digest,
``tree:…`` code by its Git tree. So two documents agree on what is the same.
Sources: W3C PROV-DM (2013), PROV-JSON (W3C member submission, 2013), 5; RFC 7565 (acct).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tfslurm.document.visible import visible_json
from tfslurm.export.in_toto import HOME, RECORD, as_read, git_uri, known
from tfslurm.record import Attempt, Record
from tfslurm.record.model import Input
from tfslurm.run_folder import paths

PREFIXES = {
    "acct": "acct:",
    "pypi": "https://pypi.org/project/",
    "sha256": "hash://sha256/",
    "tfslurm": f"{HOME}/#",
    "tree": "swh:1:dir:",
    "uuid": "urn:uuid:",
}
TFSLURM = "pypi:tfslurm"
Relations = dict[str, dict[str, dict[str, Any]]]


def prov_json(records: Sequence[Record], version: str) -> str:
    """The document of a record; of several, one bundle for each, which may derive from one another's outputs.

    ``version`` is tfslurm's own.
    """
    records = [as_read(record) for record in records]
    ids = {f"{record.job.cluster}:{record.job.job_id}": name(record) for record in records}
    if len(records) == 1:
        document: dict[str, Any] = {"prefix": PREFIXES, **described(records[0], ids, version)}
    else:
        bundles = {name(record): {"prefix": PREFIXES, **described(record, ids, version)} for record in records}
        kinds = {each: {"prov:type": qualified("prov:Bundle")} for each in bundles}
        document = {"prefix": PREFIXES, "entity": kinds, "bundle": bundles}
    return visible_json(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def name(record: Record, part: str = "") -> str:
    """The name of a record, or of a part of it."""
    return f"uuid:{record.record_id.removeprefix('urn:uuid:')}" + (f"#{quote(part, safe='/~+._-@:')}" if part else "")


def qualified(value: str) -> dict[str, str]:
    """A name as a value."""
    return {"$": value, "type": "xsd:QName"}


def described(record: Record, ids: Mapping[str, str], version: str) -> Relations:
    """Everything that PROV says of one record. ``ids`` are jobs of the same document."""
    made: Relations = {}
    activities = [*add_activities(made, record)]
    add_agents(made, record, activities, version)
    inputs = [*add_inputs(made, record, ids)]
    used = [*add_origins(made, record), *(entity for entity, _ in inputs)]
    for activity in activities:
        for entity in used:
            relate(made, "used", **{"prov:activity": activity, "prov:entity": entity})
    add_generated(made, record, activities)
    add_origin(made, record)
    for source in (entity for entity, is_of_run in inputs if is_of_run):
        relate(made, "wasDerivedFrom", **{"prov:generatedEntity": name(record, "out"), "prov:usedEntity": source})
    return made


def relate(made: Relations, relation: str, **ends: str) -> None:
    """One more relation; it has no name of its own."""
    kept = made.setdefault(relation, {})
    kept[f"_:{relation}{len(kept) + 1}"] = dict(ends)


def add(made: Relations, kind: str, entity: str, **values: Any) -> str:
    """An entity, activity or agent; what is not known of it is left out."""
    made.setdefault(kind, {})[entity] = known(values)
    return entity


def add_activities(made: Relations, record: Record) -> Iterator[str]:
    """One for each attempt, later ones informed by those before; one for a job that had none."""
    before = ""
    for attempt in record.attempts:
        now = add(made, "activity", name(record, paths.attempt(attempt.index)), **attempt_facts(record, attempt))
        if before:
            relate(made, "wasInformedBy", **{"prov:informed": now, "prov:informant": before})
        before = now
        yield now
    if not record.attempts:
        yield add(made, "activity", name(record, "job"), **job_facts(record))


def attempt_facts(record: Record, attempt: Attempt) -> dict[str, Any]:
    """What is said of an attempt: when, where, on which GPUs and driver, and how it ended."""
    gpus = [gpu for task in attempt.tasks for gpu in task.gpus or ()]
    return {
        **job_facts(record),
        "prov:startTime": attempt.started_at,
        "prov:endTime": attempt.ended_at,
        "tfslurm:state": attempt.state,
        "tfslurm:exitCode": attempt.exit_code,
        "tfslurm:endedBy": attempt.ended_by,
        "tfslurm:node": listed(task.node for task in attempt.tasks),
        "tfslurm:driver": listed(task.driver_version for task in attempt.tasks),
        "tfslurm:gpu": listed(gpu.uuid for gpu in gpus),
        "tfslurm:gpuModel": listed(gpu.name for gpu in gpus),
        "tfslurm:cpuModel": listed(task.cpu_model for task in attempt.tasks),
    }


def job_facts(record: Record) -> dict[str, Any]:
    """What is said of the job."""
    job = record.job
    return {
        "prov:label": f"{job.cluster}:{job.job_id}",
        "prov:type": qualified("tfslurm:Run"),
        "prov:startTime": job.started_at,
        "prov:endTime": job.ended_at,
        "tfslurm:experiment": record.experiment.name,
        "tfslurm:state": job.state,
        "tfslurm:exitCode": job.exit_code,
        "tfslurm:command": json.dumps([*record.experiment.command], ensure_ascii=False),
        "tfslurm:parameters": json.dumps({**record.experiment.parameters}, ensure_ascii=False, allow_nan=False),
        "tfslurm:partition": job.partition,
    }


def listed(values: Iterable[str | None]) -> Any:
    """Several values of one key, each once; None where there is none."""
    found = [*dict.fromkeys(value for value in values if value)]
    return found if len(found) > 1 else found[0] if found else None


def add_agents(made: Relations, record: Record, activities: Sequence[str], version: str) -> None:
    """The user, and tfslurm on the user's behalf; the experiment's text is the plan that both followed."""
    job = record.job
    user = f"acct:{quote(job.user, safe='')}@{quote(job.cluster, safe='')}"
    add(made, "agent", user, **{"prov:type": qualified("prov:Person"), "prov:label": job.user})
    facts = {"prov:type": qualified("prov:SoftwareAgent"), "prov:label": "tfslurm", "tfslurm:version": version}
    add(made, "agent", TFSLURM, **facts)
    relate(made, "actedOnBehalfOf", **{"prov:delegate": TFSLURM, "prov:responsible": user})
    plan = {}
    if record.experiment.spec_sha256:
        spec = name(record, "exp.yaml")
        about = {"prov:type": qualified("prov:Plan"), "tfslurm:sha256": record.experiment.spec_sha256}
        plan = {"prov:plan": add(made, "entity", spec, **about)}
    for activity in activities:
        relate(made, "wasAssociatedWith", **{"prov:activity": activity, "prov:agent": user, **plan})
        relate(made, "wasAssociatedWith", **{"prov:activity": activity, "prov:agent": TFSLURM})


def add_origins(made: Relations, record: Record) -> Iterator[str]:
    """The image and the code."""
    image, code = record.image, record.code
    yield add(
        made,
        "entity",
        f"sha256:{image.digest.removeprefix('sha256:')}",
        **{
            "prov:type": qualified("tfslurm:ContainerImage"),
            "prov:label": image.reference,
            "tfslurm:digestKind": image.digest_kind,
            "tfslurm:platform": image.platform,
        },
    )
    if code:
        facts: dict[str, Any] = {
            "prov:type": qualified("tfslurm:Code"),
            "tfslurm:commit": code.commit,
            "tfslurm:changed": code.dirty,
        }
        yield add(
            made, "entity", f"tree:{code.tree}", **facts, **{"prov:atLocation": git_uri(code.remote or "") or None}
        )


def add_origin(made: Relations, record: Record) -> None:
    """The record that a rerun's own was derived from, and the settings that make it a variation."""
    origin = record.derived_from
    if origin is None or origin.record_id is None:
        return
    facts = {"prov:type": qualified("tfslurm:Record"), "tfslurm:sha256": origin.record_sha256}
    about = f"uuid:{origin.record_id.removeprefix('urn:uuid:')}"
    entity = add(made, "entity", about, **{"prov:label": origin.job}, **facts)
    changed = {"tfslurm:set": json.dumps({**origin.set}, ensure_ascii=False)} if origin.set else {}
    relate(made, "wasDerivedFrom", **{"prov:generatedEntity": name(record), "prov:usedEntity": entity}, **changed)


def add_inputs(made: Relations, record: Record, ids: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    """The inputs, and whether each is the outputs of a run."""
    runs = {mount.get("run") for mount in record.experiment.mounts} - {None}
    for place, each in enumerate(record.inputs or ()):
        is_of_run = each.name in runs
        entity = input_name(record, place, each, ids if is_of_run else {})
        yield add(made, "entity", entity, **input_facts(each)), is_of_run


def input_name(record: Record, place: int, each: Input, ids: Mapping[str, str]) -> str:
    """An input: the outputs of another run by that run's name, if its record is in the document."""
    run, slash, path = (each.name or "").removeprefix("run:").partition("/")
    if run in ids and slash:
        return f"{ids[run]}#{quote(path, safe='/~+._-@:')}"
    return name(record, f"inputs/{place}")


def input_facts(each: Input) -> dict[str, Any]:
    """What is said of an input."""
    return {
        "prov:type": qualified("prov:Collection" if each.sha256 is None else "tfslurm:File"),
        "prov:label": each.name or each.path,
        "prov:atLocation": each.path,
        "tfslurm:bytes": each.bytes,
        "tfslurm:sha256": each.sha256,
        "tfslurm:treeSha256": each.tree_sha256,
        "tfslurm:hashed": each.hashed,
    }


def add_generated(made: Relations, record: Record, activities: Sequence[str]) -> None:
    """The outputs, by the last attempt, the logs of each, and the record."""
    last = activities[-1]
    folder = add(made, "entity", name(record, "out"), **{"prov:type": qualified("prov:Collection")})
    generated = [(folder, last)]
    for output in record.experiment.outputs or ():
        facts = {"prov:label": output.path, "tfslurm:sha256": output.sha256, "tfslurm:bytes": output.bytes}
        generated.append((add(made, "entity", name(record, f"out/{output.path}"), **facts), last))
        relate(made, "hadMember", **{"prov:collection": folder, "prov:entity": generated[-1][0]})
    for attempt, activity in zip(record.attempts, activities, strict=False):
        for log in attempt.logs or ():
            facts = {"prov:label": log.name, "tfslurm:sha256": log.sha256, "tfslurm:bytes": log.bytes}
            generated.append(
                (add(made, "entity", name(record, f"{paths.attempt(attempt.index)}/{log.name}"), **facts), activity)
            )
    whole = {"prov:label": RECORD, "prov:type": qualified("tfslurm:Record")}
    about = add(made, "entity", name(record), **whole, **{"tfslurm:sha256": record.integrity.record_sha256})
    relate(made, "wasAttributedTo", **{"prov:entity": about, "prov:agent": TFSLURM})
    for entity, activity in generated:
        relate(made, "wasGeneratedBy", **{"prov:entity": entity, "prov:activity": activity})

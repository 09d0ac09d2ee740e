"""Records -> in-toto Statements, version 1, with the predicate SLSA provenance, version 1. Pure.

A run is told as what built its outputs: subject are the outputs, dependencies the image, the code and the inputs.
A Statement is not signed: a program that makes DSSE envelopes signs it.
Sources: github.com/in-toto/attestation, spec/v1 (statement, resource_descriptor, digest_set, bundle);
slsa.dev/spec/v1.2/build-provenance; github.com/package-url/purl-spec, types/oci.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from tfslurm.document.visible import visible_json
from tfslurm.record import Record, record_from_json, record_json
from tfslurm.record.model import Code, Image, Input
from tfslurm.run_folder import paths

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
HOME = "https://pypi.org/project/tfslurm"
RUN = f"{HOME}/#run/v1"
"The type of the build: its parameters are keys of a record, with the meaning that docs/record.md gives them."
RECORD = "record.canonical.json"


def in_toto_json(records: Sequence[Record], version: str) -> str:
    """The Statement of a record; of several, one on each line, as in-toto keeps them in one file (a bundle).

    ``version`` is tfslurm's own.
    """
    made = [statement(as_read(record), version) for record in records]
    if len(made) == 1:
        return visible_json(json.dumps(made[0], indent=2, ensure_ascii=False, allow_nan=False)) + "\n"
    return "".join(visible_json(json.dumps(each, ensure_ascii=False, allow_nan=False)) + "\n" for each in made)


def as_read(record: Record) -> Record:
    """The record as its JSON has it: every text is valid UTF-8."""
    return record_from_json(record_json(record))


def statement(record: Record, version: str) -> dict[str, Any]:
    """One Statement. A job without outputs has its record as the subject, because there must be one."""
    outputs = [described(each.path, sha=each.sha256) for each in record.experiment.outputs or ()]
    return {
        "_type": STATEMENT,
        "subject": outputs or [described(RECORD, sha=record.integrity.record_sha256)],
        "predicateType": PREDICATE,
        "predicate": {"buildDefinition": definition(record), "runDetails": details(record, version)},
    }


def definition(record: Record) -> dict[str, Any]:
    """What was asked, by the user and by the cluster, and what it was made of."""
    asked, experiment = record.asked, record.experiment
    external = {
        "name": experiment.name,
        "image": record.image.reference,
        "command": [*experiment.command],
        "parameters": {**experiment.parameters},
        "env": {**experiment.env},
        "mounts": [dict(mount) for mount in experiment.mounts],
        "outputs": asked.outputs if asked else None,
    }
    internal = {
        "cluster": record.job.cluster,
        "partition": record.job.partition,
        "nodes": [*record.job.nodes],
        "resources": {**asked.resources} if asked else None,
        "options": {**asked.options} if asked else None,
        "network": asked.network if asked else None,
        "gpus": [[gpu.uuid for gpu in task.gpus or ()] for attempt in record.attempts[-1:] for task in attempt.tasks],
    }
    return {
        "buildType": RUN,
        "externalParameters": known(external),
        "internalParameters": known(internal),
        "resolvedDependencies": [*dependencies(record)],
    }


def details(record: Record, version: str) -> dict[str, Any]:
    """The run: when, by which programs, and what it left beside its outputs.

    ``tfslurm_…`` are keys of our own, which the predicate allows in this form: a failed job has outputs too.
    """
    job = record.job
    engines = {task.engine.name: task.engine.version for each in record.attempts for task in each.tasks if task.engine}
    drivers = {task.driver_version for each in record.attempts[-1:] for task in each.tasks if task.driver_version}
    nvidia = {"nvidia-driver": ", ".join(sorted(drivers))} if drivers else {}
    ending = {"tfslurm_state": job.state, "tfslurm_exitCode": job.exit_code, "tfslurm_recordId": record.record_id}
    return {
        "builder": {
            "id": f"{HOME}/{version}/",
            "version": {"tfslurm": version, **known(engines), **nvidia},
        },
        "metadata": known(
            {
                "invocationId": f"{job.cluster}:{job.job_id}",
                "startedOn": job.started_at,
                "finishedOn": job.ended_at,
                **ending,
            }
        ),
        "byproducts": [*byproducts(record)],
    }


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without those that are not known."""
    return {name: value for name, value in values.items() if value is not None}


def described(name: str, *, uri: str = "", sha: str | None = None, **more: Any) -> dict[str, Any]:
    """A ResourceDescriptor; ``more`` are annotations."""
    digest = more.pop("digest", {}) | ({"sha256": sha} if sha and re.fullmatch("[0-9a-f]{64}", sha) else {})
    annotations = known(more)
    return {
        "name": name,
        **({"uri": uri} if uri else {}),
        **({"digest": digest} if digest else {}),
        **({"annotations": annotations} if annotations else {}),
    }


def dependencies(record: Record) -> Iterator[dict[str, Any]]:
    """Image, code, inputs, and the texts of the experiment, of its lock file and of the script."""
    yield image(record.image)
    if record.code:
        yield code(record.code)
    yield from (mounted(each) for each in record.inputs or ())
    asked = record.asked
    if record.experiment.spec_sha256:
        yield described("exp.yaml", sha=record.experiment.spec_sha256)
    if asked:
        yield described("exp.lock.yaml", sha=sha256(asked.lock.encode("utf-8", "surrogateescape")).hexdigest())
    if asked and asked.build:
        yield described("Dockerfile", sha=asked.build.dockerfile_sha256)
        yield described(
            "base image", sha=asked.build.base.digest.removeprefix("sha256:"), reference=asked.build.base.reference
        )
    if record.job.script_sha256:
        yield described(paths.JOB_SCRIPT, sha=record.job.script_sha256)


def image(about: Image) -> dict[str, Any]:
    """The image by its digest, and by a package URL where a registry has it."""
    in_registry = about.digest_kind != "config"
    name = about.repository.rpartition("/")[2].lower()
    where = quote(f"{about.registry}/{about.repository}", safe="/")
    tag = f"&tag={quote(about.tag, safe='')}" if about.tag else ""
    uri = f"pkg:oci/{quote(name, safe='')}@{quote(about.digest, safe='')}?repository_url={where}{tag}"
    return described(
        "image",
        uri=uri if in_registry else "",
        sha=about.digest.removeprefix("sha256:"),
        reference=about.reference,
        digestKind=about.digest_kind,
        platform=about.platform,
        pinnedOn=about.pinned_at,
    )


def code(about: Code) -> dict[str, Any]:
    """The code by its tree, which is what ran; the commit is a digest of it only where nothing was changed."""
    clean = about.commit is not None and about.dirty is False
    origin = git_uri(about.remote) if about.remote else ""
    return described(
        "code",
        uri=f"{origin}@{about.commit}" if origin and clean else origin,
        digest={"gitTree": about.tree, **({"gitCommit": about.commit} if clean else {})},
        commit=None if clean else about.commit,
        changed=about.dirty,
        branch=about.branch,
        swhid=f"swh:1:dir:{about.tree}" if len(about.tree) == 40 else None,
    )


def git_uri(remote: str) -> str:
    """A remote as SPDX writes it: git+https://…, git+ssh://… for ``git@host:x``; '' for a path, and what is none."""
    if found := re.fullmatch(r"(?:([\w.-]+)@)?([\w.-]+):(?!//)(\S+)", remote):
        user = f"{found[1]}@" if found[1] else ""
        return f"git+ssh://{user}{found[2]}/{quote(found[3].lstrip('/'), safe='/~+._-')}"
    if re.fullmatch(r"(?:https?|ssh|git)://[^\s\"<>\\^`{|}]+", remote):
        return remote if remote.startswith("git:") else f"git+{remote}"
    return ""


def mounted(about: Input) -> dict[str, Any]:
    """A mount; without a digest where none was made, and then with the reason."""
    tree = {"tfslurmTree": about.tree_sha256} if about.tree_sha256 else {}
    return described(
        about.name or about.path,
        uri="file://" + quote(about.path, safe="/") if about.path.startswith("/") else "",
        sha=about.sha256,
        digest=tree,
        bytes=about.bytes,
        hashed=about.hashed,
        why=about.why or None,
    )


def byproducts(record: Record) -> Iterator[dict[str, Any]]:
    """The record in its canonical form, and the logs of each attempt."""
    if record.experiment.outputs:
        yield described(RECORD, uri=record.record_id, sha=record.integrity.record_sha256)
    for attempt in record.attempts:
        for log in attempt.logs or ():
            yield described(f"{paths.attempt(attempt.index)}/{log.name}", sha=log.sha256, bytes=log.bytes)

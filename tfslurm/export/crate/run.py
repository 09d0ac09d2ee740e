"""A run of a job as a CreateAction: one for each attempt, with its parameters, program, image, node and results."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import islice

from tfslurm.export.crate.contents import LOCK, PACKAGES, SPEC, Crate, Run
from tfslurm.export.crate.entities import Entity, Graph, mark, moment, one_or_all, uri
from tfslurm.export.crate.machine import places, usage
from tfslurm.export.crate.software import image, program
from tfslurm.record.crate_metadata import ABSENT
from tfslurm.record.model import Attempt, Input
from tfslurm.run_folder import paths
from tfslurm.slurm.states import STATES

COMPLETED, FAILED = "http://schema.org/CompletedActionStatus", "http://schema.org/FailedActionStatus"
URN = re.compile(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LONGEST = 2000
"Characters of a command in a description; the record has it whole."


def actions(graph: Graph, run: Run, crate: Crate, agent: Entity) -> list[Entity]:
    """An action for each attempt of a job; none where it never began."""
    return [action(graph, run, attempt, crate, agent) for attempt in run.record.attempts]


def action(graph: Graph, run: Run, attempt: Attempt, crate: Crate, agent: Entity) -> Entity:
    """One attempt. The last one has the outputs, and the id of the record."""
    record = run.record
    is_last = attempt is record.attempts[-1]
    which = f", attempt {attempt.index} of {len(record.attempts)}" if len(record.attempts) > 1 else ""
    status, error = outcome(run, attempt)
    own = record.record_id if URN.fullmatch(record.record_id) else f"urn:tfslurm:{mark(record.record_id)}"
    results = [*(of_outputs(graph, run, crate) if is_last else ()), *of_logs(run, attempt, crate)]
    values = (used_by(graph, run, crate), results, environment(graph, run), usage(graph, record, attempt))
    objects, results, variables, uses = map(list, values)
    places_of = places(graph, attempt)
    return graph.add(
        {
            "@id": own if is_last else f"{own}#attempt-{attempt.index}",
            "@type": "CreateAction",
            "name": f"{record.experiment.name}: job {run.key}{which}",
            "description": shlex.join(record.experiment.command)[:LONGEST] or "the command of the image",
            "instrument": program(graph, run, crate),
            "agent": agent,
            "startTime": moment(attempt.started_at),
            "endTime": moment(attempt.ended_at),
            "actionStatus": status,
            "error": error,
            "object": one_or_all(objects) if objects else None,
            "result": one_or_all(results or [{"@id": uri(run.file)}]),
            "containerImage": image(graph, record, crate.version),
            "identifier": graph.value("job", "job id", run.key),
            "location": one_or_all(places_of) if places_of else None,
            "environment": one_or_all(variables) if variables else None,
            "resourceUsage": one_or_all(uses) if uses else None,
            "subjectOf": one_or_all(about(run, attempt, crate)),
        }
    )


def outcome(run: Run, attempt: Attempt) -> tuple[str | None, str | None]:
    """Whether it completed, and why not; nothing is said of one that had not ended."""
    state = attempt.state or ""
    is_last = attempt is run.record.attempts[-1]
    if state == "COMPLETED":
        return COMPLETED, None
    if is_last and not STATES.get(state):
        return None, None
    code = f"exit code {attempt.exit_code}" if attempt.exit_code is not None else ""
    said = ": ".join(filter(None, (state, attempt.reason.strip())))
    return FAILED, ", ".join(filter(None, (said, code))) or "it ended without a word"


def of_outputs(graph: Graph, run: Run, crate: Crate) -> Iterator[Entity]:
    """The outputs: files of the crate, and by their hash those that are not in it."""
    yield from ({"@id": uri(each.path)} for each in crate.below(run.outputs))
    for each in crate.absent[run.outputs]:
        why = f"{ABSENT}{each.why}"
        yield graph.value("absent", each.path, f"sha256:{each.sha256}", description=why)


def of_logs(run: Run, attempt: Attempt, crate: Crate) -> Iterator[Entity]:
    """What it printed."""
    folder = run.attempt(attempt.index)
    for each in crate.below(folder):
        if paths.LOG.fullmatch(each.path.removeprefix(folder)):
            yield {"@id": uri(each.path)}


def used_by(graph: Graph, run: Run, crate: Crate) -> Iterator[Entity]:
    """What went in: the script and the experiment's files, the parameters, and the inputs by their hash."""
    names = [run.base + name for name in (paths.JOB_SCRIPT, SPEC, LOCK, PACKAGES)]
    yield from ({"@id": uri(name)} for name in names if name in crate.by_path)
    for name, value in run.record.experiment.parameters.items():
        yield graph.value("parameter", name, value)
    for package in run.record.environment.layer_packages or ():
        yield graph.value("input", package.name, package.version, description="A package that is added to the image.")
    for each in run.record.inputs or ():
        yield graph.value("input", each.name or each.path, identity(each), description="Mounted; not in this crate.")


def identity(each: Input) -> str:
    """The hash of an input, else why there is none."""
    if each.sha256 or each.tree_sha256:
        return f"sha256:{each.sha256}" if each.sha256 else f"sha256 of its list of files: {each.tree_sha256}"
    return f"not hashed: {each.why}" if each.why else "not hashed"


def environment(graph: Graph, run: Run) -> Iterator[Entity]:
    """The variables that the experiment sets; secrets are not among them."""
    yield from (graph.value("variable", name, value) for name, value in run.record.experiment.env.items())


def about(run: Run, attempt: Attempt, crate: Crate) -> list[Entity]:
    """The record, and the folder of what was observed."""
    folder = run.attempt(attempt.index)
    return [{"@id": uri(run.file)}, *({"@id": uri(folder)} for _ in islice(crate.below(folder), 1))]

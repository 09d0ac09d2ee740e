"""What the metadata of a crate state of its runs, beside what the records in it would have tfslurm state. Pure.

The records are written into a graph as they were when the crate was made. Only names and values are compared, so that
another version of tfslurm may word, order and name its entities otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tfslurm.export.citation.settings import Authorship
from tfslurm.export.crate.contents import VERSIONS, Crate, CrateFile, LeftOut, Run
from tfslurm.export.crate.entities import Entity, Graph
from tfslurm.export.crate.graph import agent, date
from tfslurm.export.crate.people import anonymous
from tfslurm.export.crate.run import actions
from tfslurm.record.crate_metadata import Metadata, is_a, references, text
from tfslurm.record.crate_verification import few
from tfslurm.record.model import plain
from tfslurm.record.schema import SCHEMA
from tfslurm.record.verification import Part, is_anonymous

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
VALUES = {
    "object": "parameter or input",
    "environment": "variable",
    "identifier": "identifier",
    "resourceUsage": "use",
    "result": "result",
}
"Keys of a run that refer to values, and what each value is."
WHOLE = frozenset(("run", "agent", "program", "node", "parameter or input", "variable", "identifier", "result"))
"What a record knows all of: anything more was put there by somebody else."
MOST = 80
"Characters of a value that are shown."


class Statement(NamedTuple):
    """One thing that is stated of a run: ``parameter or input``, its name, its value as JSON."""

    kind: str
    name: str
    value: str


def statement_parts(found: Metadata, runs: Sequence[Run], files: Iterable[CrateFile]) -> Iterator[Part]:
    """What the metadata state of the runs, and who they say that made it, which no record knows."""
    crate = as_it_was_made(found, runs, files)
    graph = Graph()
    made = [each for run in crate.runs for each in actions(graph, run, crate, who_ran(graph, run))]
    known: Mapping[str, Any] = plain(graph.entities, SCHEMA)
    wrong: list[Statement] = []
    strange: list[Statement] = []
    held = 0
    for ref in made:
        if ref["@id"] not in found.entities:
            continue  # that it is missing is a part of its own
        ours, said = (set(statements_of(entities, ref["@id"])) for entities in (known, found.entities))
        names = {(each.kind, each.name) for each in ours}
        held += len(ours & said)
        for each in sorted(said - ours):
            (wrong if each.kind in WHOLE or (each.kind, each.name) in names else strange).append(each)
    yield from few([part_of(each, "changed", "the record says otherwise") for each in wrong])
    yield from few([part_of(each, "not verifiable", "this version of tfslurm knows no such fact") for each in strange])
    yield from root_parts(found, crate)
    if not wrong:
        yield Part("statements", "unchanged", f"{held} facts are as the records say")


def as_it_was_made(found: Metadata, runs: Sequence[Run], files: Iterable[CrateFile]) -> Crate:
    """The crate that these records and files would have been written as."""
    listed = tuple(files)
    there = {each.path for each in listed}
    lost = tuple(
        LeftOut(path, found.absent.get(path, ""), each.sha256)
        for run in runs
        for each in run.record.experiment.outputs or ()
        if (path := run.outputs + each.path) not in there
    )
    version = found.version if found.version in VERSIONS else VERSIONS[0]
    hidden = any(is_anonymous(run.record) for run in runs)
    return Crate(found.name, tuple(runs), listed, lost, Authorship(), version, hidden)


def who_ran(graph: Graph, run: Run) -> Entity:
    """The agent of a run."""
    return anonymous(graph) if is_anonymous(run.record) else agent(graph, run.record)


def part_of(each: Statement, status: Any, why: str) -> Part:
    """A statement that does not hold."""
    return Part(f"statement {each.kind}", status, f"{each.name[:MOST]} is {each.value[:MOST]} in the metadata; {why}")


def statements_of(entities: Mapping[str, Any], run: str) -> Iterator[Statement]:
    """What a graph states of one run."""
    action = entities[run]
    for key in ("name", "description", "error"):
        yield from said("run", key, action.get(key))
    for key, kind in VALUES.items():
        for each in entities_of(entities, action, key):
            if is_a(each, "PropertyValue"):
                yield Statement(kind, text(each, "name"), json_of([each.get("value"), each.get("unitCode")]))
    for each in entities_of(entities, action, "agent"):
        yield from said("agent", "name", each.get("name"))
    for each in entities_of(entities, action, "instrument"):
        for key in ("name", "version", "url", "codeRepository"):
            yield from said("program", key, each.get(key))
    for place in entities_of(entities, action, "location"):
        yield from said("node", "name", place.get("name"))
        yield from properties(entities, place, f"facts of {text(place, 'name')}")
    for image in entities_of(entities, action, "containerImage"):
        yield from properties(entities, image, "software in the image")


def properties(entities: Mapping[str, Any], entity: Mapping[str, Any], kind: str) -> Iterator[Statement]:
    """The values that an entity has under additionalProperty."""
    for each in entities_of(entities, entity, "additionalProperty"):
        yield Statement(kind, text(each, "name"), json_of(each.get("value")))


def said(kind: str, name: str, value: object) -> Iterator[Statement]:
    """A value under a key; nothing where there is none."""
    if value is not None:
        yield Statement(kind, name, json_of(value))


def entities_of(entities: Mapping[str, Any], entity: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    """The entities that a key refers to, as far as they are in the graph."""
    yield from (entities[name] for name in references(entity, key) if name in entities)


def json_of(value: object) -> str:
    """A value as one text; a whole number is the same with and without a point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def root_parts(found: Metadata, crate: Crate) -> Iterator[Part]:
    """The crate as a whole: its day, the images that its texts name, and its people."""
    root = found.entities.get("./", {})
    day, known = text(root, "datePublished"), date(crate)
    if day and known and day != known:
        yield Part("statement date", "changed", f"it is of {day[:MOST]}, and the last run ended on {known}")
    digests = {run.record.image.digest for run in crate.runs}
    for each in DIGEST.findall(f"{found.name}\n{found.description}"):
        if each not in digests:
            yield Part("statement image", "changed", f"its description names {each}, which no record has")
    names = [text(each, "name") for key in ("author", "publisher") for each in entities_of(found.entities, root, key)]
    if crate.anonymous or not any(names):
        return
    shown = ", ".join(dict.fromkeys(name[:MOST] for name in names if name))
    why = "no record knows whose it is, and under which license"
    yield Part("people", "not verifiable", f"{shown}; {found.licence[:MOST] or 'no license'}: {why}")

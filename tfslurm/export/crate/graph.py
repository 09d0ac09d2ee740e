"""The metadata of a crate: its files, runs, people and licence as JSON-LD."""

from __future__ import annotations

import json
import re

from tfslurm.document.visible import visible_json
from tfslurm.export.crate import contents, people
from tfslurm.export.crate.contents import Crate, CrateFile
from tfslurm.export.crate.entities import Entity, Graph, format_of, local, one_or_all, uri
from tfslurm.export.crate.run import actions
from tfslurm.record.model import Record, plain
from tfslurm.record.schema import SCHEMA
from tfslurm.run_folder import paths

PROFILES = {"1.1": "0.5", "1.3": "0.6"}
"RO-Crate -> Process Run Crate. Source: ResearchObject/workflow-run-crate, docs/profiles/0.6/changelog.md."
PROFILE = "https://w3id.org/ro/wfrun/process/"
ABOUT = {
    contents.RECORD: "The record of the job: what ran, where, on what, with what result, and how each fact is known.",
    contents.CANONICAL: "The bytes of the record of which record_sha256 is the hash (RFC 8785).",
    contents.SIGNATURE: "A signature by ssh-keygen over record.canonical.json.",
    contents.SWEEP: "The sweep: its axes, the jobs that it became, and each point with its job.",
    contents.SPEC: "The experiment as it was asked for.",
    contents.LOCK: "The pin of the container image.",
    contents.PACKAGES: "The Python packages that are added to the image, each with its sha256, as pip reads them.",
    contents.REPRODUCING: "How to check, run again and compare what is in this crate.",
    contents.SUMS: "The sha256 of every other file of this crate.",
    paths.JOB_SCRIPT: "The batch script of the job.",
    paths.PLAN: "The plan that the script was made from.",
    paths.POINTS: "The points of the sweep, one on each line.",
}
ATTEMPT = "attempt-[0-9]{1,6}"
BASE = re.compile(rf"{contents.RUNS}[0-9a-f]+/")
OUTPUT = re.compile(rf"[^/]+/{paths.OUTPUTS}/(.+)", re.DOTALL)
LOG = re.compile(rf"[^/]+/{ATTEMPT}/(?P<name>{paths.LOG.pattern})")
SCAN = re.compile(r"(scan|sbom)-([0-9a-f]{16})-[0-9a-f]{16}(?:\.cdx)?\.json")
SCANS = {
    "scan": "What trivy knew against the container image when the job was submitted.",
    "sbom": "The packages in the container image, as CycloneDX.",
}
ARCHIVE = re.compile(rf"image-([0-9a-f]{{16}}){re.escape(contents.IMAGE)}")
FOLDERS = (
    (
        re.compile(rf"{contents.CODE}[^/]+/"),
        "The code as it was on disk when the job was submitted, as Git's tree of this name.",
    ),
    (re.compile(rf"[^/]+/{ATTEMPT}/"), "What was observed on the nodes: one file for each command, and the end."),
    (re.compile(contents.CANONICALS), "The bytes of each record of which its record_sha256 is the hash (RFC 8785)."),
)


def metadata(crate: Crate) -> str:
    """The text of ro-crate-metadata.json; what would act on a terminal is escaped in it."""
    graph = Graph()
    profile = PROFILE + PROFILES[crate.version]
    about = {"conformsTo": {"@id": f"https://w3id.org/ro/crate/{crate.version}"}, "about": {"@id": "./"}}
    graph.add({"@id": contents.METADATA, "@type": "CreativeWork", **about})
    graph.entities["./"] = {}  # it stands second, and is made last
    named = {"name": "Process Run Crate", "version": PROFILES[crate.version]}
    kind = ["CreativeWork", "Profile"] if crate.version != "1.1" else "CreativeWork"
    graph.add({"@id": profile, "@type": kind, **named})
    root = whole(graph, crate) | {"conformsTo": {"@id": profile}}
    graph.entities["./"] = {key: value for key, value in root.items() if value}
    contexts = [f"https://w3id.org/ro/crate/{crate.version}/context", "https://w3id.org/ro/terms/workflow-run/context"]
    document = {"@context": contexts, "@graph": [*graph.entities.values()]}
    return visible_json(json.dumps(plain(document, SCHEMA), indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def whole(graph: Graph, crate: Crate) -> Entity:
    """The crate itself."""
    parts = data(graph, crate)
    add_origins(graph, crate)
    nobody = people.anonymous(graph) if crate.anonymous else None
    authors = [nobody] if nobody else people.authors(graph, crate.by)
    made = [action for run in crate.runs for action in actions(graph, run, crate, nobody or agent(graph, run.record))]
    publisher = nobody or people.publisher(graph, crate.by)
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": crate.title,
        "description": described(crate),
        "datePublished": date(crate),
        "license": people.licence(graph, crate.by.licence),
        "author": one_or_all(authors),
        "publisher": publisher,
        "hasPart": one_or_all(parts),
        "mentions": one_or_all(made) if made else None,
    }


def add_origins(graph: Graph, crate: Crate) -> None:
    """Of each rerun's record the one that it is based on, which is in another crate."""
    for run in crate.runs:
        origin = run.record.derived_from
        if origin and origin.record_id and (file := graph.entities.get(uri(run.file))):
            about = {
                "name": f"The record of {origin.job}, the run that this one repeats",
                "sha256": origin.record_sha256,
            }
            file["isBasedOn"] = graph.add({"@id": origin.record_id, "@type": "CreativeWork", **about})


def agent(graph: Graph, record: Record) -> Entity:
    """Who ran the job: its user, of whom no more was observed."""
    job = record.job
    described = f"The user of the jobs on the cluster {job.cluster}."
    return graph.add(
        {
            "@id": local("user", f"{job.cluster}-{job.user}"),
            "@type": "Person",
            "name": job.user,
            "description": described,
        }
    )


def date(crate: Crate) -> str:
    """The day of the last run's end: an export of the same records says the same on any day."""
    ends = [run.record.job.ended_at or run.record.job.started_at or "" for run in crate.runs]
    pinned = [run.record.image.pinned_at or "" for run in crate.runs]
    return (max(ends) or max(pinned))[:10]


def described(crate: Crate) -> str:
    """What the crate is, in sentences, and first of all what it lacks."""
    first = crate.runs[0].record
    count = len(crate.runs)
    what = "One job that" if count == 1 else f"{count} jobs that"
    lacking = f"{len(crate.left_out)} files that were looked for are not in it: REPRODUCING.md names them."
    return " ".join(
        [
            f"{what} ran in the container image {first.image.reference} ({first.image.digest}).",
            *crate.notes,
            *([lacking] if crate.left_out else []),
        ]
    )


def data(graph: Graph, crate: Crate) -> list[Entity]:
    """The files and folders of the crate; of code and observations the folder stands for its files."""
    refs: dict[str, Entity] = {}
    for each in crate.by_path.values():
        folder, what = folder_of(each.path)
        if folder and folder not in refs:
            described = {"name": folder, "description": what}
            refs[folder] = graph.add({"@id": uri(folder), "@type": "Dataset", **described})
        elif not folder:
            refs[each.path] = graph.add(entity(each))
    sums = {"name": contents.SUMS, "description": ABOUT[contents.SUMS], "encodingFormat": "text/plain"}
    refs[contents.SUMS] = graph.add({"@id": contents.SUMS, "@type": "File", **sums})
    return [*refs.values()]


def folder_of(path: str) -> tuple[str, str]:
    """The folder that stands for a file, and what it holds; '' where the file stands for itself."""
    base = BASE.match(path)
    start = base.end() if base else 0
    rest = path[start:]
    if not LOG.fullmatch(rest):
        for pattern, what in FOLDERS:
            if found := pattern.match(rest):
                return path[: start + found.end()], what
    return "", ""


def entity(each: CrateFile) -> Entity:
    """A file."""
    base = BASE.match(each.path)
    rest = each.path[base.end() :] if base else each.path
    if output := OUTPUT.fullmatch(rest):
        name, what = output[1], "A file that the program left as a result."
    elif log := LOG.fullmatch(rest):
        name, what = log["name"], f"What the program printed on {log['name'].partition('.')[0]}."
    elif rest.startswith(contents.RECORDS):
        name, what = rest, ABOUT[contents.RECORD]
    else:
        name, what = rest, ABOUT.get(rest, "A file of the run folder.")
    about: Entity = {"name": name, "description": what, "encodingFormat": format_of(each.path)}
    if archive := ARCHIVE.fullmatch(each.path):
        what = "The container image as an OCI archive, with the very bytes that its digest names."
        about |= {"description": what, "about": {"@id": local("image", archive[1])}}
    if scan := SCAN.fullmatch(each.path):
        about |= {"description": SCANS[scan[1]], "about": {"@id": local("image", scan[2])}}
    size = {"contentSize": str(each.bytes), "sha256": each.sha256}
    return {"@id": uri(each.path), "@type": "File", **about, **size}

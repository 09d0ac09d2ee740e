"""`tfslurm plan --review`, and what every plan says of what a file could touch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfslurm.cli.console import emit, show
from tfslurm.document.tree import printable
from tfslurm.submission.prepare import Asked, Prepared
from tfslurm.submission.review import option_texts, quoted, review_of
from tfslurm.workspace.config import Known
from tfslurm.workspace.session import Session


def show_review(session: Session, asked: Asked, chosen: Sequence[Known], as_json: bool) -> None:
    """Print what the file could touch on each cluster; the image is pinned first where it never was."""
    if asked.experiment.sweep is not None:
        from tfslurm.submission.sweep_submit import swept_for

        jobs: Sequence[Prepared] = swept_for(session, asked, chosen).bases
    else:
        from tfslurm.submission.once import prepared_for

        jobs = prepared_for(session, asked, chosen)
    found = [review_of(asked, job) for job in jobs]
    if as_json:
        emit(found)
    else:
        show("\n\n".join("\n".join(lines_of(each)) for each in found))


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """The review as a person reads it."""
    yield from (f"LOOK AT  {printable(line)}" for line in found["warnings"])
    for label, texts in rows_of(found):
        for index, text in enumerate(texts or ["none"]):
            yield f"{label if not index else '':9}{printable(text)}"
    if found["template"]:
        yield from (
            f"  {number:4} | {printable(line)}" for number, line in enumerate(found["template"]["text"].split("\n"), 1)
        )


def rows_of(found: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Each thing with its lines; none where there is none."""
    job, image, code, template = found["job"], found["image"], found["code"], found["template"]
    points = f", {found['points']} points" if found["points"] else ""
    yield "file", [f"{found['file']}: {job['name']} on {job['cluster']}, as {job['user']}, below {job['root']}{points}"]
    yield "clusters", [", ".join(found["clusters"]) or "as the command line says"]
    yield "image", [f"{image['reference']} = {image['digest']} ({image['digest_kind']}, pinned {image['pinned_at']})"]
    if made := found["build"]:
        base = f"on {made['base']['reference']} = {made['base']['digest']}, by {made['builder']}"
        yield "built", [base, *made["dockerfile"].splitlines()]
    yield "asked", list(image["asked"])
    yield "packages", [f"{each['file']} (sha256 {each['sha256']})" for each in found["packages"]]
    yield "before", [repr(word) for word in image["entrypoint"]]
    yield "command", [repr(word) for word in found["command"]]
    yield "values", [f"{name}={value!r}" for name, value in found["parameters"].items()]
    yield "sweep", [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in (found["sweep"] or {}).items()]
    yield "text", [f"run as a program: {text!r}" for text in found["program_texts"]]
    yield "env", [f"{name}={value!r}" for name, value in found["env"].items()]
    yield "in image", [f"{name}={value!r}" for name, value in image["environment"].items()]
    yield "secrets", list(found["secrets"])
    yield "mounts", [mount_row(mount) for mount in found["mounts"]]
    yield "code", code_rows(code) if code else []
    yield "outputs", [found["outputs"]] if found["outputs"] else []
    asked_for = {**(found["reproduce"] or {})}
    by = [f"{each['files']}: {compared_by(each)}" for each in asked_for.pop("compare", ())]
    yield "compared", [*(f"{key}: {value}" for key, value in asked_for.items() if value), *by]
    yield "scan", [f"{key}: {value}" for key, value in (found["scan"] or {}).items() if value]
    yield "network", [found["network"]]
    asked = {**found["resources"], "gpu_check": found["gpu_check"], "prepull": found["prepull"]}
    yield "asks for", [", ".join(f"{key} {value}" for key, value in asked.items() if value is not None)]
    yield "sbatch", option_texts({**found["slurm"], **found["plugin_options"]})
    yield "ends", [f"{key}: {value}" for key, value in (found["checkpoint"] or {}).items()]
    yield "template", [f"{template['name']}, all of it:"] if template else ["built in"]


def mount_row(mount: Mapping[str, Any]) -> str:
    """One mount; what the program may write stands out."""
    mode = f"{'ro' if mount['read_only'] else 'RW'}{', hashed' if mount['hash'] else ''}"
    return f"{quoted(mount['source'])} -> {quoted(mount['target'])} ({mode})"


def code_rows(code: Mapping[str, Any]) -> list[str]:
    """The folder, what it holds, where it is from."""
    rows = [f"{code['folder']}: {code['files']} files, {code['size_bytes']} bytes"]
    rows += [f"from {code['remote']}"] if code["remote"] else []
    rows += ["the program can change its copy"] if code["writable"] else []
    rows += [f"left out: {line}" for line in code["left_out"]]
    return [*rows, *(f"looks private: {name}" for name in code["private_looking"])]


def compared_by(by: Mapping[str, Any]) -> str:
    """How such outputs are compared."""
    return f"by {by['script']}" if by["script"] else f"within {by['absolute']:g}, or {by['relative']:g} of the larger"

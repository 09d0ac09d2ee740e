"""What a crate without a record of tfslurm says of itself, marked as its maker's claim. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfslurm.export.rows import Row
from tfslurm.record.crate_metadata import FileClaim, ImageClaim, Metadata, RunClaim

SCHEMA = "tfslurm.claims/1"
CLAIM = "Another tool made this crate. It says what follows; tfslurm observed none of it."
FEW = 6


def claims_json(found: Metadata, name: str) -> dict[str, Any]:
    """The same as JSON values; null: the crate does not say it."""
    return {
        "schema": SCHEMA,
        "crate": name,
        "observed": False,
        "note": CLAIM,
        "ro_crate": found.version or None,
        "profiles": list(found.profiles),
        "name": found.name or None,
        "description": found.description or None,
        "license": found.licence or None,
        "runs": [run_json(run) for run in found.runs],
        "files": [each._asdict() for each in found.files],
    }


def run_json(run: RunClaim) -> dict[str, Any]:
    """One run as JSON values."""
    said = {key: value or None for key, value in run._asdict().items() if key != "image"}
    image = None if run.image is None else {key: value or None for key, value in run.image._asdict().items()}
    return {**said, "image": image}


def claims_rows(found: Metadata, name: str) -> Iterator[Row]:
    """One screen for a reader."""
    yield Row("crate", name)
    yield Row("", CLAIM)
    yield Row("name", "\n".join(filter(None, (found.name or "not said", found.description))))
    yield Row("form", "\n".join((f"RO-Crate {found.version or 'of an unknown version'}", *found.profiles)))
    yield Row("licence", found.licence or "not said")
    for run in found.runs[:FEW]:
        yield from run_rows(run)
    if len(found.runs) > FEW:
        yield Row("", f"and {len(found.runs) - FEW} more runs")
    if not found.runs:
        yield Row("run", "it names none")
    yield from file_rows(found.files)


def run_rows(run: RunClaim) -> Iterator[Row]:
    """One run: what, in which image, when, how it ended."""
    yield Row("run", run.name or run.id)
    yield Row(" image", image_text(run.image))
    yield Row(" command", run.command or "not said")
    yield Row(" program", run.program or "not said")
    times = [f"{word} {moment}" for word, moment in (("started", run.started_at), ("ended", run.ended_at)) if moment]
    yield Row(" times", ", ".join(times) or "not said")
    yield Row(" end", ": ".join(filter(None, (run.status, run.error))) or "not said")


def image_text(image: ImageClaim | None) -> str:
    """The image, and what is not said of it."""
    if image is None:
        return "not said"
    return f"{image.name}\n{f'sha256:{image.sha256}' if image.sha256 else 'no digest: a tag names no fixed bytes'}"


def file_rows(files: tuple[FileClaim, ...]) -> Iterator[Row]:
    """The files that it lists."""
    for index, each in enumerate(files[:FEW]):
        size = f"{each.bytes} bytes" if each.bytes is not None else "size not said"
        digest = f"sha256:{each.sha256[:12]}…" if each.sha256 else "sha256 not said"
        yield Row("files" if not index else "", f"{each.path}  {size}  {digest}")
    if len(files) > FEW:
        yield Row("", f"and {len(files) - FEW} more")
    if not files:
        yield Row("files", "none listed")

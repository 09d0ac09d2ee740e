"""What a crate without a record of tfslurm says of itself, marked as its maker's claim. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfslurm.export.text import row
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


def claims_text(found: Metadata, name: str) -> str:
    """One screen for a reader."""
    lines = [
        *row("crate", name),
        *row("", CLAIM),
        *row("name", found.name or "not said"),
        *(row("", found.description) if found.description else ()),
        *row("form", f"RO-Crate {found.version or 'of an unknown version'}"),
        *(line for url in found.profiles for line in row("", url)),
        *row("licence", found.licence or "not said"),
        *(line for run in found.runs[:FEW] for line in run_lines(run)),
        *(row("", f"and {len(found.runs) - FEW} more runs") if len(found.runs) > FEW else ()),
        *([] if found.runs else row("run", "it names none")),
        *file_lines(found.files),
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def run_lines(run: RunClaim) -> Iterator[str]:
    """One run: what, in which image, when, how it ended."""
    yield from row("run", run.name or run.id)
    yield from row(" image", image_text(run.image))
    yield from row(" command", run.command or "not said")
    yield from row(" program", run.program or "not said")
    times = [f"{word} {moment}" for word, moment in (("started", run.started_at), ("ended", run.ended_at)) if moment]
    yield from row(" times", ", ".join(times) or "not said")
    yield from row(" end", ": ".join(filter(None, (run.status, run.error))) or "not said")


def image_text(image: ImageClaim | None) -> str:
    """The image, and what is not said of it."""
    if image is None:
        return "not said"
    return (
        f"{image.name}\nsha256:{image.sha256}"
        if image.sha256
        else f"{image.name}\nno digest: a tag names no fixed bytes"
    )


def file_lines(files: tuple[FileClaim, ...]) -> Iterator[str]:
    """The files that it lists."""
    for index, each in enumerate(files[:FEW]):
        size = f"{each.bytes} bytes" if each.bytes is not None else "size not said"
        digest = f"sha256:{each.sha256[:12]}…" if each.sha256 else "sha256 not said"
        yield from row("files" if not index else "", f"{each.path}  {size}  {digest}")
    if len(files) > FEW:
        yield from row("", f"and {len(files) - FEW} more")
    if not files:
        yield from row("files", "none listed")

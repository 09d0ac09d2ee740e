"""What the pages say is in the code, and what is in the code is on the pages."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

import tfslurm.record.model as record_model
import tfslurm.record.task_model as task_model
from tests.made import plan
from tests.test_layers import PACKAGE, PURE, ROOMS
from tfslurm import __version__
from tfslurm.cli import COMMANDS, group
from tfslurm.cluster import cluster_schema, parse_cluster
from tfslurm.document import scan
from tfslurm.remote_programs import packaged
from tfslurm.render import render
from tfslurm.spec import Experiment, experiment_schema
from tfslurm.spec.axes import shape_of
from tfslurm.spec.parsing import parse_experiment
from tfslurm.submission.prepare import sent_files
from tfslurm.sweeps.points import sweep_of, wrong_sweep
from tfslurm.workspace.packaged_files import BUILT_IN_TEMPLATE

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted((*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("tests/**/*.md")))
OWN_PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
COMMAND_PAGES = sorted(DOCS.glob("commands-*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text_of(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def without_blocks(text: str) -> str:
    return FENCE.sub("", text)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in OWN_PAGES:
        text = page.read_text("utf-8")
        for found in FENCE.finditer(text):
            if found[1] == language:
                yield f"{named(page)}:{text.count(chr(10), 0, found.start()) + 1}", found[2]


def anchor(heading: str) -> str:
    """A heading's anchor as GitHub makes it, for the letters that these pages use."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


# --- links


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(without_blocks(page.read_text("utf-8"))):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{named(page)}: {target}"
        assert there.is_relative_to(ROOT), f"{named(page)}: {target} leads out of the project"
        if fragment:
            headings = re.findall(r"^#+ (.*)$", without_blocks(there.read_text("utf-8")), re.MULTILINE)
            assert fragment in {anchor(heading) for heading in headings}, f"{named(page)}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = text_of("README.md")
    missing = [page.name for page in DOCS.glob("*.md") if page.name != "README.md" and f"({page.name})" not in index]
    assert not missing


# --- commands


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                inner = command.get_command(context, below)
                assert inner is not None
                yield f"{name} {below}", inner


@pytest.mark.parametrize(("name", "command"), list(every_command()), ids=str)
def test_every_command_and_option_is_in_the_reference(name: str, command: click.Command) -> None:
    sections = [text for page in COMMAND_PAGES for text in page.read_text("utf-8").split("\n## ")[1:]]
    (section,) = (text for text in sections if text.startswith(f"{name.partition(' ')[0]}\n"))
    assert f"`tfslurm {name}" in section
    for parameter in command.params:
        for option in parameter.opts if isinstance(parameter, click.Option) else ():
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", section + text_of("commands.md")), (
                f"{name} {option}"
            )


def test_the_reference_has_no_command_that_is_not_there() -> None:
    pages = "".join(page.read_text("utf-8") for page in COMMAND_PAGES)
    assert sorted(re.findall(r"^## (.*)$", pages, re.MULTILINE)) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_index_of_commands_names_every_command(name: str) -> None:
    assert f"[{name}](" in text_of("commands.md")


# --- files


def test_there_are_examples_to_read() -> None:
    assert len(list(blocks("yaml"))) >= 6


@pytest.mark.parametrize(("where", "text"), list(blocks("yaml")), ids=lambda value: value.split("\n")[0])
def test_every_yaml_block_is_a_whole_file(where: str, text: str) -> None:
    if re.search(r"^root:", text, re.MULTILINE):
        parse_cluster(text, where)
    else:
        parse_experiment(text, where)


def schema_keys(schema: dict[str, Any]) -> Iterator[str]:
    """Dotted keys with fixed names: `resources.gpus`, `mounts[].source`."""

    def below(place: dict[str, Any], path: str) -> Iterator[str]:
        if "$ref" in place:
            place = schema["$defs"][place["$ref"].rpartition("/")[2]]
        for choice in place.get("anyOf", []):
            yield from below(choice, path)
        if place.get("type") == "array" and "items" in place:
            yield from below(place["items"], f"{path}[]")
        for key, inner in place.get("properties", {}).items():
            yield f"{path}.{key}".lstrip(".")
            if not path.startswith("sweep"):
                yield from below(inner, f"{path}.{key}".lstrip("."))

    yield from below(schema, "")


@pytest.mark.parametrize("key", sorted(set(schema_keys(experiment_schema()))))
def test_every_key_of_an_experiment_is_in_its_reference(key: str) -> None:
    assert f"`{key}`" in text_of("experiment.md")


@pytest.mark.parametrize("key", sorted(set(schema_keys(cluster_schema()))))
def test_every_key_of_a_cluster_is_in_its_reference(key: str) -> None:
    assert f"`{key}`" in text_of("clusters.md")


# --- the record


RECORD = (
    *(
        "Record",
        "SharedFolder",
        "Job",
        "Experiment",
        "Output",
        "LostFile",
        "Image",
        "Code",
        "Attempt",
        "TaskFacts",
        "Gpu",
    ),
    *("Container", "Environment", "Package", "Verified", "Verdict", "Integrity"),
    *("Asked", "Template", "Input", "Determinism", "Engine", "Energy", "Signature", "Log", "Limits", "GpuUse"),
)


@pytest.mark.parametrize("part", RECORD)
def test_every_key_of_the_record_is_explained(part: str) -> None:
    page = text_of("record.md")
    room = record_model if hasattr(record_model, part) else task_model
    missing = [field.name for field in fields(getattr(room, part)) if f"`{field.name}`" not in page]
    assert not missing


# --- the rooms


def rooms_in_order() -> str:
    """The figure of docs/ARCHITECTURE.md: a line for each room that is there, with its docstring's first sentence."""
    lines = []
    for room in ROOMS:
        path = PACKAGE / f"{room}.py" if (PACKAGE / f"{room}.py").exists() else PACKAGE / room / "__init__.py"
        if path.exists():
            about = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            lines.append(f"{room:<12} {re.split(r'[.] |[.]?$', about, maxsplit=1, flags=re.MULTILINE)[0]}")
        if room == PURE[-1]:
            lines.append("--- above: text and values only; below: one outside thing each ---")
    return "\n".join(lines) + "\n"


def test_the_figure_of_the_rooms_is_the_list_of_rooms() -> None:
    page = DOCS / "ARCHITECTURE.md"
    text = page.read_text("utf-8")
    before, after = text.split("```text\n", 1)
    fresh = f"{before}```text\n{rooms_in_order()}```{after.partition('```')[2]}"
    if os.environ.get("ACCEPT"):
        page.write_text(fresh, "utf-8")
        text = fresh
    assert text == fresh, "ACCEPT=1 python -m pytest tests/test_docs.py -k rooms"


def test_every_file_that_the_architecture_names_is_there() -> None:
    names = re.findall(r"`((?:tfslurm|job_templates|tests)/[^`]*)`", text_of("ARCHITECTURE.md"))
    assert names
    assert not [name for name in names if not (ROOT / name).exists()]


# --- the rest


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    versions = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert versions[0] == __version__


def test_the_template_on_the_page_renders() -> None:
    (mine,) = (text for where, text in blocks("jinja") if where.startswith("docs/templates.md"))
    texts = {BUILT_IN_TEMPLATE: packaged(BUILT_IN_TEMPLATE), "tpl.sbatch.j2": mine}
    script = render(plan(), texts, "tpl.sbatch.j2", sent_files(plan()))
    lines = script.splitlines()
    order = [
        lines.index("#SBATCH --begin=now"),
        lines.index("node::begin"),
        next(index for index, line in enumerate(lines) if "starts on $SLURMD_NODENAME" in line),
        lines.index("node::batch"),
        next(index for index, line in enumerate(lines) if line.startswith('echo "left $job_exit_code')),
        lines.index('exit "$job_exit_code"'),
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("page", OWN_PAGES, ids=named)
def test_lines_of_prose_fit_a_terminal(page: Path) -> None:
    prose = (
        line for line in without_blocks(page.read_text("utf-8")).splitlines() if not line.startswith(("|", "    "))
    )
    assert not [line for line in prose if len(line) > 100]


SWEEPS = [text for _, text in blocks("text") if text.startswith("sweep:")]


@pytest.mark.parametrize("text", SWEEPS)
def test_every_sweep_on_a_page_is_one(text: str) -> None:
    document = scan(text, "exp.yaml")
    assert not [*document.problems, *wrong_sweep(document)]
    assert shape_of(document.value["sweep"])


def test_the_sweep_on_the_page_has_as_many_points_as_it_says() -> None:
    (text,) = (text for text in SWEEPS if "include:" in text)
    points = sweep_of(Experiment("a", "a:1", (), sweep=scan(text, "exp.yaml").value["sweep"])).points
    assert f"and one more: {len(points)} points" in " ".join(text_of("sweeps.md").split())


def test_every_key_of_a_sweep_is_on_its_page() -> None:
    for part in ("Block", "Sweep", "Where"):
        for key in experiment_schema()["$defs"][part]["properties"]:
            assert f"`{key}`" in text_of("sweeps.md") or f"{key}:" in text_of("sweeps.md")

"""The record as a reader sees it: the chain link by link, golden for real jobs, honest about what is not known."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests import made
from tests.test_record import CASES, case
from tfslurm.export.rows import Row, columns, lines_of, rows_text
from tfslurm.export.text import record_rows, record_text
from tfslurm.record import Record, record_json
from tfslurm.record.model import Output, seal
from tfslurm.record.task_model import Gpu

GOLDEN = Path(__file__).parent / "golden" / "screen"
GIT = replace(made.CODE, commit="c" * 40, branch="main", dirty=True, remote="https://example.org/digits.git")


def several_nodes() -> Record:
    """A job of eight GPUs on two nodes, whose second has another driver."""
    record = case("tasks").build()
    last = record.attempts[-1]
    gpus = [tuple(Gpu(f"GPU-{node}{number}", "NVIDIA H200", 143771) for number in range(4)) for node in ("one", "two")]
    tasks = (
        replace(last.tasks[0], node="gpu001", gpus=gpus[0]),
        replace(last.tasks[0], node="gpu002", rank=1, gpus=gpus[1], driver_version="580.65.06"),
    )
    return seal(replace(record, attempts=(replace(last, tasks=tasks),)))


def in_chinese() -> Record:
    record = case("gpu").build()
    experiment = replace(
        record.experiment,
        parameters={"数据集": "手写数字识别", "学习率": 0.1},
        command=("python", "训练.py", "--数据", "/数据/手写数字识别/训练集和验证集"),
        outputs=(Output("模型/权重.h5", 12, "0" * 64),),
    )
    return seal(replace(record, experiment=experiment))


SCREENS: dict[str, Callable[[], Record]] = {
    "tensorflow": lambda: case("tensorflow").build(plan=replace(case("tensorflow").plan, code=GIT)),
    "cpu-failed": lambda: case("failed").build(),
    "refused": lambda: case("refused").build(),
    "requeued": lambda: case("requeued").build(),
    "several-nodes": several_nodes,
    "chinese": in_chinese,
    "without-slurm": lambda: case("gpu").build(status=None, image_facts=None),
    "never-began": lambda: case("gpu").build(files={}, status=None),
}


@pytest.mark.parametrize("width", [80, 40])
@pytest.mark.parametrize("name", SCREENS)
def test_the_screen_is_the_accepted_one_and_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    record = SCREENS[name]()
    said = record.integrity.record_sha256  # another one with every key that the record gets
    rows = [row._replace(text=row.text.replace(said, "5" * 64)) for row in record_rows(record)]
    lines = [f"{line.head}{line.text}".rstrip() for line in lines_of(rows, width)]
    assert all(columns(line) <= width for line in lines)
    text = "".join(f"{line}\n" for line in lines)
    golden = GOLDEN / f"{name}-{width}.txt"
    if os.environ.get("ACCEPT"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), f"to accept the change: ACCEPT=1 pytest {__file__}"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("knows_slurm", [True, False])
def test_a_record_fits_one_screen_and_leaves_nothing_open(name: str, knows_slurm: bool) -> None:
    source = case(name)
    record = source.build() if knows_slurm else source.build(status=None)
    text = record_text(record)
    assert len(text.splitlines()) <= 30
    assert "None" not in text and "{" not in text.replace("{{", "")
    for fact in (
        record.job.cluster,
        record.job.job_id,
        record.image.digest,
        record.integrity.record_sha256,
        record.record_id,
    ):
        assert fact in text
    for gpu in record.attempts[-1].tasks[0].gpus or ():
        assert gpu.uuid in text


def test_each_link_stands_between_its_ends_with_a_status_in_words() -> None:
    rows = list(record_rows(SCREENS["tensorflow"]()))
    chain = rows[: rows.index(Row("", ""))]
    assert [row.label for row in chain if not row.status] == ["tag", "digest", "node", "GPU", "job", "record"]
    assert {row.status for row in chain if not row.label} == {"ok", "unknown"}
    between = {chain[place - 1].label or "link" for place, row in enumerate(chain) if row.label and place}
    assert between == {"link"}, "two ends without a link between them"


def test_a_record_that_was_changed_breaks_the_last_link() -> None:
    record = case("gpu").build()
    values = record_json(replace(record, warnings=("added",)))
    failed = [row for row in record_rows(record, values) if row.status == "failed"]
    assert len(failed) == 1 and "the record was changed" in failed[0].text


def test_a_reason_that_a_link_gives_is_not_told_again_as_a_warning() -> None:
    record = case("refused").build()
    text = record_text(record)
    assert text.count(record.warnings[0]) == 1
    other = replace(record, warnings=("another",))
    assert "warning  another" in record_text(other)


def test_a_fact_that_is_not_known_is_told_with_the_reason() -> None:
    source = case("tensorflow")
    files = source.without("attempt-1/facts/task-0/gpus.txt", "attempt-1/outputs.sha256")
    files["attempt-1/outputs.sha256.error"] = b"not hashed: the job was being stopped\n"
    text = record_text(source.build(files=files, image_facts=None))
    assert "GPU      unknown (gpus.txt was not written)" in text
    assert "outputs  unknown (outputs.sha256: not hashed: the job was being stopped)" in text
    assert "inside   unknown (no job with this image has looked into it there; `tfslurm image inspect " in text


def test_a_digest_without_tag_and_one_that_nobody_is_known_to_have_served() -> None:
    record = case("gpu").build()
    typed = replace(record, image=replace(record.image, tag=None))
    assert " ok      | asked for by its digest, found" in record_text(typed)
    unknown = replace(record, image=replace(record.image, served_by=None))
    assert " unknown | who said that the tag stands for this digest was not written down" in record_text(unknown)


def test_many_outputs_are_counted_and_code_is_named() -> None:
    record = SCREENS["tensorflow"]()
    many = tuple(Output(f"{number}.h5", None, "0" * 64) for number in range(9))
    text = record_text(replace(record, experiment=replace(record.experiment, outputs=many)))
    assert "5.h5  unknown size  sha256:000000000000…" in text and "and 3 more" in text and "6.h5" not in text
    assert f"tree {made.CODE.tree}" in text and f"commit {'c' * 40} (main), with changes on top" in text


def test_no_control_character_of_a_name_reaches_the_terminal() -> None:
    record = case("gpu").build()
    output = Output("\x1b[31mred\r.h5", 1, "0" * 64)
    text = record_text(
        replace(record, experiment=replace(record.experiment, outputs=(output,), command=("echo", "\x07")))
    )
    assert all(character.isprintable() or character == "\n" for character in text)


def test_a_line_of_a_stranger_never_looks_like_a_row_of_ours() -> None:
    text = rows_text([Row("node", "n1\nrecord   sha256:0\n ok      | all is well")])
    assert text == "node     n1\n         record   sha256:0\n          ok      | all is well\n"


@pytest.mark.parametrize("text", ["", " ", "a", "a b c", "漢字" * 30, "x" * 100, "a " * 40, "漢" + "e\u0301" * 50])
@pytest.mark.parametrize("width", [1, 29, 30, 80, 200])
def test_any_text_is_folded_without_loss(text: str, width: int) -> None:
    lines = [line.text for line in lines_of([Row("", text)], width)]
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(columns(line) <= max(width - 9, 20) for line in lines)

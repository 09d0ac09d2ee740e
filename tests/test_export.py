"""The record as text: one screen, golden for a real job, honest about what is not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests import made
from tests.test_record import CASES, case
from tfslurm.export.text import record_text
from tfslurm.record import Record
from tfslurm.record.model import Output

GOLDEN = Path(__file__).parent / "facts" / "tensorflow.txt"


def test_the_text_of_a_real_job_is_the_golden_one() -> None:
    text = record_text(case("tensorflow").build(plan=replace(case("tensorflow").plan, code=made.CODE)))
    if not GOLDEN.exists():
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), f"to accept the change: rm {GOLDEN} && pytest {__file__}"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("knows_slurm", [True, False])
def test_a_record_fits_one_screen_and_leaves_nothing_open(name: str, knows_slurm: bool) -> None:
    source = case(name)
    record = source.build() if knows_slurm else source.build(status=None)
    text = record_text(record)
    assert len(text.splitlines()) <= 40
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


def test_every_link_stands_with_its_reason_and_every_warning_with_its_word() -> None:
    record = case("refused").build()
    text = record_text(record)
    assert "verified     failed  image: the program was not started: alpha1: image: " in text
    assert f"warning      {record.warnings[0]}" in text


def test_a_fact_that_is_not_known_is_told_with_the_reason() -> None:
    source = case("tensorflow")
    files = source.without("attempt-1/facts/task-0/gpus.txt", "attempt-1/outputs.sha256")
    files["attempt-1/outputs.sha256.error"] = b"not hashed: the job was being stopped\n"
    text = record_text(source.build(files=files, image_facts=None))
    assert "GPU          unknown (gpus.txt was not written)" in text
    assert "outputs      unknown (outputs.sha256: not hashed: the job was being stopped)" in text
    assert "inside       unknown (images/" in text


def test_a_job_that_never_began_is_told_too() -> None:
    text = record_text(case("gpu").build(files={}, status=None))
    assert "node         unknown (no attempt of the job left a file)" in text
    assert text.startswith("job          alpha:")


def test_many_outputs_are_counted_and_code_is_named() -> None:
    record = case("gpu").build(
        plan=replace(case("gpu").plan, code=replace(made.CODE, commit="c" * 40, branch="main", dirty=True))
    )
    many = tuple(Output(f"{number}.h5", None, "0" * 64) for number in range(9))
    text = record_text(replace(record, experiment=replace(record.experiment, outputs=many)))
    assert "5.h5  unknown size  sha256:000000000000…" in text and "and 3 more" in text and "6.h5" not in text
    assert f"tree {made.CODE.tree}" in text and f"commit {'c' * 40} (main), with changes on top" in text


def test_no_control_character_of_a_name_reaches_the_terminal() -> None:
    def hostile(record: Record) -> Record:
        output = Output("\x1b[31mred\r.h5", 1, "0" * 64)
        return replace(record, experiment=replace(record.experiment, outputs=(output,), command=("echo", "\x07")))

    text = record_text(hostile(case("gpu").build()))
    assert all(character.isprintable() or character == "\n" for character in text)

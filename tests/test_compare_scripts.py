"""Outputs that a program of the user's compares: what it is given, and what is made of how it ends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_comparing import evidence
from tfslurm.errors import InputError
from tfslurm.retrieval.compare_scripts import comparers_of
from tfslurm.retrieval.comparing import of_two
from tfslurm.spec import Reproduce


def script(folder: Path, text: str) -> Path:
    """A program of the user's."""
    made = folder / "compare.sh"
    made.write_text(f"#!/bin/sh\n{text}\n")
    made.chmod(0o755)
    return made


@pytest.mark.parametrize(
    ("program", "answer", "why"),
    [
        ('cmp -s "$1" "$2" || exit 0', "same content", "what the script leaves out"),
        ("echo but for its header; exit 0", "same content", "but for its header"),
        ("echo 3 rows differ; exit 1", "differs", "3 rows differ"),
        ("exit 1", "not comparable", "the script ended with exit code 1: it says nothing"),
        ("echo no such module >&2; exit 1", "not comparable", "exit code 1: no such module"),
        ("echo yes; exit 2", "not comparable", "exit code 2"),
        ("kill -9 $$", "not comparable", "exit code"),
        ("yes", "not comparable", "more than"),
        ("exec sleep 99", "not comparable", "within 0.1 s"),
        ('printf "\\033[31mred"; exit 1', "differs", "red"),
        ('echo x >"$1" && exit 0; echo it is read-only; exit 1', "differs", ""),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_script_of_the_user_judges_the_files_that_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, answer: str, why: str
) -> None:
    if why == "within 0.1 s":
        monkeypatch.setattr("tfslurm.retrieval.compare_scripts.MOST_SECONDS", 0.1)
    a = evidence(tmp_path, "1", {"deep/t.parquet": "one", "same.parquet": "x"})
    b = evidence(tmp_path, "2", {"deep/t.parquet": "two", "same.parquet": "x"})
    given = Reproduce(compare=comparers_of((f"*.parquet={script(tmp_path, program)}",)))
    results = of_two(a, b, given, tmp_path).pairs[0].comparison.results
    files = {each.path: each for each in results.files.each}
    assert files["same.parquet"].answer == "identical"
    found = files["deep/t.parquet"]
    if "read-only" in program:  # root may write everywhere
        assert found.answer in ("differs", "same content")
        assert (tmp_path / "1" / "out" / "deep" / "t.parquet").read_text() == "one", "it has a copy"
        return
    assert (found.answer, found.declared, found.rule) == (answer, "the command line", "script compare.sh")
    assert why in found.why
    assert results.answer == {"same content": "within tolerance", "differs": "outside the tolerance"}.get(
        answer, answer
    )


def test_a_script_gets_nothing_that_was_not_proved(tmp_path: Path) -> None:
    a, b = (evidence(tmp_path, job, {"t.bin": text}) for job, text in (("1", "one"), ("2", "two")))
    (tmp_path / "2" / "out" / "t.bin").write_text("six")
    given = Reproduce(compare=comparers_of((f"*.bin={script(tmp_path, 'exit 0')}",)))
    (found,) = of_two(a, b, given, tmp_path).pairs[0].comparison.results.files.each
    assert found.answer == "not comparable" and "it was changed after the job ended" in found.why


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("*.parquet", "is not GLOB=SCRIPT"),
        ("=x", "is not GLOB=SCRIPT"),
        ("*.x=", "is not GLOB=SCRIPT"),
        ("*.x=no/such.py", "there is no file no/such.py"),
        ("*.x=/", "there is no file /"),
        ("*.x=/etc/passwd", "is not executable; chmod +x"),
    ],
)
def test_a_script_is_a_program_of_this_machine(option: str, why: str) -> None:
    with pytest.raises(InputError, match=re.escape(why)):
        comparers_of((option,))

"""Results that were fetched beside the code are no part of it: the same job stays the same job."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.fakes.laptop import Laptop
from tests.repository import git, repository
from tfslurm.snapshot import take
from tfslurm.snapshot.left_out import MARKER, marker


@pytest.fixture(name="laptop")
def _laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    """One job was submitted, and commands are typed in the folder of its code."""
    laptop = Laptop.made(tmp_path, monkeypatch)
    laptop.type("submit", laptop.experiment(code="code", outputs="/out"))
    monkeypatch.chdir(laptop.folder / "code")
    return laptop


def leave(laptop: Laptop, *names: str, job: str = "101") -> None:
    """Files that the job left."""
    (run,) = (laptop.root / "runs").iterdir()
    for name in names:
        path = run / job / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"of {name}\n")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["git", "plain"])
@pytest.mark.parametrize("dest", [[], ["new"], ["a/new"], ["empty"]])
def test_the_same_job_is_known_after_a_fetch(
    laptop: Laptop, kind: str, dest: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    here = laptop.folder / "code"
    if kind == "git":
        repository(here, {"train.py": "print(1)\n"})
    (here / "empty").mkdir()
    before = take(here)
    leave(laptop, "model.h5", "sub/train.py")
    assert laptop.type("submit", "../exp.yaml") == (0 if kind == "git" else 1), "in Git it is another job, once"
    assert laptop.type("fetch", "101", *dest) == 0
    top = here / (dest[0] if dest else "alpha-101")
    assert (top / "sub" / "train.py").read_text() == "of sub/train.py\n"
    assert (top / MARKER).read_text() == marker("alpha:101")
    assert take(here) == before._replace(left_out=take(here).left_out)
    if kind == "git":
        assert git(here, "status", "--porcelain") == "", "Git ignores them too"
    else:
        assert take(here).left_out == (f"{top.relative_to(here)}/ (fetched from alpha:101)",)
    capsys.readouterr()
    assert laptop.type("submit", "../exp.yaml") == 1
    said = capsys.readouterr().err
    assert f"the same job is there already: alpha:{laptop.slurm.ids()[-1]}" in said
    assert ("left out" in said) is (kind == "plain")
    assert len(laptop.slurm.ids()) == (2 if kind == "git" else 1)


@pytest.mark.slow
def test_results_count_for_no_size(laptop: Laptop) -> None:
    leave(laptop, "model.h5")
    (run,) = (laptop.root / "runs").iterdir()
    os.truncate(run / "101" / "out" / "model.h5", 257 * 2**20)
    assert laptop.type("fetch", "101") == 0
    assert take(laptop.folder / "code").bytes < 1000


def test_plan_says_what_is_left_out(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    """So that a marker which a stranger put there takes away nothing unseen."""
    here = laptop.folder / "code"
    (here / "src").mkdir()
    (here / "src" / "a.py").write_text("a")
    (here / "src" / MARKER).write_text(marker("alpha:7"))
    words = ("plan", "../exp.yaml", "--set", "code={path: code, exclude: ['*.md', '*.py']}")
    assert laptop.type(*words) == 2, "all of it is left out"
    assert "holds no file but what is left out: src/ (fetched from alpha:7), *.md" in capsys.readouterr().err
    (here / "b.txt").write_text("b")
    assert laptop.type(*words) == 0
    said = capsys.readouterr().out
    assert "left out src/ (fetched from alpha:7)\n" in said
    assert "left out *.md (exclude: nothing fits)\n" in said
    assert "left out *.py (exclude: train.py)\n" in said
    assert laptop.type(*words, "--json") == 0
    (plan,) = json.loads(capsys.readouterr().out)
    assert plan["left_out"][0] == "src/ (fetched from alpha:7)"


def test_a_folder_that_held_other_things_is_not_marked(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    """`fetch JOB .` must not make the code vanish."""
    leave(laptop, "model.h5")
    assert laptop.type("fetch", "101", ".") == 0
    assert "what is fetched into it counts as code" in capsys.readouterr().err
    assert {entry.name for entry in take(laptop.folder / "code").entries} == {"model.h5", "train.py"}


def test_a_job_that_left_such_names_itself_keeps_its_gitignore(laptop: Laptop) -> None:
    leave(laptop, ".gitignore", MARKER, "deep/.gitignore")
    for _ in range(2):
        assert laptop.type("fetch", "101") == 0
        top = laptop.folder / "code" / "alpha-101"
        assert (top / ".gitignore").read_text() == "of .gitignore\n"
        assert (top / MARKER).read_text() == marker("alpha:101")


def test_a_dry_run_marks_nothing(laptop: Laptop) -> None:
    leave(laptop, "model.h5")
    assert laptop.type("fetch", "101", "--dry-run") == 0
    assert not (laptop.folder / "code" / "alpha-101").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--include", "nothing*"], "none of 2 files fits --include 'nothing*'; it left metrics.json, model.h5"),
        (["--include", "x", "--include", "y/"], "none of 2 files fits --include 'x' --include 'y/'"),
        (["--exclude", "*"], "--exclude '*' leaves none of 2 files"),
        (["--include", "*.h5", "--exclude", "m*"], "--exclude 'm*' leaves none of 2 files"),
        (["--include", "nothing*", "--dry-run"], "none of 2 files fits --include 'nothing*'"),
        (["--include", "nothing*", "--json"], "none of 2 files fits --include 'nothing*'"),
    ],
)
def test_patterns_that_leave_no_file_are_refused(
    laptop: Laptop, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(laptop, "model.h5", "metrics.json")
    assert laptop.type("fetch", "101", *words) == 2
    assert f"alpha:101: {said}" in capsys.readouterr().err
    assert not (laptop.folder / "code" / "alpha-101").exists()


def test_one_pattern_of_several_that_fits_nothing_is_said(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    leave(laptop, "model.h5", "metrics.json")
    assert laptop.type("fetch", "101", "--include", "*.json", "--include", "*.keras") == 0
    assert "note: --include '*.keras': fits none of the 2 files of alpha:101" in capsys.readouterr().err


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 7\n"


@pytest.mark.parametrize("command", ["plan", "submit"])
def test_a_pointer_is_refused_with_what_brings_the_file(
    laptop: Laptop, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.h5", "b.h5"):
        (laptop.folder / "code" / name).write_text(POINTER)
    assert laptop.type(command, "../exp.yaml") == 2
    said = capsys.readouterr().err
    assert "2 files are only a pointer of Git LFS: a.h5, b.h5; `git lfs pull` in" in said
    assert "exclude: [a.h5]" in said
    assert laptop.type("plan", "../exp.yaml", "--set", "code={path: code, exclude: ['*.h5']}") == 0


@pytest.mark.slow
def test_a_repository_without_a_commit_is_one(laptop: Laptop, capsys: pytest.CaptureFixture[str]) -> None:
    git(laptop.folder / "code", "init", "-q")
    assert laptop.type("plan", "../exp.yaml") == 0
    assert "bytes, no commit yet\n" in capsys.readouterr().out

"""What `verify` says of the files that records name: one byte changed in any of them is found, by few questions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests import made
from tests.test_record import case
from tfslurm.cli.verify import show_several
from tfslurm.host.fetching import hashed
from tfslurm.host.files import get, input_contents, read_all, tree_contents
from tfslurm.host.local import LocalHost
from tfslurm.job_plan import identity, to_json
from tfslurm.record import Record, record_json
from tfslurm.record.model import Input, Log, Output, seal
from tfslurm.record.verification import Part
from tfslurm.retrieval.evidence import Evidence
from tfslurm.retrieval.verification import verified_together
from tfslurm.retrieval.verify import Verified
from tfslurm.tracker import Tracker

JOB = "59"


class Counted(LocalHost):
    """This machine, which counts the commands that it is given."""

    def __init__(self) -> None:
        super().__init__("alpha")
        self.asked: list[str] = []

    def run(self, argv: Sequence[str], **options: Any) -> Any:
        self.asked.append(argv[-1])
        return super().run(argv, **options)

    def run_bytes(self, argv: Sequence[str], **options: Any) -> bytes:
        self.asked.append(argv[-1])
        return super().run_bytes(argv, **options)


def hash_of(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def written(path: Path, text: str = "1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class Kept:
    """A record, and all files that it names, below a root."""

    def __init__(self, root: Path, number: int = 0) -> None:
        self.host = Counted()
        plan = made.plan(planned_at=f"2026-11-23T07:50:01.{number:06d}Z")
        self.code = root / "code" / made.CODE.tree
        written(self.code / "train.py")
        written(self.code / "other.py")
        self.code.chmod(0o700)
        listed = tree_contents(self.host, PurePosixPath(self.code))
        code = replace(made.CODE, contents_sha256=sha256(listed).hexdigest())
        values = json.loads(json.dumps(to_json(replace(plan, code=code))))
        plan_sha256, plan_id = identity(values)
        self.folder = root / "runs" / f"digits-{plan_id}"
        job = self.folder / JOB
        self.plan = written(self.folder / "plan.json", json.dumps(values))
        self.script = written(self.folder / "job.sbatch", "#!/bin/sh\n")
        self.output = written(job / "out" / "sub" / "metrics.json")
        self.log = written(job / "attempt-1" / "stdout.log", "epoch 1\n")
        self.file, self.tree = written(root / "data" / "one.npz"), root / "data" / "train"
        self.inner = written(self.tree / "a" / "0001.npy")
        list_of = input_contents(self.host, PurePosixPath(self.tree), timeout_s=60)
        tree = sha256(list_of).hexdigest()
        written(root / "inputs" / "lists" / tree, list_of.decode())
        record = case("gpu").build(plan=replace(case("gpu").plan, code=code))
        inputs = (
            Input("one", str(self.file), 2, hash_of(self.file), None, "full", ""),
            Input(None, str(self.tree), 2, None, tree, "cached", ""),
            Input(None, "/data/plain", None, None, None, "no", "it was not asked for"),
        )
        (attempt,) = record.attempts
        self.record: Record = seal(
            replace(
                record,
                plan_id=plan_id,
                plan_sha256=plan_sha256,
                run_folder=str(self.folder),
                job=replace(record.job, job_id=JOB, script_sha256=hash_of(self.script)),
                experiment=replace(record.experiment, outputs=(Output("sub/metrics.json", 2, hash_of(self.output)),)),
                attempts=(replace(attempt, logs=(Log("stdout.log", 8, hash_of(self.log)),)),),
                inputs=inputs,
            )
        )

    @property
    def evidence(self) -> Evidence:
        folder = PurePosixPath(self.folder)
        return Evidence(self.record, record_json(self.record), self.host, folder, PurePosixPath(self.code))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "root")


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[Tracker]:
    found = Tracker(tmp_path / "tracker.sqlite")
    yield found
    found.close()


def parts(kept: Kept, tracker: Tracker) -> dict[str, Part]:
    (found,) = verified_together(made.session(tracker), [kept.evidence])
    return {part.name: part for part in found if part.name not in ("record", "experiment", "lock")}


def bad(kept: Kept, tracker: Tracker) -> dict[str, str]:
    return {name: part.status for name, part in parts(kept, tracker).items() if part.is_bad}


def test_files_as_they_were_are_unchanged(kept: Kept, tracker: Tracker) -> None:
    found = parts(kept, tracker)
    tree = f"input {kept.tree}"
    assert {name: part.status for name, part in found.items()} == {
        **dict.fromkeys(("plan", "script", "outputs", "logs", "input one", tree, "code"), "unchanged"),
        "input /data/plain": "not verifiable",
        "facts": "not verifiable",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "name"),
    [
        ("plan", "plan"),
        ("script", "script"),
        ("output", "output sub/metrics.json"),
        ("log", "log attempt-1/stdout.log"),
        ("file", "input one"),
        ("inner", "input TREE"),
        ("code/train.py", "code"),
    ],
)
@pytest.mark.parametrize("change", ["byte", "longer", "gone"])
def test_one_byte_changed_in_any_file_is_found(
    which: str, name: str, change: str, kept: Kept, tracker: Tracker
) -> None:
    path: Path = kept.code / "train.py" if "/" in which else getattr(kept, which)
    content = path.read_bytes()
    name = name.replace("TREE", str(kept.tree))
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + b"x" if change == "byte" else content + b" x")
    in_a_folder = which in ("inner", "code/train.py")
    expected = {name: "missing" if change == "gone" and not in_a_folder else "changed"}
    assert bad(kept, tracker) == ({} if (which, change) == ("log", "longer") else expected)


def test_what_was_appended_to_a_log_is_no_change_and_is_told(kept: Kept, tracker: Tracker) -> None:
    kept.log.write_text("epoch 1\nmore\n")
    part = parts(kept, tracker)["logs"]
    assert part.status == "unchanged"
    assert "attempt-1/stdout.log: 5 bytes were appended after the hash" in part.reason
    kept.log.write_text("epoch 2\nmore\n")
    assert bad(kept, tracker) == {"log attempt-1/stdout.log": "changed"}
    kept.log.write_text("epoch")
    assert "it has 5 bytes, and the record says 8" in parts(kept, tracker)["log attempt-1/stdout.log"].reason


def test_the_file_that_changed_in_a_mounted_folder_is_named(kept: Kept, tracker: Tracker) -> None:
    kept.inner.write_text("2\n")
    written(kept.tree / "new")
    reason = parts(kept, tracker)[f"input {kept.tree}"].reason
    assert reason == f"a/0001.npy, new in {kept.tree} changed, came or went"


def test_a_link_in_the_place_of_a_file_is_not_followed_but_of_what_was_mounted(
    kept: Kept, tracker: Tracker, tmp_path: Path
) -> None:
    """A source may be a link: the mount has followed it."""
    for path in (kept.log, kept.output, kept.file, kept.tree):
        copy = tmp_path / "elsewhere" / path.name
        copy.parent.mkdir(exist_ok=True)
        path.rename(copy)
        path.symlink_to(copy)
    assert bad(kept, tracker) == {"output sub/metrics.json": "missing", "log attempt-1/stdout.log": "missing"}
    (tmp_path / "elsewhere" / kept.file.name).write_text("3\n")
    assert bad(kept, tracker)["input one"] == "changed"


@pytest.mark.slow
@pytest.mark.parametrize("path", ["../../../etc/passwd", "/etc/passwd", "a\0b", ""])
def test_a_record_leads_to_no_file_outside_of_its_folders(path: str, kept: Kept, tracker: Tracker) -> None:
    outputs = (Output(path, 3, "0" * 64),)
    kept.record = seal(replace(kept.record, experiment=replace(kept.record.experiment, outputs=outputs)))
    assert bad(kept, tracker) == {f"output {path}": "missing"}
    assert not any("passwd" in word for word in kept.host.asked)


@pytest.mark.slow
def test_many_records_are_few_questions(tmp_path: Path, tracker: Tracker) -> None:
    many = [Kept(tmp_path / "root", number) for number in range(12)]
    host = many[0].host
    host.asked.clear()
    evidences = [each.evidence._replace(host=host) for each in many]
    many[7].output.write_text("3\n")
    found = verified_together(made.session(tracker), evidences)
    wrong = [place for place, each in enumerate(found) if any(part.is_bad for part in each)]
    assert wrong == [7]
    assert len(host.asked) <= 6, host.asked


def test_of_several_records_what_does_not_hold_is_shown_then_the_sums(capsys: pytest.CaptureFixture[str]) -> None:
    """A name with a line break makes no line that verify did not write."""
    parts = (Part("outputs", "unchanged", "1 of 2"), Part("output a\nunchanged", "changed", "b\x1b[31m"))
    show_several([Verified("alpha:1", "x", parts), Verified("alpha:2", "y", (Part("outputs", "unchanged", ""),))])
    assert capsys.readouterr().out.splitlines() == [
        "alpha:1:",
        "changed        output a\\nunchanged: b\\x1b[31m",
        "2 records:",
        "outputs: 2 unchanged, 1 changed",
    ]


# --------------------------------------------------------------------------------------------- what the machine answers

ODD = ["a", "b c", "d\ne", "f\\g", "-x", "$(touch z)", "q]", "'\"", "é", "*"]


@pytest.mark.slow
def test_files_with_odd_names_are_hashed_up_to_so_many_bytes(tmp_path: Path) -> None:
    for number, name in enumerate(ODD):
        (tmp_path / name).write_bytes(b"x" * (number + 1))
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "folder").mkdir()
    asked = [(name, count) for name in (*ODD, "link", "folder", "none") for count in (1, 10**6, 0)]
    found = hashed(LocalHost("here"), PurePosixPath(tmp_path), asked)
    for (name, count), each in zip(asked, found, strict=True):
        path = tmp_path / name
        if name not in ODD:
            assert each is None
        else:
            assert each and tuple(each) == (sha256(path.read_bytes()[:count]).hexdigest(), path.stat().st_size)


def test_several_files_and_folders_come_in_one_answer(tmp_path: Path) -> None:
    for path in ("r/a-1/7/facts/x", "r/a-1/7/out/x", "r/a-1/8/facts/y", "r/b-2/9/attempt-1/stdout.log"):
        written(tmp_path / path, path)
    (tmp_path / "r" / "link").symlink_to(tmp_path / "r" / "a-1")
    host = Counted()
    below = ["a-1/7", "b-2/9", "link/8", "none/1"]
    found = get(host, PurePosixPath(tmp_path / "r"), below=below, exclude=("out", "attempt-*/*.log"))
    assert dict(found) == {"a-1/7/facts/x": b"r/a-1/7/facts/x"}
    files = [PurePosixPath(tmp_path / "r" / name) for name in ("a-1/8/facts/y", "link", "none")]
    assert read_all(host, files) == {files[0]: b"r/a-1/8/facts/y"}
    assert len(host.asked) == 2

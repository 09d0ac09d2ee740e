"""Mounts with `hash: true` on the test bed: hashed before the program starts, remembered, and named in the record."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.test_node_inputs import listed

from .desk import Desk, ids, until
from .processes import processes

pytestmark = pytest.mark.usefixtures("bed")


def data_of(desk: Desk) -> Path:
    """A user's data: a name with a line break, a link, an empty folder; old enough to be remembered."""
    folder = desk.data("alpha") / "set"
    (folder / "deep" / "empty").mkdir(parents=True)
    for name, text in {"a": "1", "deep/two\nlines": "2" * 100_000, "deep/no": ""}.items():
        (folder / name).write_text(text)
    (folder / "link").symlink_to("/etc/shadow")
    (desk.data("alpha") / "one").write_text("alone")
    (desk.data("alpha") / "to-one").symlink_to("one")
    for path in (desk.data("alpha"), *desk.data("alpha").rglob("*")):
        os.chown(path, *ids(), follow_symlinks=False)
    until(lambda: time.time() - folder.stat().st_ctime > 2.5, 10)
    return folder


def inputs_of(desk: Desk, job: str) -> list[dict[str, Any]]:
    assert desk.ended(job) == "COMPLETED", desk.tfslurm("logs", job).stderr
    return list(desk.record(job)["inputs"])


def test_what_a_job_found_is_in_its_record_and_known_to_the_next(desk: Desk) -> None:
    """By podman, which maps the user; docker's jobs are those of the tests below."""
    desk.set_up_podman()
    data = data_of(desk)
    names = {"allow": [str(desk.data("alpha"))], "names": {"lab": str(desk.data("alpha"))}}
    desk.describe("alpha", engine="podman", mounts=names)
    mounts = [
        {"source": "lab:set", "target": "/d", "hash": True},
        {"source": str(data.parent / "to-one"), "target": "/one", "hash": True},
        {"source": str(data / "a"), "target": "/a"},
        {"source": str(data / "deep"), "target": "/deep"},
    ]
    file = desk.experiment("inputs", "cp /d/a /out/a", mounts=mounts)
    planned = desk.tfslurm("plan", file, "--cluster", "alpha")
    assert f"lab:set = {data} -> /d (ro, hashed)" in planned.stdout, planned.stdout + planned.stderr
    job = desk.submit(file)
    found = inputs_of(desk, job)
    tree = sha256(listed(data)).hexdigest()
    assert [(each["name"], each["path"], each["bytes"], each["hashed"]) for each in found] == [
        ("lab:set", str(data), 100_001, "full"), (None, str(data.parent / "to-one"), 5, "full"),
        (None, str(data / "a"), 1, "no"), (None, str(data / "deep"), None, "no"),
    ]  # fmt: skip
    assert (found[0]["tree_sha256"], found[1]["sha256"]) == (tree, sha256(b"alone").hexdigest())
    attempt = desk.run_folder(job) / "attempt-1"
    assert (attempt / "inputs" / "0.list").read_bytes() == listed(data)
    again = inputs_of(desk, desk.submit(file, "--again"))
    assert [each["hashed"] for each in again] == ["cached", "cached", "no", "no"]
    assert [each["tree_sha256"] for each in again] == [each["tree_sha256"] for each in found]
    assert f"unchanged      input lab:set: sha256 {tree}" in desk.tfslurm("verify", job).stdout
    (data / "a").write_text("2")
    said = desk.tfslurm("verify", job)
    assert said.returncode == 1 and f"changed        input lab:set: a in {data} changed" in said.stdout, said.stdout
    assert f"unchanged      input {data.parent / 'to-one'}: sha256 {found[1]['sha256']}" in said.stdout
    changed, known, *_ = inputs_of(desk, desk.submit(file, "--again"))
    assert (changed["hashed"], known["hashed"]) == ("full", "cached")
    assert changed["tree_sha256"] == sha256(listed(data)).hexdigest() != tree


def test_several_tasks_hash_once_before_any_begins_and_what_cannot_be_read_is_said(desk: Desk) -> None:
    data = data_of(desk)
    secret = data / "deep" / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    mounts = [
        {"source": str(data), "target": "/d", "hash": True},
        {"source": str(data.parent / "one"), "target": "/one", "hash": True},
    ]
    resources = {"tasks_per_node": 2, "cpus": 2}
    job = desk.submit(desk.experiment("tasks", "cat /one", mounts=mounts, resources=resources, network="none"))
    unread, one = inputs_of(desk, job)
    assert (unread["hashed"], unread["tree_sha256"], one["hashed"]) == ("no", None, "full")
    assert unread["why"].startswith("./deep/secret cannot be read; let alice read it (chmod)")
    assert f"inputs: {data} was not hashed: {unread['why']}" in desk.record(job)["warnings"]
    events = [
        (desk.run_folder(job) / "attempt-1" / "facts" / f"task-{rank}" / "events.tsv").read_text() for rank in (0, 1)
    ]
    assert [text.count("\tinputs\t") for text in events] == [2, 0]
    hashed = next(line for line in events[0].splitlines() if "\tinputs\t" in line)
    assert all(hashed < next(line for line in text.splitlines() if "\ttask-began\t" in line) for text in events)
    (said,) = desk.run_folder(job).parent.glob("slurm-*.out")
    assert f"inputs: {data} was not hashed: ./deep/secret" in said.read_text()


def test_a_job_that_is_cancelled_while_it_hashes_ends_and_leaves_no_process(desk: Desk) -> None:
    huge = desk.data("alpha") / "huge"
    huge.parent.mkdir(parents=True, exist_ok=True)
    huge.touch()
    os.truncate(huge, 2**42)  # holes: it takes up nothing, and an hour to read
    mounts = [{"source": str(huge), "target": "/huge", "hash": True}]
    job = desk.submit(desk.experiment("huge", "true", mounts=mounts))
    runs, number = desk.root("alpha") / "runs", job.partition(":")[2]
    began = f"*/{number}/attempt-1/facts/task-0/events.tsv"
    until(lambda: any("\tinputs-began\t" in path.read_text() for path in runs.glob(began)), 60)
    assert desk.tfslurm("cancel", job).returncode == 0
    assert desk.ended(job) == "CANCELLED"
    until(lambda: not [line for _, line in processes() if line.startswith("sha256sum --zero -- ./data")], 20)
    (one,) = desk.record(job)["inputs"]
    assert (one["hashed"], one["sha256"], one["bytes"]) == ("no", None, None)
    assert not (desk.run_folder(job) / "attempt-1" / "inputs").exists()

"""Would a record still run? Asked of a stand-in for a registry, of this machine as a cluster, and of a tracker."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.fakes.registry import (
    MANIFEST,
    Asked,
    Said,
    StandIn,
    Start,
    digest_of,
    error,
    image_config,
    image_manifest,
    no_settings_of_this_machine,
    serve_image,
    start,
)
from tests.test_record import case
from tfslurm.audit.findings import driver_findings, gpu_findings
from tfslurm.image import Pin, lock_text
from tfslurm.job_plan import identify
from tfslurm.record import Record, record_json
from tfslurm.record.model import Code, Output, Verdict, seal
from tfslurm.record.task_model import Gpu
from tfslurm.registry.served import Served, served
from tfslurm.registry.wire import Patience
from tfslurm.retrieval.records import drivers_of
from tfslurm.tracker import JobUpdate, SeenDriver

__all__ = ["no_settings_of_this_machine", "start"]
TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
QUICK = Patience(request_s=1.0, place_s=2.0)


@pytest.fixture
def laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_settings_of_this_machine: None) -> Iterator[Laptop]:
    yield Laptop.made(tmp_path, monkeypatch)


def a_record(laptop: Laptop, pin: Pin, number: int = 0, **changes: Any) -> Record:
    """A job of this image that has ended, its record in the tracker, its files in the cluster's folder."""
    source = case("tensorflow")
    moment = f"2026-11-23T07:{number // 60:02}:{number % 60:02}.000000Z"
    made = identify(replace(source.plan, pin=pin, cluster="alpha", root=str(laptop.root), planned_at=moment))
    found = source.build()
    assert found.asked is not None
    about = replace(found.job, job_id=str(17 + number), cluster="alpha")
    outputs = (Output("metrics.json", 2, "0" * 64), Output("sub/model.h5", 2, "1" * 64))
    record = replace(
        found,
        job=about,
        record_id=f"urn:{number}",
        plan_id=made.plan_id,
        plan_sha256=made.plan_sha256,
        run_folder=str(made.run_dir),
        asked=replace(found.asked, lock=lock_text(pin)),
        image=replace(found.image, digest=pin.digest, tag=pin.tag, registry=pin.registry, repository=pin.repository),
        code=Code("https://example.org/x.git", "a" * 40, "main", True, TREE),
        experiment=replace(found.experiment, outputs=outputs),
        **changes,
    )
    tracker = laptop.tracker
    tracker.plan(made, laptop.known.text)
    tracker.submit(made, about.job_id)
    (job,) = tracker.jobs(job_id=about.job_id)
    tracker.update_jobs([JobUpdate(job, "COMPLETED", True, {})])
    tracker.keep(job, record_json(seal(record)))
    tracker.note_drivers(list(drivers_of(job, record)))
    tracker.close()
    (laptop.root / "code" / TREE).mkdir(parents=True, exist_ok=True)
    for output in outputs:
        path = Path(made.run_dir) / about.job_id / "out" / output.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return record


def pin_of(server: StandIn, digest: str, tag: str = "1", **changes: Any) -> Pin:
    pin = replace(
        case("tensorflow").plan.pin, reference=f"{server.address}/team/tf:{tag}", registry=server.address,
        repository="team/tf", tag=tag, digest=digest, digest_kind="manifest", manifest_digest=digest,
    )  # fmt: skip
    return replace(pin, **changes)


def audited(laptop: Laptop, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = laptop.type("audit", *words, "--json")
    return code, json.loads(capsys.readouterr().out)


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["status"] for each in found["findings"]}


# --- what registries say


def test_an_unmoved_tag_answers_for_the_digest_too_with_one_head(start: Start) -> None:
    registry = start()
    digest = serve_image(registry)
    assert served(pin_of(registry, digest), {}) == Served(f"{registry.address}/team/tf", tag_now=digest)
    assert [(one.method, one.path) for one in registry.asked] == [("HEAD", "/v2/team/tf/manifests/1")]


def test_a_moved_tag_and_a_tag_that_is_gone_leave_the_digest_served(start: Start) -> None:
    registry = start()
    digest = serve_image(registry)
    other = registry.put("/v2/team/tf/manifests/1", b"{}", MANIFEST)
    found = served(pin_of(registry, digest), {})
    assert (found.place, found.tag_now, found.tag_is_gone) == (f"{registry.address}/team/tf", other, False)
    del registry.paths["/v2/team/tf/manifests/1"]
    found = served(pin_of(registry, digest), {})
    assert (found.place, found.tag_now, found.tag_is_gone) == (f"{registry.address}/team/tf", "", True)
    assert {one.method for one in registry.asked if "manifests" in one.path} == {"HEAD"}


def test_a_mirror_alone_is_enough_and_one_that_lies_is_not_believed(start: Start) -> None:
    registry, liar, mirror = start(), start("127.0.0.2"), start("127.0.0.3")
    digest = serve_image(mirror)
    liar.put(f"/v2/team/tf/manifests/{digest}", b"{}", MANIFEST)
    found = served(pin_of(registry, digest), {registry.address: [liar.address, mirror.address]})
    assert found.place == f"{mirror.address}/team/tf"


NOT_THERE = error(404, "MANIFEST_UNKNOWN", "manifest unknown")


@pytest.mark.parametrize(
    ("answer", "is_gone", "why"),
    [
        (NOT_THERE, True, "or never pushed there"),
        (error(401, "UNAUTHORIZED", "no", WWW_Authenticate='Basic realm="x"'), False, "HTTP 401"),
        (error(403, "DENIED", "no"), False, "HTTP 403"),
        (error(429, "TOOMANYREQUESTS", "no", Retry_After="60"), False, "HTTP 429"),
        (error(500, "", ""), False, "HTTP 500"),
        (error(405, "UNSUPPORTED", "no"), False, "HTTP 405"),
        (Said(302, headers={"Location": "http://elsewhere.example/"}), False, "redirects"),
    ],
)
def test_only_a_plain_no_of_every_place_is_a_no(start: Start, answer: Said, is_gone: bool, why: str) -> None:
    registry, mirror = start(), start("127.0.0.2")
    registry.guard = lambda asked: answer if "manifests" in asked.path else Said(200)
    found = served(pin_of(registry, "sha256:" + "0" * 64), {registry.address: [mirror.address]}, patience=QUICK)
    assert (found.place, found.is_gone) == ("", is_gone) and why in found.why


def hides(server: StandIn, asked: Asked, *, lists: bool) -> Said:
    """What is private, or not there, to one without a login."""
    if asked.path == "/v2/":
        return error(401, "UNAUTHORIZED", "no", WWW_Authenticate=f'Bearer realm="{server.url}/token"')
    return Said(200) if asked.path.startswith("/token") or (lists and "tags" in asked.path) else NOT_THERE


@pytest.mark.parametrize("lists", [True, False])
def test_what_a_registry_hides_from_those_without_a_login_is_not_known(start: Start, lists: bool) -> None:
    registry = start()
    registry.paths["/token"] = Said(200, b'{"token": "t"}')
    registry.paths["/v2/team/tf/tags/list"] = Said(200, b'{"tags": []}')
    registry.guard = lambda asked: hides(registry, asked, lists=lists)
    found = served(pin_of(registry, "sha256:" + "0" * 64), {})
    assert found.is_gone is lists
    assert lists or "for those who are not logged in" in found.why


def test_a_registry_that_is_not_there_is_not_known(start: Start) -> None:
    registry = start()
    registry.guard = lambda asked: Said(503)
    pin = replace(pin_of(registry, "sha256:" + "0" * 64), registry="127.0.0.1:1")
    found = served(pin, {pin.registry: [registry.address]}, patience=QUICK)
    assert not found.is_gone and "refuses connections" in found.why and "HTTP 503" in found.why


@pytest.mark.parametrize("field", ["registry", "repository", "tag"])
def test_a_name_in_a_strangers_record_that_is_none_asks_nobody(start: Start, field: str) -> None:
    registry = start()
    wrong: dict[str, Any] = {field: "../../x?y"}
    found = served(replace(pin_of(registry, "sha256:" + "0" * 64), **wrong), {})
    assert not found.place and not found.is_gone and found.why and registry.asked == []


# --- what the other checks say


def test_a_whole_record_has_nothing_amiss(laptop: Laptop, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    registry = start()
    a_record(laptop, pin_of(registry, serve_image(registry)))
    code, (found,) = audited(laptop, capsys, "alpha:17")
    assert (code, found["status"]) == (0, "ok")
    assert statuses(found) == dict.fromkeys(("image", "tag", "driver", "code", "outputs"), "ok")
    assert laptop.type("audit", "17") == 0
    said = capsys.readouterr()
    assert "alpha:17  ok      image, driver, code and outputs are there" in said.out and "1 ok" in said.err


def test_all_that_rots_is_in_one_line_with_what_to_do(
    laptop: Laptop, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    record = a_record(laptop, pin_of(registry, "sha256:" + "0" * 64))
    (laptop.root / "code" / TREE).rmdir()
    (laptop.root / "code" / TREE).symlink_to("/")
    (Path(str(record.run_folder)) / "17" / "out" / "metrics.json").unlink()
    code, (found,) = audited(laptop, capsys, "last")
    assert (code, found["status"]) == (1, "rot")
    assert statuses(found) == {"image": "rot", "driver": "ok", "code": "rot", "outputs": "rot"}
    assert laptop.type("audit", "alpha:17") == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("alpha:17")]
    for words in (
        "no registry has sha256:0000",
        "push a copy to a mirror",
        f"the snapshot {TREE} is gone",
        "metrics.json",
    ):
        assert words in line


def test_a_root_that_is_not_there_is_no_loss_of_files(
    laptop: Laptop, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    a_record(laptop, pin_of(registry, serve_image(registry)))
    laptop.root.rename(laptop.root.with_name("elsewhere"))
    code, (found,) = audited(laptop, capsys, "alpha:17")
    assert (code, found["status"]) == (0, "unknown")
    assert "is its file system mounted?" in json.dumps(found)


def test_code_of_a_clean_commit_may_be_had_from_its_remote(
    laptop: Laptop, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    record = a_record(laptop, pin_of(registry, serve_image(registry)))
    assert record.code is not None
    (job,) = laptop.tracker.jobs()
    laptop.tracker.keep(job, record_json(seal(replace(record, code=replace(record.code, dirty=False)))))
    (laptop.root / "code" / TREE).rmdir()
    code, (found,) = audited(laptop, capsys, "alpha:17")
    assert (code, statuses(found)["code"]) == (0, "unknown")
    assert f"git fetch https://example.org/x.git {'a' * 40}" in json.dumps(found)


def test_paths_of_a_strangers_record_lead_nowhere(
    laptop: Laptop, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    record = a_record(laptop, pin_of(registry, serve_image(registry)))
    outputs = tuple(Output(path, 1, "0" * 64) for path in ("../../x", "/etc/passwd", "a\0b", ""))
    bad = replace(record, experiment=replace(record.experiment, outputs=outputs), run_folder="/etc")
    for changed, why in ((bad, "is not one of alpha's"), (replace(bad, run_folder=record.run_folder), "0 of 4 files")):
        path = tmp_path / "record.json"
        path.write_text(json.dumps(record_json(seal(changed))))
        _, (found,) = audited(laptop, capsys, str(path))
        assert why in json.dumps(found)


def test_many_records_of_ten_images_are_ten_heads_and_one_question(
    laptop: Laptop, start: Start, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfslurm.host.local import LocalHost

    registry, count = start(), 30
    digests = [serve_image(registry, str(tag)) for tag in range(10)]
    for number in range(count):
        a_record(laptop, pin_of(registry, digests[0], str(number % 10)), number)
    asked: list[Any] = []
    run = LocalHost.run_bytes

    def note(self: LocalHost, argv: Any, **more: Any) -> bytes:
        asked.append(argv)
        return run(self, argv, **more)

    monkeypatch.setattr(LocalHost, "run_bytes", note)
    code, found = audited(laptop, capsys, "--all")
    assert (code, len(found), {each["status"] for each in found}) == (0, count, {"ok"})
    assert [one.method for one in registry.asked] == ["HEAD"] * 10 and len(asked) == 1


# --- drivers and broken images


OLD, NEW = "525.60.13", "555.42.06"


def gpu_record() -> tuple[Record, Pin]:
    """A record of a job with a GPU, and its pin."""
    source = case("tensorflow")
    return source.build(), source.plan.pin


def seen(version: str, day: int = 1, node: str = "alpha1") -> SeenDriver:
    return SeenDriver("alpha", "gpu", node, version, f"2026-12-0{day}T00:00:00Z", "check")


def with_driver(version: str) -> tuple[Record, Pin]:
    record, pin = gpu_record()
    task = record.attempts[-1].tasks[0]
    gpu = task.gpus or ()
    task = replace(task, driver_version=version, gpus=gpu or (Gpu("GPU-1", "A100", 40960),))
    attempt = replace(record.attempts[-1], tasks=(task,))
    environment = {"CUDA_VERSION": "12.3.0"}
    return (
        replace(record, attempts=(attempt,), job=replace(record.job, partition="gpu")),
        replace(pin, environment=environment),
    )


@pytest.mark.parametrize(
    ("now", "status", "words"),
    [
        ([], "unknown", "was seen since"),
        ([seen(NEW)], "ok", "as in the record"),
        ([seen("560.28.03")], "note", f"was {NEW}, is 560.28.03 (alpha1, seen 2026-12-01)"),
        ([seen("470.42.01")], "rot", "too old for the image now: 470.42.01"),
        ([seen("470.42.01"), seen(NEW, node="alpha2")], "note", "too old for the image: 470.42.01"),
        ([seen(NEW)._replace(partition="other")], "unknown", "no driver of partition gpu"),
    ],
)
def test_a_changed_driver_is_a_note_and_one_that_is_too_old_is_rot(
    now: list[SeenDriver], status: str, words: str
) -> None:
    record, pin = with_driver(NEW)
    (found,) = driver_findings(record, pin, now)
    assert (found.name, found.status) == ("driver", status) and words in found.reason


@pytest.mark.parametrize("tag", ["2.18.0-gpu", "2.19.1-gpu", "2.20.0-gpu-jupyter", "2.21.0-gpu"])
def test_an_image_in_which_tensorflow_finds_no_gpu_is_rot_for_a_job_with_gpus(tag: str) -> None:
    record, pin = with_driver(NEW)
    none = replace(record.environment, cuda=None, cuda_present=None, cudnn=None, cudnn_present=None)
    record, pin = replace(record, environment=none), replace(pin, repository="tensorflow/tensorflow", tag=tag)
    for status, wanted in (("unknown", "rot"), ("ok", "note")):
        told = replace(record, verified=replace(record.verified, tensorflow_gpu=Verdict(status, "")))
        (found,) = gpu_findings(told, pin)
        assert (found.name, found.status) == ("tensorflow", wanted) and "2.17.0-gpu" in found.fix
    assert not list(gpu_findings(record, replace(pin, tag="2.17.0-gpu")))


# --- the look whether a tag has moved


def test_a_pin_that_was_compared_is_asked_about_with_one_head(
    start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    serve_image(registry)
    name = laptop.experiment(image=f"{registry.address}/team/tf:1")
    lock = laptop.folder / "exp.lock.yaml"
    lock.unlink()

    def asked(*more: str) -> list[str]:
        registry.asked.clear()
        assert laptop.type("pin", name, *more) == 0
        return [one.method for one in registry.asked]

    assert asked() == ["GET", "GET"]
    assert asked() == ["HEAD"] and "the tag still stands for the pinned digest" in capsys.readouterr().err
    lock.write_text(re.sub(r'(pinned_at: "?)....', r"\g<1>2019", lock.read_text()))
    assert (asked(), asked(), asked("--update")) == (["GET", "GET"], ["HEAD"], ["GET", "GET"])
    config = image_config(created="2026-01-01T00:00:00Z")
    registry.paths[f"/v2/team/tf/blobs/{digest_of(config)}"] = Said(200, config)
    registry.put("/v2/team/tf/manifests/1", image_manifest(config), MANIFEST)
    assert asked()[0] == "HEAD" and "the tag has moved" in capsys.readouterr().err


def test_a_submit_looks_with_one_head_whether_the_tag_still_stands(
    start: Start, laptop: Laptop, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = start()
    serve_image(registry)
    name = laptop.experiment(image=f"{registry.address}/team/tf:1")
    (laptop.folder / "exp.lock.yaml").unlink()
    assert laptop.type("pin", name) == 0
    registry.asked.clear()
    assert laptop.type("submit", name, "--cluster", "alpha") == 0
    assert "moved" not in capsys.readouterr().err
    assert [(one.method, one.path) for one in registry.asked] == [("HEAD", "/v2/team/tf/manifests/1")]

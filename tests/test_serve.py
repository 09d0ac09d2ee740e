"""A model that a job left: which one it is, what it is held against, and the job that serves it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from tests.fakes.laptop import Laptop
from tests.made import PIN
from tests.test_channels import INSIDE, TOKEN
from tests.test_door import ask
from tests.test_door import served as running
from tests.test_tensorboard import begun
from tests.typed import Type
from tfslurm.errors import InputError, TfslurmError
from tfslurm.host.fetching import Entry, Outputs
from tfslurm.image import lock_text
from tfslurm.job_plan.holding import Served, Service, served_by
from tfslurm.monitoring.lookup import find_job
from tfslurm.record.model import Output
from tfslurm.services.model import Found, chosen, contents_sha256, files_of, model_of, refuse_changes
from tfslurm.services.service import page_of, serving
from tfslurm.submission.once import prepared_for
from tfslurm.submission.pinning import lock_sha256
from tfslurm.workspace.session import Session


class Job:
    """What of a job is asked here."""

    key = "alpha:12"


JOB: Any = Job()


def outputs(*paths: str, links: tuple[str, ...] = ()) -> Outputs:
    files = [Entry("f", path, 5) for path in paths]
    return Outputs((*files, *(Entry("l", path, target="/etc") for path in links)), {}, ())


def found(path: str, *paths: str, said: list[str] | None = None) -> Found:
    session: Any = type("Session", (), {"say": (said if said is not None else []).append})()
    return chosen(session, JOB, outputs(*paths), path)


def test_the_one_model_is_found_in_each_layout() -> None:
    assert found("", "model/saved_model.pb", "log") == Found("model", 1, "model")
    assert found("", "saved_model.pb", "variables/variables.index") == Found("", 1, "")
    assert found("", "m/1/saved_model.pb", "m/10/saved_model.pb", "m/9/saved_model.pb") == Found("m", 10, "m/10")
    assert found("m/9", "m/10/saved_model.pb", "m/9/saved_model.pb") == Found("m/9", 9, "m/9")
    assert found("m", "m/2/saved_model.pb", "n/saved_model.pb") == Found("m", 2, "m/2")
    assert found("a", "a/b/c/saved_model.pb", "d/saved_model.pb") == Found("a/b/c", 1, "a/b/c")
    assert found("", "best.keras", "notes") == Found("best.keras", 1, "best.keras")
    assert found("b.keras", "a.keras", "b.keras").path == "b.keras"
    said: list[str] = []
    assert found("", "model/saved_model.pb", "a.keras", said=said).path == "model"
    assert said == ["alpha:12: serves model; beside it are a.keras"]


@pytest.mark.parametrize(
    ("path", "paths", "why"),
    [
        ("", [], r"has no model: no folder with saved_model.pb, and no file .keras; save one with `model.export"),
        ("x", ["model/saved_model.pb"], r"alpha:12:x: has no model: .*; it has model$"),
        ("mod", ["model/saved_model.pb"], r"alpha:12:mod: has no model"),
        ("", ["a/saved_model.pb", "b/saved_model.pb"], r"has several models: a, b; name one: alpha:12:a$"),
        ("", ["a.keras", "b/c.keras"], r"has several models: a.keras, b/c.keras; name one: alpha:12:a.keras"),
        ("", [f"{n:02}.keras" for n in range(30)], r"09.keras and 20 more"),
    ],
)
def test_none_and_several_are_refused_with_what_there_is(path: str, paths: list[str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        found(path, *paths)


def test_links_odd_names_and_files_without_end_are_refused() -> None:
    model = Found("m", 1, "m")
    assert [each.path for each in files_of(outputs("m/saved_model.pb", "n"), model, JOB)] == ["m/saved_model.pb"]
    for paths, links in ((("m/a\nb",), ()), (("m/a\\b",), ()), (("m/\udcff",), ()), ((), ("m/variables",))):
        with pytest.raises(InputError, match="in it is a link, no file, or has an unfit name"):
            files_of(outputs("m/saved_model.pb", *paths, links=links), model, JOB)
    with pytest.raises(InputError, match="has 10001 files, and 10000 is the most"):
        files_of(outputs(*(f"m/{n}" for n in range(10_001))), model, JOB)


def test_a_file_that_is_gone_or_new_since_the_record_is_named() -> None:
    model = Found("m", 1, "m")
    files = [Entry("f", "m/a", 3), Entry("f", "m/c", 4), Entry("f", "m/new")]
    then = [Output("m/a", 3, "0" * 64), Output("m/b", 3, "0" * 64), Output("m/c", 5, "0" * 64)]
    why = "m is not what its record says: m/b is gone, m/new is new, m/c has 4 bytes, not 5; `tfslurm verify alpha:12`"
    with pytest.raises(TfslurmError, match=why):
        refuse_changes(JOB, model, files, then)
    refuse_changes(JOB, model, files[:2], [then[0], Output("m/c", None, "0" * 64)])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The program in the container, as a module."""
    monkeypatch.syspath_prepend(str(INSIDE))
    import model_server  # type: ignore[import-not-found,unused-ignore]

    yield model_server
    sys.modules.pop("model_server")


def test_the_container_and_the_client_agree_on_what_the_contents_are(server: Any, tmp_path: Path) -> None:
    texts = {"saved_model.pb": "x", "variables/variables.index": "", "variables-x": "é", "assets/é.txt": "1"}
    for path, text in texts.items():
        (tmp_path / "m" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / path).write_text(text)
    sums = {f"m/{path}": hashlib.sha256(text.encode()).hexdigest() for path, text in texts.items()}
    wanted = contents_sha256(Found("m", 1, "m"), sums)
    assert server.contents_sha256(str(tmp_path / "m")) == wanted
    whole = {path.removeprefix("m/"): digest for path, digest in sums.items()}
    assert contents_sha256(Found("", 1, ""), whole) == wanted
    of_file = {"a.keras": sums["m/saved_model.pb"]}
    assert contents_sha256(Found("a.keras", 1, "a.keras"), of_file) == sums["m/saved_model.pb"]
    assert server.contents_sha256(str(tmp_path / "m" / "saved_model.pb")) == sums["m/saved_model.pb"]
    served = {"path": "m", "run": "alpha:12", "sha256": wanted}
    server.check(str(tmp_path / "m"), served)
    (tmp_path / "m" / "saved_model.pb").write_text("y")
    with pytest.raises(server.Refused, match=f"m of alpha:12 has changed: .* were sha256:{wanted}"):
        server.check(str(tmp_path / "m"), served)
    (tmp_path / "m" / "assets" / "link").symlink_to("/etc")
    with pytest.raises(server.Refused, match="assets/link is a link"):
        server.contents_sha256(str(tmp_path / "m"))


def test_the_job_mounts_the_model_alone_and_its_words_say_which_it_is(laptop: Laptop, typed: Type) -> None:
    said: list[str] = []
    job = begun(laptop, typed)
    (out,) = laptop.root.glob(f"runs/*/{job.partition(':')[2]}/out")
    (out / "m" / "3").mkdir(parents=True)
    (out / "m" / "3" / "saved_model.pb").write_text("x")
    with Session(said.append) as session:
        asked, known, service = model_of(session, f"{job}:m", "", ["resources.gpus=1"], 60)
        (prepared,) = prepared_for(session, serving(asked, service), [known])
    plan, of_run = prepared.plan, laptop.tracker.plans(plan_id=find_job(laptop.tracker, job).plan_id)[0].plan
    assert said == [f"{job}: there is no record yet of m/3: it is served as it is now"]
    assert (plan.name, plan.pin.digest, plan.network) == ("serve", of_run.pin.digest, "none")
    assert (plan.resources.gpus, plan.resources.memory_mib) == (1, 4096)
    assert [(each.run, each.target, each.read_only, each.hash) for each in plan.mounts] == [
        (f"run:{job}/out/m/3", "/model", True, True)
    ]
    listed = f"{hashlib.sha256(b'x').hexdigest()}  saved_model.pb\n"
    digest = hashlib.sha256(listed.encode()).hexdigest()
    assert json.loads(plan.command[-1]) == {
        "name": "digits",
        "version": 3,
        "run": job,
        "path": "m/3",
        "files": 1,
        "bytes": 1,
        "sha256": digest,
    }
    assert page_of(service) == "/v1/models/digits"


def test_what_names_no_model_is_refused_before_anything_is_submitted(laptop: Laptop, typed: Type) -> None:
    job = begun(laptop, typed)
    for words, why in (
        (["4711"], "job '4711': is not in the tracker"),
        (["alpha:4711:m"], "job 'alpha:4711': is not in the tracker"),
        (["train/exp.yaml"], "names a file, and a model is served out of a job; submit it, then `tfslurm serve last`"),
        ([f"{job}:../m"], f"path '../m': is no path in the outputs of a job; write {job}:PATH"),
        ([f"{job}:/etc"], "is no path in the outputs"),
        ([f"{job}:m//n"], "is no path in the outputs"),
        ([job], "has no model"),
        ([job, "--name", "a/b"], "--name 'a/b': is no name of a model"),
        ([job, "--set", "image=x"], "is no key of a model server's job; it takes resources.gpus, "),
        ([job, "--set", "resources.gpu=1"], "is no key of a model server's job; did you mean `resources.gpus`? it"),
        ([job, "--idle-after", "soon"], "is no time"),
        ([typed("submit", laptop.experiment()).stdout.strip()], "kept nothing: its experiment had no `outputs`"),
    ):
        done = typed("serve", *words)
        assert (done.returncode, why in done.stderr) == (2, True), (words, done.stderr)
    assert [each for each in laptop.folders() if "serve" in each] == []


def test_a_service_serves_no_model_and_names_the_job_that_has_one(laptop: Laptop, typed: Type) -> None:
    served = Served("digits", 1, "alpha:7", "m", 2, 10, "0" * 64)
    for service, fix in (
        (Service("serve", 60, (served.word,)), "is a service (serve), and leaves no model; `tfslurm serve alpha:7:m`"),
        (Service("tensorboard", 60, ('["a", {}]',)), "is a service (tensorboard), and leaves no model; name the job"),
        (Service("jupyter", 60), "has no model: no folder with saved_model.pb"),
    ):
        begun(laptop, typed, command=[*service.command])
        done = typed("serve", "last")
        assert (done.returncode, fix in done.stderr) == (2, True), (service, done.stderr)


def test_a_word_that_is_no_model_is_none() -> None:
    for word in ("", "x", "[]", "{}", '{"name": 1}'):
        assert served_by(Service("serve", 0, (word,))) is None
    assert served_by(Service("serve", 0)) is served_by(Service("jupyter", 0, ("{}",))) is None


def test_what_the_model_answers_is_json_with_the_digest_beside_it(server: Any) -> None:
    """The model is a stand-in: there is no TensorFlow here."""

    class Model:
        served: ClassVar = {"sha256": "0" * 64}

        def answered(self, path: str, body: bytes | None) -> tuple[int, Any]:
            return 200, [path, None if body is None else body.decode()]

    behind = server.Server(("127.0.0.1", 0), server.Handler)
    behind.model = Model()
    with running(behind) as port:
        status, text, headers = ask(port, "/v1/models/m", "GET")
        assert (status, json.loads(text), headers["X-Tfslurm-Model-Sha256"]) == (200, ["/v1/models/m", None], "0" * 64)
        assert json.loads(ask(port, "/x?y", "POST", "{")[1]) == ["/x?y", "{"]
        status, text, headers = ask(port, "/v1/models/m", "HEAD")
        assert (status, text, int(headers["Content-Length"]) > 0) == (200, "", True)


LOADS = """
import os, sys

state, ends = sys.argv[1:3]
with open(os.path.join(state, "begun"), "a+") as file:
    file.write("x")
    file.seek(0)
    count = len(file.read())
if "loads" in ends:
    open(os.path.join(state, "loaded"), "w").close()
if "changes" in ends:
    open(os.path.join(state, "model", "new"), "w").close()
if count < 3 or "always" in ends:
    os.kill(os.getpid(), 9)
sys.exit(7)
"""


def guarded(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str) -> int:
    """The exit code of a model server; what loads and answers is a stand-in, and so is the door."""
    (tmp_path / "loads.py").write_text(LOADS)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "model").mkdir()
    served = {"path": "m", "run": "alpha:12", "sha256": server.contents_sha256(str(tmp_path / "model"))}
    door = SimpleNamespace(HOST="", PORT=0, Handler=None, Door=lambda *_: SimpleNamespace(serve_forever=lambda: None))
    monkeypatch.setattr(server, "STATE", str(tmp_path))
    monkeypatch.setattr(server, "FOLDER", str(tmp_path / "model"))
    monkeypatch.setattr(server, "ITSELF", (sys.executable, str(tmp_path / "loads.py"), str(tmp_path), ends))
    monkeypatch.setattr(server, "beside", lambda name: door)
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)
    return int(server.guard(served, "{}"))


@pytest.mark.slow
@pytest.mark.parametrize(("ends", "code", "starts"), [("loads", 7, 3), ("loads always", 137, 5), ("at once", 137, 1)])
def test_a_model_server_that_a_request_ends_is_started_again_a_few_times(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, code: int, starts: int
) -> None:
    assert guarded(server, tmp_path, monkeypatch, ends) == code
    assert len((tmp_path / "begun").read_text()) == starts
    again = "a request ended the model server by signal 9: it loads the model again"
    assert (tmp_path / "notice").read_text() == ("loads the model" if starts == 1 else again)


def test_a_model_that_changed_meanwhile_is_not_loaded_again(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(server.Refused, match=r"m of alpha:12 has changed: its contents are sha256:"):
        guarded(server, tmp_path, monkeypatch, "loads changes")
    assert len((tmp_path / "begun").read_text()) == 1


def test_the_example_for_tensorrt_is_planned_and_rendered(laptop: Laptop, typed: Type) -> None:
    """It was never run: there is no GPU."""
    job = begun(laptop, typed)
    example = Path(__file__).parent.parent / "examples" / "tensorrt"
    text = (example / "exp.yaml").read_text("utf-8")
    assert text.startswith("# NOT RUN") and "NOT RUN" in (example / "convert.py").read_text("utf-8")
    (laptop.folder / "trt").mkdir()
    (laptop.folder / "trt" / "convert.py").write_text((example / "convert.py").read_text("utf-8"))
    (laptop.folder / "trt" / "exp.yaml").write_text(text.replace("alpha:1234/out", f"{job}/out"))
    image = "nvcr.io/nvidia/tensorflow:24.02-tf2-py3"
    pin = replace(PIN, reference=image, registry="nvcr.io", repository="nvidia/tensorflow", tag="24.02-tf2-py3")
    (laptop.folder / "trt" / "exp.lock.yaml").write_text(lock_text(pin))
    laptop.tracker.note_lock(lock_sha256(pin), "2026-11-29T07:00:00Z")  # no registry is asked
    done = typed("plan", "trt/exp.yaml", "--script")
    assert done.returncode == 0, done.stderr
    for line in (
        *(f"image_reference={image}", "#SBATCH --gres=gpu:1", "network=bridge"),
        "    python\n    convert.py\n    --model\n    /model\n    --precision\n    FP16",
        f"{job.partition(':')[2]}/out/digits/1 /model run",
    ):
        assert f"{line}\n" in done.stdout, line

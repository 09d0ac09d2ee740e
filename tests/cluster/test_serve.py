"""A model served on a node: trained by examples/serving with a real TensorFlow, asked through a jump host."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .browser import Browser
from .desk import Desk, Process, ids
from .docker import docker
from .hunting import hunt
from .install import CHECKOUT
from .tensorflow import REFERENCE
from .test_jupyter import JUMP, Open, is_open
from .test_python import python

NAME = "/v1/models/digits"
NOTE = """
import json, shutil, tensorflow as tf

shutil.copy("/data/model.keras", "/out/tiny.keras")
inputs = [[1.0, 2.0], [-3.5, 0.25]]
outputs = tf.keras.models.load_model("/out/tiny.keras").predict(tf.constant(inputs)).tolist()
json.dump({"inputs": inputs, "outputs": outputs}, open("/out/noted.json", "w"))
"""
SERVED = """
import json, tfslurm

noted = NOTED
with tfslurm.serve("JOB:tiny.keras", name="tiny", settings={"resources.memory": "1500M"}) as service:
    print(service.request("/v1/models/tiny").status)
    asked = json.dumps({"inputs": noted["inputs"]}).encode()
    found = json.loads(service.request("/v1/models/tiny:predict", asked).body)
    pairs = zip(sum(found["outputs"], []), sum(noted["outputs"], []))
    print(max(abs(a - b) for a, b in pairs) < 1e-6)
    print(service.request("/v1/models/tiny:predict", b'{"instances": []}'))
    print(service.request("/v1/models/other").status)
print(service.job.wait().state)
"""
JOINED = "joined.keras"
TWO = '{"instances": [{"tag": "\u00e9", "signal": [1, 2, 3]}, {"tag": {"b64": "/w=="}, "signal": [4, 5, -6]}]}'


def trained(desk: Desk, cluster: str) -> str:
    """The job of examples/serving, once it has ended."""
    folder = desk.folder / "serving"
    shutil.copytree(CHECKOUT / "examples" / "serving", folder, ignore=shutil.ignore_patterns("*.lock.yaml"))
    for path in (folder, *folder.iterdir()):
        os.chown(path, *ids())
    small = ("epochs=1", "gpu_check=off", "resources.gpus=0", "resources.memory=1500M")
    words = [word for each in small for word in ("--set", each)]
    job = desk.submit(folder / "exp.yaml", *words, cluster=cluster)
    assert desk.ended(job) == "COMPLETED", desk.tfslurm("logs", job).stdout
    return job


CASES: list[tuple[str, str, int, object]] = [
    (
        "odd",
        TWO,
        200,
        [{"raw_bytes": {"b64": "w6k="}, "text": "\u00e9!", "total": 6}, {"text": {"b64": "/yE="}, "total": 3}],
    ),
    ("odd", TWO, 200, [{"half": [0.5, 1.0, 1.5], "ok": [True, True, True]}, {"ok": [True, True, False]}]),
    (JOINED, '{"instances": [{"a": [1, 2], "b": [3]}]}', 200, [[1.0, 2.0, 3.0]]),
    (JOINED, '{"inputs": {"b": [[3.5]], "a": [[1e-3, -2]]}}', 200, [[0.0010000000474974513, -2.0, 3.5]]),
    ("odd", '{"inputs": 3, "signature_name": "zeros"}', 200, [0.0, 0.0, 0.0]),
    ("odd", '{"inputs": [0.5, 0, NaN], "signature_name": "log"}', 400, "assertion failed"),
    ("odd", '{"inputs": [0.5, 1e400], "signature_name": "log"}', 400, "assertion failed"),
    ("odd", '{"inputs": [], "signature_name": "log"}', 200, []),
    ("odd", '{"inputs": 17000000, "signature_name": "zeros"}', 400, "more than 16777216 numbers"),
    ("odd", '{"inputs": -1, "signature_name": "zeros"}', 400, "must be >= 0"),
    ("odd", '{"inputs": true, "signature_name": "zeros"}', 400, "n: is int64: it holds a value of type bool"),
    ("odd", '{"inputs": 9223372036854775808, "signature_name": "zeros"}', 400, "a number is too large for it"),
    (
        "odd",
        '{"inputs": 1, "signature_name": "none"}',
        400,
        "there is no signature 'none'; there is log, serving_default",
    ),
    ("odd", '{"instances": [[1]]}', 400, "name the inputs: signal, tag"),
    ("odd", '{"instances": [{"tag": "a"}]}', 400, "instances[0]: the inputs are signal, tag, not 'tag'"),
    ("odd", '{"instances": [{"tag": "a", "signal": [1, 2, 3]}, 5]}', 400, "instances[1] is no object"),
    (
        "odd",
        '{"instances": [{"tag": "a", "signal": [1, 2]}]}',
        400,
        "signal: its shape is [1, 2], and must be (None, 3)",
    ),
    ("odd", '{"instances": [{"tag": "a", "signal": [1, 2.5, 3]}]}', 400, "int32: it holds a value of type float"),
    ("odd", '{"instances": [{"tag": "a", "signal": [1, [2], 3]}]}', 400, "lists of several lengths"),
    ("odd", '{"instances": [{"tag": 1, "signal": [1, 2, 3]}]}', 400, "tag: is string: it holds a value of type int"),
    ("odd", '{"instances": [{"tag": {"b64": "!"}, "signal": [1, 2, 3]}]}', 400, "tag: is no base64"),
    ("odd", '{"instances": []}', 400, "`instances` is no list, or an empty one"),
    ("odd", '{"instances": [1], "inputs": [1]}', 400, "either `instances` or `inputs`"),
    ("odd", '{"instances": ' + "[" * 100_000, 400, "nested too deeply"),
    (JOINED, '{"inputs": {"a": ' + "[" * 500 + "]" * 500 + ', "b": 1}}', 400, "a: "),
    ("odd", "{", 400, "the request is no JSON"),
]


@contextmanager
def served(desk: Desk, *words: str) -> Iterator[Open]:
    """`tfslurm serve`, once its URL is printed; it is killed at the end if it still runs."""
    process = desk.start("serve", *words, "--json", "-vv", "--set", "resources.memory=1500M", cluster=None)
    found: list[Open] = []
    try:
        told = json.loads(document(process))
        url = re.fullmatch(rf"http://127\.0\.0\.1:(\d+){NAME}\?token=([\w-]{{43}})", told["url"])
        assert url, told
        found.append(Open(process, told, Browser(int(url[1]), url[2])))
        yield found[0]
    finally:
        process.kill()
        process.wait()
        for each in found:
            each.reader.join(30)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def document(process: Process) -> str:
    """The JSON document that a command prints first."""
    assert process.stdout
    text = ""
    while not text.endswith("\n}\n"):
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"no URL: {process.communicate()[1][-3000:]}")
        text += line
    return text


def test_a_model_is_asked_through_the_tunnel_and_says_what_it_said_when_it_was_trained(desk: Desk) -> None:
    desk.describe("alpha", login={**JUMP, "port": 2201, "transport": "paramiko"})
    job = trained(desk, "alpha")
    noted = json.loads(desk.out(job, "examples.json"))
    with served(desk, job) as model:
        browser = model.browser
        for stranger in (Browser(browser.port), Browser(browser.port, "x" * 43)):
            assert stranger.ask(NAME)[0] == 403
        assert browser.ask(NAME)[1]["model_version_status"][0]["state"] == "AVAILABLE"
        status, said = browser.ask(f"{NAME}:predict", {"instances": noted["instances"]})
        assert (status, furthest(said["predictions"], noted["predictions"]) < 1e-6) == (200, True), said
        script = [sys.executable, str(CHECKOUT / "examples" / "serving" / "predict.py"), model.told["url"]]
        done = subprocess.run([*script, desk.run_folder(job) / "out" / "examples.json"], capture_output=True, text=True)
        assert done.stdout.count("as it was in training, within") == len(noted["labels"]), done.stderr
        contents = browser.ask(f"{NAME}/metadata")[1]["tfslurm"]
        (listed,) = json.loads(desk.tfslurm("services", "--json", cluster=None).stdout)
        assert (listed["job"], listed["kind"], listed["gpus"]) == (model.job, "serve", 0)
        hunt(desk, model.job, browser.token)
        model.process.send_signal(signal.SIGINT)
        code, said = model.ends()
        assert (code, browser.token in said, "loads the model" in said) == (130, False, True), said
    assert not is_open(browser)
    assert desk.ended(model.job) == "CANCELLED"
    record = desk.record(model.job)
    (mounted,) = record["inputs"]
    assert (mounted["name"], mounted["hashed"]) == (f"run:{job}/out/digits/1", "full")
    assert contents == {"run": job, "path": "digits/1", "sha256": contents_sha256(desk.record(job), "digits/1")}
    assert f"contents sha256:{contents['sha256']}" in desk.tfslurm("provenance", model.job).stdout


def test_a_file_of_keras_is_served_from_python_and_one_that_has_changed_is_not(desk: Desk) -> None:
    desk.set_up_podman()
    desk.describe("beta", engine="podman", login={**JUMP, "port": 2202, "transport": "openssh"})
    desk.data("beta").mkdir()
    with zipfile.ZipFile(CHECKOUT / "tests" / "tensorflow_files.zip") as files:
        (desk.data("beta") / "model.keras").write_bytes(files.read("a/model.keras"))
    mounts = [{"source": str(desk.data("beta")), "target": "/data"}]
    resources = {"memory": "1500M"}
    file = desk.experiment(
        "tiny", ["python3", "-c", NOTE], image=REFERENCE, mounts=mounts, resources=resources, gpu_check="off"
    )
    job = desk.submit(file, cluster="beta")
    assert desk.ended(job) == "COMPLETED", desk.tfslurm("logs", job).stderr
    said = python(desk, SERVED.replace("JOB", job).replace("NOTED", desk.out(job, "noted.json"))).splitlines()
    empty = 'Answer(status=400, body=b\'{"error": "`instances` is no list, or an empty one"}\\n\')'
    assert said == ["200", "True", empty, "404", "CANCELLED"]
    with (desk.run_folder(job) / "out" / "tiny.keras").open("ab") as changed:
        changed.write(b"x")
    done = desk.tfslurm("serve", job, cluster=None)
    assert (done.returncode, f"{job}: tiny.keras is not what its record says: tiny.keras has " in done.stderr) == (
        1,
        True,
    ), done.stderr


def test_whatever_is_asked_is_answered() -> None:
    inside = CHECKOUT / "job_templates" / "inside" / "served_model.py"
    program = CHECKOUT / "tests" / "cluster" / "model_answers.py"
    mounts = [f"--volume={inside}:/served_model.py:ro", f"--volume={program}:/answers.py:ro"]
    asked = json.dumps([(model, text) for model, text, _, _ in CASES])
    command = ["run", "--rm", "--interactive", "--network=none", *mounts, REFERENCE, "python3", "/answers.py"]
    done = docker(*command, "/served_model.py", input=asked)
    assert done.returncode == 0, done.stderr[-3000:]
    for (_, text, wanted, part), (status, said) in zip(CASES, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert (status, holds(said, part)) == (wanted, True), (text[:200], said)


def holds(said: dict[str, Any], part: object) -> bool:
    """Whether an answer holds this: a part of the reason, the values, or some of the values of each row."""
    (found,) = said.values()
    if isinstance(part, str):
        return part in found
    if not (isinstance(part, list) and part and isinstance(part[0], dict)):
        return bool(found == part)
    return [{key: row[key] for key in like} for row, like in zip(found, part, strict=True)] == part


def furthest(found: list[list[float]], wanted: list[list[float]]) -> float:
    """The largest difference of two lists of predictions."""
    return max(abs(a - b) for row, like in zip(found, wanted, strict=True) for a, b in zip(row, like, strict=True))


def contents_sha256(record: dict[str, Any], folder: str) -> str:
    """The hash of a folder's contents that docs/serving.md defines, from the sums in a record."""
    outputs = [(each["path"], each["sha256"]) for each in record["experiment"]["outputs"]]
    lines = sorted(
        f"{path.removeprefix(folder + '/')}\0{sha}" for path, sha in outputs if path.startswith(folder + "/")
    )
    listed = "".join(f"{line.partition(chr(0))[2]}  {line.partition(chr(0))[0]}\n" for line in lines)
    return hashlib.sha256(listed.encode()).hexdigest()

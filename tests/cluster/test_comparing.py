"""Two runs beside each other: the same seed, another, another cluster, changed code, a model that TensorFlow saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .desk import Desk
from .tensorflow import REFERENCE

PROGRAM = """\
set -e
printf '{"accuracy": 0.9%s, "seconds": %s}' "$1" "$(cut -d ' ' -f 1 /proc/uptime)" >/out/metrics.json
printf 'weights of seed %s' "$1" >/out/weights.bin
"""
CHANGED = PROGRAM.replace("weights of", "other weights of")
TRAIN = """\
import json, time
import keras
import numpy
import tensorflow as tf

started = time.monotonic()
keras.utils.set_random_seed(7)
tf.config.experimental.enable_op_determinism()
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
model.compile("adam", "mse")
x = numpy.random.default_rng(7).normal(size=(64, 4)).astype("float32")
history = model.fit(x, x.sum(axis=1), epochs=2, verbose=0, callbacks=[keras.callbacks.TensorBoard("/out/logs")])
model.save("/out/model.keras")
model.save_weights("/out/model.weights.h5")
model.export("/out/saved")
json.dump({"loss": history.history["loss"][-1], "seconds": time.monotonic() - started}, open("/out/metrics.json", "w"))
"""


@pytest.fixture(scope="module")
def trained(shared: Desk) -> list[str]:
    """Two jobs that train the same model with the same seed."""
    shared.write("model/train.py", TRAIN)
    resources = {"memory": "3G", "time": "00:10:00"}
    file = shared.experiment("train", ["python", "train.py"], image=REFERENCE, code="model", resources=resources)
    return [shared.submit(file), shared.submit(file, "--again")]


def test_the_verdict_of_two_runs_and_what_differs(desk: Desk, trained: list[str]) -> None:
    assert trained  # those train meanwhile
    desk.write("code/run.sh", PROGRAM)
    file = desk.experiment(
        "runs", ["sh", "run.sh", "{{ seed }}"], code="code", parameters={"seed": 4},
        reproduce={"metric": "accuracy", "tolerance": 0.02, "files": ["weights.bin"]},
    )  # fmt: skip
    sweep = desk.experiment(
        "seeds", ["sh", "run.sh", "{{ seed }}"], code="code", sweep={"grid": {"seed": [11, 12, 13, 14, 15]}},
        reproduce={"metric": "accuracy"},
    )  # fmt: skip
    assert desk.tfslurm("submit", sweep, "--cluster", "alpha").returncode == 0
    first, again = desk.submit(file), desk.submit(file, "--again")
    seed = desk.submit(file, "--set", "seed=6")
    beta = desk.submit(file, cluster="beta")
    desk.write("code/run.sh", CHANGED)
    changed = desk.submit(file)
    seeds = f"seeds-{desk.token}"
    assert desk.tfslurm("wait", first, again, seed, beta, changed, seeds).returncode == 0

    same = desk.tfslurm("diff", first, again)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "inputs       identical\n" in same.stdout
    assert "results      bit-identical\n             identical: weights.bin\n" in same.stdout
    assert "ACM v1.1     repeatability" in same.stdout
    asked = json.loads(desk.tfslurm("diff", first, again, "--json").stdout)
    assert asked["agree"] is True and asked["pairs"][0]["environment"]["answer"] == "identical"

    other = desk.tfslurm("diff", first, seed)
    assert other.returncode == 3 and "one run is too few seeds to say" in other.stdout
    assert "accuracy: 0.94 / 0.96\n" in other.stdout
    told = json.loads(desk.tfslurm("diff", seeds, seed, "--json").stdout)
    assert (told["agree"], told["pairs"][0]["results"]["interval"]["runs"]) == (False, 5)
    assert told["verdict"]["results"] == "outside the seeds' 95 % prediction interval"

    lines = desk.tfslurm("diff", first, changed)
    assert lines.returncode == 0 and "results      within tolerance\n" in lines.stdout
    assert "differs: weights.bin: its bytes differ" in lines.stdout
    old, new = (text.splitlines()[-1] for text in (PROGRAM, CHANGED))
    assert f"\n-{old}\n+{new}\n" in lines.stdout

    far = desk.tfslurm("diff", first, beta)
    assert (far.returncode, "ACM" in far.stdout) == (0, False)
    assert "environment  same image, other: schedulable CPUs\n" in far.stdout  # beta confines none
    record = desk.folder / "first.json"
    assert desk.tfslurm("provenance", first, "--json", "-o", record).returncode == 0
    assert desk.tfslurm("diff", record, again).returncode == 0
    author = ("--author", "Doe, Alice", "--license", "MIT")
    made = desk.tfslurm("provenance", first, "--format", "rocrate", *author, "-o", desk.folder / "crate")
    assert made.returncode == 0, made.stderr
    crate = desk.tfslurm("diff", desk.folder / "crate", changed)
    assert crate.returncode == 0 and f"\n-{old}\n+{new}\n" in crate.stdout, crate.stderr
    script = f"import tfslurm; d = tfslurm.diff(tfslurm.job({first!r}).record, tfslurm.job({changed!r})); "
    script += "print(d.results, d.code[0].path)"
    assert said_by_python(desk, script) == "within tolerance run.sh\n"


def said_by_python(desk: Desk, script: str) -> str:
    """What a program of the user's prints."""
    from .users import run_as

    python = Path(desk.program).with_name("python")
    done = run_as("alice", [python, "-c", script], cwd=desk.folder, env=desk.environment("alpha"), timeout_s=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_that_tensorflow_saved_twice_is_the_same_but_for_the_time(shared: Desk, trained: list[str]) -> None:
    assert [shared.ended(job) for job in trained] == ["COMPLETED", "COMPLETED"], shared.tfslurm("logs", trained[0])
    done = shared.tfslurm("diff", *trained, "--json")
    results = json.loads(done.stdout)["pairs"][0]["results"]
    assert (done.returncode, results["answer"], results["agree"]) == (0, "bit-identical", True)
    files = {each["path"]: (each["answer"], each["why"]) for each in results["files"]["each"]}
    assert files.pop("model.keras") in (("same content", "the time at which it was saved"), ("identical", ""))
    assert files.pop("metrics.json") in (("same content", "seconds"), ("identical", ""))
    assert files.pop("model.weights.h5") == ("identical", "")
    graph = ("same content", "the graph of objects; 4 variables are the same")
    assert files.pop("saved/variables/variables.*") in (graph, ("identical", ""))
    answer, why = files.pop("logs/train/events.out.tfevents.*")
    assert answer == "same content" and why.startswith("times; ") and why.endswith(" scalars are the same")
    assert {answer for answer, _ in files.values()} <= {"not compared", "identical"}

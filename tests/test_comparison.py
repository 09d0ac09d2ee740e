"""The verdict of two runs: the environment, the inputs and the results, each by what was observed and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_record import CASES, case, recorded
from tfslurm.record import Record
from tfslurm.record.comparison import Comparison, Run, compare, measure_of
from tfslurm.record.comparison.code import CodeFile, changes, tree_of
from tfslurm.record.comparison.comparers import fits
from tfslurm.record.comparison.differences import differences
from tfslurm.record.comparison.files import wanted
from tfslurm.record.comparison.points import matched, seeds_beside
from tfslurm.record.comparison.prediction import interval, quantile
from tfslurm.record.comparison.results import by_interval
from tfslurm.record.globs import is_meant
from tfslurm.record.model import Code, Determinism, Input, Output, Package
from tfslurm.record.task_model import Engine, Gpu, TaskFacts
from tfslurm.record.verification import ANONYMOUS
from tfslurm.snapshot.files import EXECUTABLE, REGULAR, SYMLINK, Entry, contents
from tfslurm.spec import Comparer, Reproduce

TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
Change = Callable[[Record], Record]
DIGITS = (
    *(0.9711, 0.9778, 0.9844, 0.9778, 0.98, 0.9844, 0.9822, 0.9844, 0.9822, 0.9867, 0.9733, 0.98),
)  # the accuracy of examples/digits with the seeds 0 to 11, TensorFlow 2.16.1 on a CPU, measured
PUBLISHED = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 7: 2.365, 9: 2.262, 19: 2.093, 29: 2.045, 120: 1.980, 1000: 1.962}


def task_of(record: Record) -> TaskFacts:
    return record.attempts[-1].tasks[0]


def task(**facts: Any) -> Change:
    """Facts of the only task."""
    return lambda record: replace(
        record,
        attempts=tuple(replace(each, tasks=(replace(task_of(record), **facts),)) for each in record.attempts[-1:]),
    )


def experiment(**keys: Any) -> Change:
    return lambda record: replace(record, experiment=replace(record.experiment, **keys))


def job(**keys: Any) -> Change:
    return lambda record: replace(record, job=replace(record.job, **keys))


def inside(**keys: Any) -> Change:
    return lambda record: replace(record, environment=replace(record.environment, **keys))


def image(**keys: Any) -> Change:
    return lambda record: replace(record, image=replace(record.image, **keys))


def variables(**values: str) -> Change:
    return lambda record: replace(record, determinism=Determinism(values, {}, 2))


def unknown(path: str, why: str) -> Change:
    return lambda record: replace(record, unknown={**record.unknown, path: why})


def declared(metric: str | None = "accuracy", tolerance: float | None = None, files: tuple[str, ...] = ()) -> Change:
    def change(record: Record) -> Record:
        asked = record.asked and replace(record.asked, reproduce=Reproduce(metric, tolerance, files))
        return replace(record, asked=asked)

    return change


def seeded(seed: object, **others: object) -> Change:
    return experiment(parameters={**others, "seed": seed}, command=("python", "train.py", "--seed", str(seed)))


@cache
def base() -> Record:
    """A CPU job of which everything was observed."""
    record = replace(recorded("tensorflow"), code=Code(None, None, None, None, TREE), inputs=(), unknown={})
    changes = (
        job(state="COMPLETED"),
        experiment(parameters={}, mounts=(), env={}, command=("python", "train.py"), outputs=()),
        variables(TF_DETERMINISTIC_OPS="1"),
        task(gpus=(), driver_version=None, cpu_model="AMD EPYC", cpu_flags=("avx", "avx2"), cpus_schedulable=2),
        task(engine=Engine("docker", "20.10.24", "runc", "overlay2")),
        inside(packages=(Package("keras", "3.0.5"), Package("numpy", "1.26.4"))),
    )
    for change in changes:
        record = change(record)
    return record


def run(*made: Change, files: Mapping[str, Any] | None = None, lost: tuple[str, ...] = ()) -> Run:
    """A run with outputs of these contents; those in ``lost`` could not be read."""
    record = base()
    for change in made:
        record = change(record)
    held = {path: text.encode() if isinstance(text, str) else text for path, text in (files or {}).items()}
    outputs = tuple(Output(path, len(text), sha256(text).hexdigest()) for path, text in held.items())
    record = experiment(outputs=outputs)(record) if files is not None else record
    here = {path: text for path, text in held.items() if path not in lost}
    return Run(record, here, dict.fromkeys(lost, "it is not there any more"))


def metrics(**values: Any) -> str:
    return json.dumps(values)


def verdict(a: Run, b: Run, given: Reproduce | None = None) -> Comparison:
    return compare(a, b, given)


# --------------------------------------------------------------------------------------------------------- environment

GPU = task(gpus=(Gpu("GPU-1", "NVIDIA A100", 40960),), driver_version="550.54.14", libcuda_in_container="550.54.14")


@pytest.mark.parametrize(
    ("change", "answer", "named", "line"),
    [
        (task(cpu_model="Intel Xeon"), "same image", ("CPU model",), "CPU model: AMD EPYC / Intel Xeon"),
        (task(cpu_flags=("avx",)), "same image", ("CPU flags",), "CPU flags: avx2 / no more"),
        (task(cpus_schedulable=4), "same image", ("schedulable CPUs",), "schedulable CPUs: 2 / 4"),
        (
            task(engine=Engine("podman", "4.3.1", "crun", None)), "same image", ("engine",),
            "engine: docker 20.10.24 with runc / podman 4.3.1 with crun",
        ),
        (GPU, "same image", ("driver", "GPU", "libcuda"), "GPU: none / 1 x NVIDIA A100 (40960 MiB)"),
        (
            variables(TF_DETERMINISTIC_OPS="0"), "same image", ("variables",),
            "variables: TF_DETERMINISTIC_OPS=1 / TF_DETERMINISTIC_OPS=0",
        ),
        (task(cpu_model=None), "unknown", (), "CPU model is not known: its record does not say it"),
        (image(config_digest="sha256:" + "0" * 64), "other image", (), "packages: the same"),
        (lambda record: replace(record, determinism=None), "unknown", (), "variables is not known: a record"),
        (lambda record: replace(record, attempts=()), "unknown", (), "no attempt left a fact"),
        (job(user="bob", cluster="beta", partition="x"), "identical", (), "the same: image sha256:"),
        (task(kernel="other", os="other", node="n9", memory_mib=1), "identical", (), "the same: image sha256:"),
    ],
)  # fmt: skip
def test_the_environment_is_what_decides_about_bits(
    change: Change, answer: str, named: tuple[str, ...], line: str
) -> None:
    found = verdict(run(), run(change)).environment
    assert (found.answer, found.differs) == (answer, named)
    assert any(line in each for each in found.evidence), found.evidence
    mirrored = verdict(run(change), run()).environment
    assert (mirrored.answer, mirrored.differs) == (answer, named)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (lambda record: record, "identical"),
        (task(driver_version="560.35.03"), "same image"),
        (task(driver_version=None), "unknown"),
        (image(config_digest="sha256:" + "0" * 64), "other image"),
    ],
)
def test_an_unseen_libcuda_counts_only_where_image_or_driver_may_be_another(change: Change, answer: str) -> None:
    unseen = task(libcuda_in_container=None)
    for one in (run(GPU), run(GPU, unseen)):
        found = verdict(one, run(GPU, unseen, change)).environment
        assert found.answer == answer, found
        assert ("libcuda" in dict(found.unknown)) is (answer != "identical")


def test_a_fact_that_neither_run_observed_is_not_equal() -> None:
    hidden = (task(cpu_flags=None), unknown("attempts[0].tasks[0].cpu_flags", "/proc/cpuinfo was not read"))
    found = verdict(run(*hidden), run(*hidden)).environment
    assert found.answer == "unknown"
    assert found.unknown == (("CPU flags", "/proc/cpuinfo was not read"),)
    part = verdict(run(GPU, task(driver_version=None), unknown("attempts[0].tasks", "gone")), run(GPU)).environment
    assert part.unknown == (("driver", "gone"),)


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        ({"digest": "sha256:a", "digest_kind": "index"}, {"digest": "sha256:b"}, "identical"),
        (
            {"digest": "sha256:a", "digest_kind": "index", "config_digest": None},
            {"digest": "sha256:b", "digest_kind": "manifest", "config_digest": None}, "unknown",
        ),
        ({"digest": "sha256:a", "config_digest": None}, {"digest": "sha256:b", "config_digest": None}, "other image"),
        (
            {"digest_kind": "index", "config_digest": None, "platform": None},
            {"digest_kind": "index", "config_digest": None, "platform": None}, "unknown",
        ),
        ({"digest_kind": "index", "config_digest": "sha256:1"}, {"digest_kind": "index", "config_digest": "sha256:2"},
         "other image"),
    ],
)  # fmt: skip
def test_an_image_is_its_config(one: dict[str, Any], other: dict[str, Any], answer: str) -> None:
    assert verdict(run(image(**one)), run(image(**other))).environment.answer == answer


def test_of_another_image_it_is_said_what_is_inside() -> None:
    packages = (Package("keras", "3.4.0"), Package("scipy", "1.13"))
    other = run(
        image(digest="sha256:" + "1" * 64, config_digest="sha256:" + "2" * 64),
        inside(python="3.8.10", cudnn=None, packages=packages),
    )
    found = verdict(run(), other).environment
    assert found.answer == "other image"
    assert "Python: 3.11.2 / 3.8.10" in found.evidence
    assert "cuDNN in the images: 8 / not observed" in found.evidence
    assert "packages: 1 added, 1 changed, 1 removed" in found.evidence


# -------------------------------------------------------------------------------------------------------------- inputs

DATA = {"source": "/data/digits", "target": "/data", "read_only": True}


def data(digest: str | None, why: str = "", **mount: Any) -> Change:
    hashed = Input(None, "/data/digits", None, None, digest, "full" if digest else "no", why)
    return lambda record: replace(experiment(mounts=({**DATA, **mount},))(record), inputs=(hashed,))


@pytest.mark.parametrize(
    ("a", "b", "answer", "named", "line"),
    [
        ((), (), "identical", (), "the same: code 4b825dc642cb…, command, no data is mounted"),
        ((), (lambda record: replace(record, code=None),), "other", ("code",), f"code: {TREE} / none"),
        ((seeded(0, lr=0.1),), (seeded(1, lr=0.1),), "other", ("parameters",), "parameter seed: 0 / 1"),
        ((seeded(0),), (seeded("0"),), "identical", (), "command, 1 parameter"),
        ((), (experiment(command=("python", "t.py")),), "other", ("command",), "command: python train.py / python"),
        (
            (experiment(env={"A": "1", "TFSLURM_PARAMS": "{}"}),), (experiment(env={"A": "2"}),), "other",
            ("variables",), "variables: A",
        ),
        ((data("a" * 64),), (data("a" * 64),), "identical", (), "data at /data"),
        ((data("a" * 64),), (data("b" * 64),), "other", ("data",), "data at /data: sha256 aaaa"),
        ((data(None, "hash is not asked for"),), (data("b" * 64),), "unknown", (), "data at /data is not known: hash"),
        ((data(None, "x"),), (data(None, "x"),), "unknown", (), "data at /data is not known: x"),
        ((data("a" * 64, read_only=False),), (data("a" * 64, read_only=False),), "unknown", (), "could write there"),
        ((data("a" * 64, source="/other"),), (data("a" * 64),), "unknown", (), "inputs are not its mounts"),
        ((), (data("a" * 64),), "other", ("data",), "only B mounts it"),
    ],
)  # fmt: skip
def test_the_inputs_are_what_the_program_was_given(
    a: tuple[Change, ...], b: tuple[Change, ...], answer: str, named: tuple[str, ...], line: str
) -> None:
    found = verdict(run(*a), run(*b)).inputs
    assert (found.answer, found.differs) == (answer, named)
    assert any(line in each for each in found.evidence), found.evidence
    mirrored = verdict(run(*b), run(*a)).inputs
    assert (mirrored.answer, mirrored.differs) == (answer, named)


def test_a_record_with_parameters_without_end_takes_no_time() -> None:
    many = {f"p{number}": str(number) for number in range(20_000)}
    words = tuple(many.values())
    one = run(experiment(parameters=many, command=words))
    other = run(experiment(parameters=dict.fromkeys(many, "x"), command=("x",) * len(words)))
    assert verdict(one, other).inputs.differs == ("parameters", "command")


def test_files_of_the_code_that_differ_are_named() -> None:
    other = run(lambda record: replace(record, code=Code(None, None, None, None, "0" * 40)))
    found = compare(run(), other, None, ["train.py", "data/load.py"]).inputs
    assert found.evidence[0].endswith(": train.py, data/load.py")


# ------------------------------------------------------------------------------------------------------------- results


def both(a: Mapping[str, Any], b: Mapping[str, Any], *made: Change, to_b: tuple[Change, ...] = (),
         given: Reproduce | None = None) -> Comparison:  # fmt: skip
    found = verdict(run(*made, files=a), run(*made, *to_b, files=b), given)
    mirrored = verdict(run(*made, *to_b, files=b), run(*made, files=a), given)
    assert (found.results.answer, found.results.agree) == (mirrored.results.answer, mirrored.results.agree)
    return found


OTHER_MACHINE = task(cpu_model="Intel Xeon")
W, V = b"weights", b"other weights"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("a", "b", "made", "to_b", "answer", "agree"),
    [
        ({"w.h5": W}, {"w.h5": W}, (), (), "bit-identical", True),
        ({"w.h5": W}, {"w.h5": W}, (), (OTHER_MACHINE,), "bit-identical", True),
        ({"w.h5": W}, {"w.h5": V}, (), (), "bits differ", False),
        ({"w.h5": W}, {"w.h5": V}, (), (OTHER_MACHINE,), "not comparable", None),
        ({"w.h5": W}, {"w.h5": V}, (), (task(cpu_model=None),), "not comparable", None),
        ({"w.h5": W}, {"w.h5": W, "more": b"1"}, (), (), "bits differ", False),
        ({}, {}, (), (), "not comparable", None),
        ({"w.h5": W}, {"w.h5": W}, (), (job(state="FAILED"),), "not comparable", None),
        ({"w.h5": W}, {"w.h5": W}, (), (job(state=None),), "not comparable", None),
        ({"w.h5": W}, {"w.h5": V}, (seeded(0),), (seeded(1),), "not comparable", None),
        ({"w.h5": W}, {"w.h5": W}, (seeded(0),), (seeded(1),), "bit-identical", True),
        ({"w.h5": W}, {"w.h5": V}, (), (experiment(command=("t.py", "--seed", "3")),), "not comparable", None),
        ({"w.h5": W}, {"w.h5": V}, (), (experiment(command=("python", "t.py")),), "not comparable", None),
        ({"w.h5": W}, {"w.h5": V}, (seeded(0),), (seeded(0, lr=1),), "bits differ", False),
    ],
)  # fmt: skip
def test_the_rule_follows_from_seed_and_environment(
    a: Mapping[str, bytes], b: Mapping[str, bytes], made: tuple[Change, ...], to_b: tuple[Change, ...],
    answer: str, agree: bool | None,
) -> None:  # fmt: skip
    found = both(a, b, *made, to_b=to_b)
    assert (found.results.answer, found.results.agree) == (answer, agree), found.results.evidence
    assert found.exit_code == {True: 0, False: 1, None: 3}[agree]
    assert found.results.evidence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other", "tolerance", "answer"),
    [
        (0.98, 0.96, 0.02, "within tolerance"),  # 0.98 - 0.96 is more than 0.02 in binary
        (0.98, 0.9599, 0.02, "outside the tolerance"),
        (0.1, 0.1, 0.0, "within tolerance"),
        (1, 1.0, 0.0, "within tolerance"),
        (10**20, 10**20 + 1, 0.5, "outside the tolerance"),
        (float("nan"), float("nan"), 1.0, "not comparable"),
        (float("inf"), 1.0, 1.0, "not comparable"),
        ("0.98", 0.98, 1.0, "not comparable"),
        (True, True, 1.0, "not comparable"),
        (None, 0.98, 1.0, "not comparable"),
        ([0.98], 0.98, 1.0, "not comparable"),
    ],
)
@pytest.mark.parametrize("key", ["accuracy", "test.accuracy"])
def test_a_metric_is_within_its_tolerance_exactly(
    key: str, one: Any, other: Any, tolerance: float, answer: str
) -> None:
    def left(value: Any) -> dict[str, str]:
        first, _, last = key.rpartition(".")
        return {"metrics.json": json.dumps({"loss": 1, **({first: {last: value}} if first else {last: value})})}

    found = both(left(one), left(other), declared(key, tolerance), to_b=(OTHER_MACHINE,))
    assert found.results.answer == ("bit-identical" if left(one) == left(other) else answer)
    if answer == "not comparable" and left(one) != left(other):
        assert "accuracy" in found.results.evidence[0]


def test_a_tolerance_counts_where_bits_differ_and_says_that_they_do() -> None:
    a, b = ({"metrics.json": metrics(accuracy=value), "w.h5": text} for value, text in ((0.98, W), (0.97, V)))
    found = both(a, b, declared("accuracy", 0.02)).results
    assert (found.answer, found.rule) == ("within tolerance", "tolerance")
    assert any(line.startswith("differs: w.h5: its bytes differ") for line in found.evidence)
    assert found.evidence[0] == "accuracy: 0.98 / 0.97: they differ by 0.01, and 0.02 is declared (exp.yaml)"
    given = both(a, b, declared("accuracy", 0.02), given=Reproduce("accuracy", 0.001)).results
    assert (given.answer, given.agree) == ("outside the tolerance", False)
    assert given.evidence[0].endswith("(the command line)")


def test_files_that_exp_yaml_names_are_a_promise_of_bits_that_no_tolerance_excuses() -> None:
    a, b = ({"metrics.json": metrics(accuracy=0.98, noise=noise), "w.h5": text} for noise, text in ((1, W), (2, V)))
    promised = declared("accuracy", 0.02, ("w.h5",))
    found = both(a, b, seeded(0), promised).results
    assert (found.answer, found.rule, found.agree) == ("bits differ", "bits", False)
    assert found.evidence[0].endswith("so the program itself is not deterministic")
    assert found.evidence[1] == "accuracy: 0.98 / 0.98"
    assert found.evidence[2].startswith("differs: w.h5: its bytes differ; its values are not compared: ")
    unhashed = experiment(mounts=({"source": "/data", "target": "/data", "read_only": True},))
    assert both(a, b, seeded(0), promised, unhashed).results.answer == "bits differ"
    for to_b in (OTHER_MACHINE, seeded(0, lr=1)):
        assert both(a, b, seeded(0), promised, to_b=(to_b,)).results.answer == "within tolerance"
    assert both(a, b, seeded(0), promised, given=Reproduce("accuracy", 0.02)).results.answer == "within tolerance"
    assert both(a, b, seeded(0), declared("accuracy", 0.02)).results.answer == "within tolerance"


def test_what_the_two_declare_differently_is_no_measure_or_the_stricter_one() -> None:
    a, b = ({"metrics.json": metrics(accuracy=value)} for value in (0.98, 0.97))
    stricter = both(a, b, declared("accuracy", 0.1), to_b=(OTHER_MACHINE, declared("accuracy", 0.001))).results
    assert stricter.answer == "outside the tolerance"
    other = both(a, b, declared("accuracy", 0.1), to_b=(OTHER_MACHINE, declared("loss", 0.1))).results
    assert other.answer == "not comparable"
    assert any("they declare other metrics: accuracy and loss" in line for line in other.evidence)


def test_only_the_declared_files_count() -> None:
    a = {"model.weights.h5": W, "log.txt": "12:00"}
    b = {"model.weights.h5": W, "log.txt": "12:01"}
    assert both(a, b).results.answer == "bits differ"
    assert both(a, b, declared(None, None, ("model.weights.h5",))).results.answer == "bit-identical"
    gone = both(a, b, declared(None, None, ("model.weights.h5", "x.npz"))).results
    assert gone.answer == "bits differ" and "differs: x.npz: neither run left it" in gone.evidence


def test_outputs_that_were_not_hashed_or_not_read_are_not_compared() -> None:
    hidden = (experiment(outputs=None), unknown("experiment.outputs", "the job was being stopped"))
    found = verdict(run(files={"w.h5": W}), run(*hidden)).results
    assert found.answer == "not comparable" and any("being stopped" in line for line in found.evidence)
    a = run(declared("accuracy", 0.1), files={"metrics.json": metrics(accuracy=1.0)})
    b = run(
        declared("accuracy", 0.1), OTHER_MACHINE, files={"metrics.json": metrics(accuracy=0.99)}, lost=("metrics.json",)
    )
    lost = verdict(a, b).results
    assert lost.answer == "not comparable" and "it is not there any more" in lost.evidence[0]
    assert wanted(a, b, measure_of(a, b)) == ["metrics.json"]
    assert ("metric accuracy", "1.0", "unknown") in differences(a, b)


# ---------------------------------------------------------------------------------------------------- files by content


@pytest.mark.slow
def test_a_run_may_leave_many_files() -> None:  # in quadratic time it would meet the limit of a test
    many = {f"d/{number}.txt": str(number) for number in range(25_000)}
    a, b = run(files=many), run(files={**many, "d/7.txt": "x"})
    (differing,) = compare(a, b).results.files.those("differs")
    assert differing.path == "d/7.txt" and wanted(a, b, measure_of(a, b)) == []


def test_files_that_are_never_equal_are_named_and_decide_nothing() -> None:
    a = {"w.h5": W, "model/saved_model.pb": "1", "checkpoint": "1", "logs/events.out.tfevents.1.n": "1"}
    b = {"w.h5": W, "model/saved_model.pb": "2", "checkpoint": "2", "logs/events.out.tfevents.2.n": "2"}
    found = both(a, b).results
    assert (found.answer, found.files.identical) == ("bit-identical", ("w.h5",))
    assert {each.path: each.answer for each in found.files.each} == {
        "w.h5": "identical",
        **dict.fromkeys(["model/saved_model.pb", "checkpoint", "logs/events.out.tfevents.*"], "not compared"),
    }
    del a["w.h5"], b["w.h5"]
    assert both(a, b).results.answer == "not comparable"
    assert both(a, {}).results.answer == "not comparable"


@pytest.mark.parametrize(
    ("named", "lost", "answer"),
    [
        ((), (), "bit-identical"),
        (("w.h5",), (), "bit-identical"),
        (("w.h5", "model/saved_model.pb"), (), "not comparable"),
        (("model/saved_model.pb",), (), "not comparable"),
        ((), ("m.json",), "not comparable"),
        (("w.h5",), ("m.json",), "bit-identical"),
        (("w.h5", "m.json"), ("m.json",), "not comparable"),
    ],
)
def test_what_should_count_and_cannot_be_compared_is_not_passed(
    named: tuple[str, ...], lost: tuple[str, ...], answer: str
) -> None:
    files = {"w.h5": W, "model/saved_model.pb": "1", "m.json": metrics(loss=1, seconds=1)}
    again = {**files, "model/saved_model.pb": "2", "m.json": metrics(loss=1, seconds=2)}
    measure = declared(None, None, named)
    found = verdict(run(measure, files=files), run(measure, files=again, lost=lost)).results
    assert found.answer == answer, found.evidence
    assert found.agree is (True if answer == "bit-identical" else None)


def test_each_file_has_its_rule_and_how_far_it_is_off() -> None:
    a = {"m.json": metrics(loss=1.0, seconds=1), "t.csv": "loss\n1.5\n", "x.bin": "1", "gone": "", "w.h5": W}
    b = {"m.json": metrics(loss=1.0, seconds=2), "t.csv": "loss\n1.25\n", "x.bin": "2", "w.h5": W}
    found = verdict(run(files=a), run(files=b)).results
    assert [tuple(each) for each in found.files.each] == [
        ("gone", "only in A", "bytes", "", None, None, ""),
        ("m.json", "same content", "JSON by value, without times", "seconds", None, None, ""),
        ("t.csv", "differs", "table by cell, without columns of times",
         "loss, row 2: 1.5 / 1.25, by at most 0.25 (relative: 0.167)", 0.25, 0.25 / 1.5, ""),
        ("w.h5", "identical", "bytes", "", None, None, ""),
        ("x.bin", "differs", "bytes", "its bytes differ", None, None, ""),
    ]  # fmt: skip
    assert wanted(run(files=a), run(files=b), measure_of(run(), run())) == ["m.json", "t.csv"]
    assert "identical but for seconds: m.json (JSON by value, without times)" in found.evidence


def compared(
    *by: Comparer, metric: str | None = None, tolerance: float | None = None, files: tuple[str, ...] = ()
) -> Change:
    """Declares how single files are compared."""

    def change(record: Record) -> Record:
        return replace(
            record, asked=record.asked and replace(record.asked, reproduce=Reproduce(metric, tolerance, files, by))
        )

    return change


NEAR, FAR = '{"x": [1.0, 2.0]}', '{"x": [1.0, 2.5]}'
HALF = Comparer("*.json", None, 0.5, 0.0)
WITHIN, TIGHT = compared(HALF), compared(Comparer("*.json", None, 0.49, 0.0))


@pytest.mark.parametrize(
    ("b", "made", "to_b", "answer", "agree"),
    [
        ({"t.json": FAR}, WITHIN, (), "within tolerance", True),
        ({"t.json": FAR}, WITHIN, (OTHER_MACHINE,), "within tolerance", True),
        ({"t.json": FAR}, TIGHT, (), "outside the tolerance", False),
        ({"t.json": FAR}, TIGHT, (OTHER_MACHINE,), "outside the tolerance", False),
        ({"t.json": FAR}, compared(Comparer("*.json", None, 0.0, 0.2)), (), "within tolerance", True),
        ({"t.json": FAR}, compared(Comparer("*.csv", None, 9.0, 9.0)), (), "bits differ", False),
        ({"t.json": FAR}, compared(Comparer("a/*.json", None, 9.0, 9.0)), (), "bits differ", False),
        ({"t.json": NEAR}, WITHIN, (), "bit-identical", True),
        ({"t.json": NEAR + " "}, WITHIN, (OTHER_MACHINE,), "bit-identical", True),
        ({"t.json": '{"x": [1.0]}'}, WITHIN, (), "outside the tolerance", False),
        ({"t.json": "{"}, WITHIN, (), "not comparable", None),
        ({"t.json": FAR, "w.bin": V}, WITHIN, (), "bits differ", False),
        ({"t.json": FAR, "w.bin": V}, WITHIN, (OTHER_MACHINE,), "within tolerance", True),
        ({"t.json": FAR}, WITHIN, (experiment(command=("python", "train.py", "--seed", "3")),), "not comparable", None),
        ({"t.json": FAR}, compared(Comparer("*.json", "cmp.py")), (), "not comparable", None),
        ({"t.json": FAR, "w.bin": V}, compared(Comparer("*.bin", None, 9.0, 9.0)), (), "not comparable", None),
        ({"t.json": FAR}, compared(HALF, files=("t.json",)), (), "within tolerance", True),
    ],
    ids=range(17),
)  # fmt: skip
def test_a_file_is_within_its_own_tolerance(
    b: dict[str, Any], made: Change, to_b: tuple[Change, ...], answer: str, agree: bool | None
) -> None:
    a = {"t.json": NEAR, **({"w.bin": W} if "w.bin" in b else {})}
    found = both(a, b, made, to_b=to_b).results
    assert (found.answer, found.agree) == (answer, agree), found.evidence


def test_both_a_metric_and_a_file_must_be_within_their_tolerances() -> None:
    a, b = ({"metrics.json": metrics(accuracy=value), "t.csv": f"x\n{x}\n"} for value, x in ((0.98, 1), (0.97, 2)))
    by = [Comparer("metrics.json", None, 1.0, 0.0), Comparer("*.csv", None, 1.0, 0.0)]
    good = both(a, b, compared(*by, metric="accuracy", tolerance=0.02), to_b=(OTHER_MACHINE,)).results
    assert (good.answer, good.metric) == ("within tolerance", "accuracy")
    strict = compared(by[0], Comparer("*.csv", None, 0.5, 0.0), metric="accuracy", tolerance=0.02)
    assert both(a, b, strict, to_b=(OTHER_MACHINE,)).results.answer == "outside the tolerance"
    worse = compared(*by, metric="accuracy", tolerance=0.001)
    assert both(a, b, worse, to_b=(OTHER_MACHINE,)).results.answer == "outside the tolerance"


def test_the_stricter_tolerance_of_two_runs_and_the_longer_glob_count() -> None:
    loose, strict = compared(Comparer("*.json", None, 9.0, 0.0)), compared(Comparer("*.json", None, 0.1, 0.0))
    assert both({"t.json": NEAR}, {"t.json": FAR}, loose, to_b=(strict,)).results.answer == "outside the tolerance"
    longer = compared(Comparer("*.json", None, 0.1, 0.0), Comparer("t.jso*n", None, 0.5, 0.0))
    assert both({"t.json": NEAR}, {"t.json": FAR}, longer).results.answer == "within tolerance"


def test_a_script_of_a_record_is_named_and_never_run() -> None:
    found = both({"t.bin": W}, {"t.bin": V}, compared(Comparer("*.bin", "tools/cmp.py"))).results
    (line,) = [line for line in found.evidence if line.startswith("not comparable: t.bin")]
    assert "exp.yaml says that tools/cmp.py of its code compares it" in line
    assert "--compare '*.bin=tools/cmp.py'" in line
    assert both({"t.bin": W}, {"t.bin": W}, compared(Comparer("*.bin", "cmp.py"))).results.answer == "bit-identical"


@pytest.mark.parametrize(
    ("glob", "path", "is_it"),
    [
        ("*.npz", "a.npz", True), ("*.npz", "deep/in/a.npz", True), ("a/*.npz", "a/b.npz", True),
        ("a/*.npz", "b.npz", False), ("a/*.npz", "a/b/c.npz", False), ("**/c.npz", "c.npz", True),
        ("**/c.npz", "a/b/c.npz", True), ("a/**/c.npz", "a/c.npz", True), ("a/**", "a/b/c", True),
        ("[ab].npz", "b.npz", True), ("*.npz", "a.npy", False), ("a.npz", "A.npz", False),
        ("*a" * 60, "a" * 200 + "b", False), ("**/" * 40 + "x", "/".join("a" * 90), False),
    ],
)  # fmt: skip
def test_a_glob_without_a_slash_is_of_names(glob: str, path: str, is_it: bool) -> None:
    assert fits(path, glob) is is_it


# -------------------------------------------------------------------------------------------------------------- seeds


@pytest.mark.parametrize(("degrees", "value"), PUBLISHED.items())
def test_students_quantiles_are_the_published_ones(degrees: int, value: float) -> None:
    assert quantile(degrees) == pytest.approx(value, abs=6e-4)


@pytest.mark.parametrize(("count", "factor"), [(5, 3.04), (8, 2.51), (10, 2.37), (20, 2.14), (30, 2.08)])
def test_the_interval_has_the_published_width(count: int, factor: float) -> None:
    values = [float(number % 7) for number in range(count)]
    found = interval(values)
    assert found
    assert (found.high - found.mean) / found.deviation == pytest.approx(factor, abs=0.006)
    assert interval(values[:4]) is None


def sweep(values: tuple[float, ...] = DIGITS, **others: Any) -> list[Run]:
    return [
        run(
            seeded(seed, **others), declared(), job(job_id=f"7_{seed}"), files={"metrics.json": metrics(accuracy=value)}
        )
        for seed, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("value", "count", "answer", "agree"),
    [
        (0.98, 12, "within the seeds' 95 % prediction interval", True),
        (0.96, 12, "outside the seeds' 95 % prediction interval", False),
        (1.0, 12, "outside the seeds' 95 % prediction interval", False),
        (0.98, 5, "within the seeds' 95 % prediction interval", True),
        (0.98, 4, "not comparable", None),
    ],
)
def test_another_seed_is_held_against_the_interval_of_the_sweeps(
    value: float, count: int, answer: str, agree: bool | None
) -> None:
    single = run(seeded(99), declared(), files={"metrics.json": metrics(accuracy=value)})
    group = seeds_beside([*sweep(DIGITS[:count]), *sweep((0.1,), lr=1)], single)
    assert len(group) == count
    found = by_interval(group, single, measure_of(group[0], single))
    assert (found.answer, found.agree) == (answer, agree)
    if agree is None:
        assert "too few seeds to say: 4 of A have the metric accuracy, and 5 are needed" in found.evidence[0]


def test_the_measured_digits_miss_one_of_twelve() -> None:
    runs = sweep()
    left_out = [
        by_interval([*runs[:at], *runs[at + 1 :]], runs[at], measure_of(runs[0], runs[1])).agree for at in range(12)
    ]
    assert left_out == [False, *[True] * 11]
    found = interval(DIGITS)
    assert found and (round(found.mean, 4), round(found.deviation, 4)) == (0.9804, 0.0047)


def test_seeds_that_all_give_one_value_expect_that_value() -> None:
    runs = sweep((0.1,) * 6)
    for value, agree in ((0.1, True), (0.1000001, False)):
        single = run(seeded(9), declared(), files={"metrics.json": metrics(accuracy=value)})
        assert by_interval(runs, single, measure_of(runs[0], single)).agree is agree


@pytest.mark.parametrize("broken", ["NaN", "text", None])
def test_runs_without_the_metric_do_not_count(broken: Any) -> None:
    runs = [*sweep(DIGITS[:5]), run(seeded(77), files={"metrics.json": metrics(accuracy=broken)})]
    failed = run(seeded(78), job(state="FAILED"), files={"metrics.json": metrics(accuracy=0.1)})
    single = run(seeded(9), declared(), files={"metrics.json": metrics(accuracy=0.98)})
    found = by_interval([*runs, failed], single, measure_of(runs[0], single))
    assert found.interval and found.interval.runs == 5
    assert "1 of 7 runs of A did not end well" in found.evidence
    nameless = by_interval(runs, single, measure_of(run(), run()))
    assert nameless.agree is None and "no metric is named; it has accuracy" in nameless.evidence[0]


@pytest.mark.parametrize(
    ("a", "b", "rule"),
    [
        (("--seed", "1"), ("--seed", "2"), "interval"),
        (("--seed=1",), ("--seed=2",), "interval"),
        (("data.seed=1",), ("data.seed=2",), "interval"),
        (("--random-seed", "1"), ("--random-seed", "1"), "bits"),
        (("--seed", "1"), (), ""),
    ],
)
def test_a_seed_in_the_command_is_a_seed(a: tuple[str, ...], b: tuple[str, ...], rule: str) -> None:
    one, other = (experiment(command=("python", "t.py", *words)) for words in (a, b))
    assert verdict(run(one, files={"w": W}), run(other, files={"w": V})).results.rule == rule


def test_points_are_matched_by_their_parameters() -> None:
    a, b = sweep(DIGITS[:3]), [*sweep(DIGITS[:2]), run(seeded(9))]
    found = matched(a, b)
    assert [(one.record.experiment.parameters, other.key) for one, other in found.pairs] == [
        ({"seed": 0}, b[0].key), ({"seed": 1}, b[1].key)
    ]  # fmt: skip
    assert [run.record.experiment.parameters for run in (*found.only_in_a, *found.only_in_b)] == [
        {"seed": 2},
        {"seed": 9},
    ]


# --------------------------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_identical_to_itself_where_everything_was_observed(name: str) -> None:
    record = case(name).build()
    found = compare(Run(record), Run(record))
    assert found.environment.answer in ("identical", "unknown") and not found.environment.differs
    assert not found.inputs.differs
    assert differences(Run(record), Run(record)) == []
    whole = run(files={"w.h5": W})
    same = compare(whole, whole)
    assert (same.environment.answer, same.inputs.answer, same.results.answer) == (
        "identical",
        "identical",
        "bit-identical",
    )
    assert same.acm == ""


CHANGES: tuple[Change, ...] = (
    OTHER_MACHINE, GPU, task(cpu_flags=None), seeded(1), seeded(2), seeded(1, lr=0.1), variables(A="1"),
    data("a" * 64), data(None, "no"), experiment(command=("x",)), image(config_digest="sha256:1", digest="sha256:1"),
    job(state="FAILED"), declared("accuracy", 0.1), declared("loss", 0.001), inside(packages=None),
    lambda record: replace(record, code=None),
    lambda record: replace(record, asked=None, determinism=None, inputs=None),
    lambda record: replace(record, attempts=()), experiment(outputs=None),
)  # fmt: skip
FILES = ("w.h5", "m.keras", "metrics.json", "events.out.tfevents.1")


@pytest.mark.slow
@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(CHANGES), max_size=3), st.lists(st.sampled_from(CHANGES), max_size=3),
    st.dictionaries(st.sampled_from(FILES), st.sampled_from(['{"accuracy": 1}', '{"accuracy": 0.95}', "x"])),
    st.dictionaries(st.sampled_from(FILES), st.sampled_from(['{"accuracy": 1}', '{"accuracy": 0.95}', "x"])),
)  # fmt: skip
def test_the_verdict_of_b_and_a_mirrors_that_of_a_and_b(
    to_a: list[Change], to_b: list[Change], in_a: dict[str, str], in_b: dict[str, str]
) -> None:
    def made(changes: list[Change], files: dict[str, str]) -> Run:
        made = run(files=files)
        record = made.record
        for change in changes:
            record = change(record)
        return made._replace(record=record)

    a, b = made(to_a, in_a), made(to_b, in_b)
    one, other = compare(a, b), compare(b, a)
    assert (one.environment[:2], one.inputs[:2]) == (other.environment[:2], other.inputs[:2])
    assert (one.results.answer, one.results.rule, one.results.agree) == (
        other.results.answer, other.results.rule, other.results.agree
    )  # fmt: skip
    assert one.acm == other.acm
    rows = {(row.what, row.b, row.a) for row in differences(b, a)}
    assert {(row.what, row.a, row.b) for row in differences(a, b)} == rows


def test_acms_words_stand_only_where_they_apply() -> None:
    files = {"w.h5": W}
    assert verdict(run(files=files), run(OTHER_MACHINE, files=files)).acm == ""
    assert verdict(run(files=files), run(seeded(1), files=files)).acm == ""
    assert verdict(run(files=files), run(files={"w.h5": V})).acm == ""
    assert verdict(run(data(None, "no"), files=files), run(data(None, "no"), files=files)).acm == ""
    again: Change = lambda record: replace(record, record_id="urn:uuid:2")  # noqa: E731
    assert verdict(run(files=files), run(files=files)).acm == "", "one run is no repetition"
    assert verdict(run(files=files), run(again, files=files)).acm.startswith("repeatability (same team, same setup)")
    hidden = (again, unknown("run_folder", ANONYMOUS), lambda record: replace(record, run_folder=None))
    assert verdict(run(files=files), run(*hidden, files=files)).acm == ""
    bob = verdict(run(files=files), run(again, job(user="bob", cluster="beta"), files=files)).acm
    assert bob.startswith("reproducibility (different team, same setup), if ") and "bob" in bob


# ----------------------------------------------------------------------------------------------------- what differs


def test_the_most_telling_difference_comes_first() -> None:
    other = run(
        image(digest="sha256:" + "1" * 64, config_digest="sha256:" + "2" * 64), OTHER_MACHINE, seeded(1, lr=0.1),
        lambda record: replace(record, code=None), job(cluster="beta", elapsed_s=99),
        files={"metrics.json": metrics(accuracy=0.9)},
    )  # fmt: skip
    rows = differences(run(files={"metrics.json": metrics(accuracy=0.8)}), other)
    whats = [row.what for row in rows]
    order = ["image digest", "code", "parameter lr", "parameter seed", "command", "CPU model", "metric accuracy"]
    assert [what for what in whats if what in order] == order
    assert whats.index("metric accuracy") < whats.index("cluster")
    assert ("parameter lr", "none", "0.1") in rows and ("code", TREE, "none") in rows


def entry(name: str, content: bytes, mode: int = REGULAR) -> Entry:
    target = content.decode() if mode == SYMLINK else ""
    return Entry(name, mode, "", len(content), sha256(content).hexdigest(), target)


def test_code_is_compared_as_git_shows_it() -> None:
    old = [entry("a.py", b""), entry("gone.py", b"x\n"), entry("run.sh", b"a\n"), entry("l", b"a.py", SYMLINK)]
    new = [entry("a.py", b""), entry("b.bin", b"\0\1"), entry("run.sh", b"a\n", EXECUTABLE), entry("l", b"b", SYMLINK)]
    texts = {"gone.py": b"x\n", "run.sh": b"a\n", "a.py": b"", "b.bin": b"\0\1"}
    trees = [tree_of(contents(entries), texts) for entries in (old, new)]
    found = {each.path: (each.change, each.note, each.lines) for each in changes(*trees)}
    assert found == {
        "b.bin": ("added", "binary, none -> 2 bytes", ()),
        "gone.py": ("removed", "", ("--- a/gone.py", "+++ /dev/null", "@@ -1 +0,0 @@", "-x")),
        "l": ("changed", "a link to a.py -> a link to b", ()),
        "run.sh": ("changed", "mode 100644 -> 100755", ()),
    }


@pytest.mark.parametrize(
    ("a", "b", "lines"),
    [
        ("a\nb\n", "a\nc\n", ["@@ -1,2 +1,2 @@", " a", "-b", "+c"]),
        ("a", "a\n", ["@@ -1 +1 @@", "-a", "\\ No newline at end of file", "+a"]),
        ("1\n2\n3\n4\n5\n6\n7\n", "1\n2\n3\n4\n5\nx\n7\n", ["@@ -3,5 +3,5 @@", " 3", " 4", " 5", "-6", "+x", " 7"]),
        ("a\r\nb\n", "a\nb\n", ["@@ -1,2 +1,2 @@", "-a\r", "+a", " b"]),
        ("", "x\n", ["@@ -0,0 +1 @@", "+x"]),
    ],
)  # fmt: skip
def test_lines_are_those_of_diff_u(a: str, b: str, lines: list[str]) -> None:
    one, other = ({"f": CodeFile(sha256(text.encode()).hexdigest(), text.encode())} for text in (a, b))
    (found,) = changes(one, other)
    assert list(found.lines[2:]) == lines


def test_the_runs_own_lock_file_is_named_as_one_and_no_other_file_is() -> None:
    texts = ["image: one\n", "image: other\n"]
    trees = [
        {
            "exp.lock.yaml": CodeFile(sha256(text.encode()).hexdigest(), text.encode()),
            "environment.lock.yaml": CodeFile(sha256(f"#{text}".encode()).hexdigest()),
        }
        for text in texts
    ]
    found = {each.path: each.is_lock for each in changes(*trees, locks=(texts[0], texts[1]))}
    assert found == {"environment.lock.yaml": False, "exp.lock.yaml": True}
    lock = {"exp.lock.yaml": trees[1]["exp.lock.yaml"]}
    (added,) = changes({}, lock, locks=("", texts[1]))
    assert added.name == "exp.lock.yaml (the lock file: what it pins is compared apart)"
    assert not changes({}, lock)[0].is_lock and not changes(*trees, locks=(texts[0], texts[0]))[1].is_lock


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (b"x\n" * 9000, b"y\n" * 9000), (b"a b\n" * 4000 + b"1\n", b"c\n" + b"a b\n" * 4000), (b"\xff\xfe", b"a"),
        (b"x" * 9000, b"y"),
        (b"".join(b"%d\n" % (n % 7) for n in range(3000)), b"".join(b"%d\n" % (n % 5) for n in range(2900))),
    ],
    ids=range(5),
)  # fmt: skip
def test_no_file_takes_long_to_compare(a: bytes, b: bytes) -> None:
    one, other = ({"f": CodeFile(sha256(text).hexdigest(), text)} for text in (a, b))
    (found,) = changes(one, other)
    assert found.note or found.lines


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("metrics.json", "metrics.json", True), ("metrics.json", "a/metrics.json", False), ("*.json", "a.json", True),
        ("*.json", "a/b.json", False), ("**/m.json", "m.json", True), ("**/m.json", "a/b/m.json", True),
        ("fold[0-9]/m.json", "fold3/m.json", True), ("fold[!0-9]/m", "fold3/m", False), ("a?b", "a/b", False),
        ("[z-a]", "[z-a]", True), ("a.b", "axb", False),
        ("fold[^0-9]/m", "fold3/m", False), ("a/**", "a/b/c", True), ("*a" * 40 + "/m", "a" * 200 + "b/m", False),
        ("*/" * 20 + "m", "x/" * 19 + "m", False), ("**/" * 20 + "n", "x/" * 60 + "m", False),
    ],
)  # fmt: skip
def test_metrics_are_in_the_files_that_bash_would_find(glob: str, path: str, fits: bool) -> None:
    assert is_meant(path, glob) is fits

"""Files that were checked before: what is kept changes nothing but the time that the next command takes."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from tests.made import PIN
from tests.test_building import LOCK
from tests.test_compiled import DAMAGES
from tfslurm.cluster import Cluster, parse_cluster
from tfslurm.errors import InputError
from tfslurm.image.lock import lock_text, read_lock
from tfslurm.spec import Experiment, parsing
from tfslurm.spec.parsing import parse_experiment
from tfslurm.submission.spec_checks import wrong_image, wrong_options, wrong_sweep
from tfslurm.workspace import checked_files
from tfslurm.workspace.checked_files import CHECKING, checked_cluster, checked_experiment, checked_lock, once

HERE = Path(__file__).parent.parent
CHECKS = (wrong_options, wrong_sweep, wrong_image)
EVERY_KEY = """\
name: all
image: tensorflow/tensorflow:2.16.1-gpu
command: [python, train.py, "--lr={{ lr }}"]
code: {path: src, writable: true, exclude: ["*.h5"]}
mounts: [{source: /data/a, target: /data, read_only: true, hash: true}, {source: "run:alpha:12/out", target: /before}]
outputs: /out
env: {SEED: "{{ seed }}"}
secrets: [WANDB_API_KEY]
resources: {gpus: "a100:2", cpus: 4, memory: 8G, time: "01:00:00", nodes: 2, tasks_per_node: 1, shm: 1G}
gpu_check: always
network: host
slurm: {qos: high}
checkpoint: {signal: USR1, before_end: 60, requeue: true}
clusters: [alpha]
parameters: {lr: 0.1, seed: 1}
reproduce: {metric: loss}
packages: [pandas==2.2.2]
scan: {fail_on: CRITICAL}
sweep: {grid: {lr: [0.1, 0.2]}}
"""
CLUSTER = """\
name: alpha
root: /scratch/me
login: {host: login.alpha, user: me, port: 22}
slurm: {account: lab}
mounts: {allow: [/data]}
environment: {SLURM_CONF: /etc/slurm.conf}
slurm_bin: /opt/slurm/bin
scan: {fail_on: CRITICAL}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "tfslurm").mkdir(mode=0o700)
    checked_cluster.cache_clear()
    return tmp_path / "tfslurm" / "checked"


def refused(*_: object) -> object:
    raise AssertionError("it was checked again")


def test_a_value_that_was_kept_is_the_value_of_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locks = {tmp_path / "a.lock.yaml": lock_text(PIN), tmp_path / "b.lock.yaml": lock_text(PIN, build=LOCK)}
    file = tmp_path / "exp.yaml"
    for path, text in {**locks, file: EVERY_KEY}.items():
        path.write_text(text)
    settings = {"resources.cpus": "8"}
    experiment = parse_experiment(EVERY_KEY, str(file), settings, CHECKS)

    def read_all() -> list[object]:
        checked_cluster.cache_clear()
        text, found = checked_experiment(file, settings, CHECKS)
        assert text == EVERY_KEY
        return [found, checked_cluster(CLUSTER, "alpha.yaml"), *(checked_lock(each, "") for each in locks)]

    wanted = [
        experiment,
        parse_cluster(CLUSTER, "alpha.yaml"),
        *(read_lock(each, "a.lock.yaml") for each in locks.values()),
    ]
    assert read_all() == wanted
    for place, name in ((parsing, "parse_experiment"), (checked_files, "parse_cluster"), (checked_files, "read_lock")):
        monkeypatch.setattr(place, name, refused)
    again = read_all()
    assert again == wanted
    assert list(map(type, again)) == list(map(type, wanted))
    assert repr(again) == repr(wanted)


@pytest.mark.parametrize("file", sorted(HERE.glob("examples/*/*exp*.yaml")), ids=lambda file: file.parent.name)
def test_every_example_is_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = checked_experiment(file, {}, CHECKS)
    monkeypatch.setattr(parsing, "parse_experiment", refused)
    assert checked_experiment(file, {}, CHECKS) == first


def test_another_text_file_setting_or_check_or_changed_code_is_checked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    found = parse_experiment("name: a\nimage: a:1\ncommand: [a]\n", "a.yaml")

    def parse(*words: object) -> Experiment:
        asked.append(words)
        return found

    monkeypatch.setattr(parsing, "parse_experiment", parse)
    file, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    file.write_text("name: a\n")
    other.write_text("name: a\n")
    for _ in range(2):
        checked_experiment(file, {}, ())
    assert len(asked) == 1
    checked_experiment(other, {}, ())
    checked_experiment(file, {"name": "b"}, ())
    checked_experiment(file, {"name": "b"}, CHECKS)
    file.write_text("name: b\n")
    checked_experiment(file, {"name": "b", "image": "c"}, CHECKS)
    checked_experiment(file, {"image": "c", "name": "b"}, CHECKS)  # a later one may replace what an earlier one says
    monkeypatch.setattr(checked_files, "CODE", "a later version")
    checked_experiment(file, {"image": "c", "name": "b"}, CHECKS)
    assert len(asked) == 7


def value_of(made: str, file: str = "a.yaml") -> str:
    return once(Cluster, file, "text", [], lambda _: Cluster(made, PurePosixPath("/")))[1].name


def test_nothing_is_kept_for_who_has_no_data_of_tfslurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "other"))
    assert [value_of("1"), value_of("2")] == ["1", "2"]
    assert not (tmp_path / "other").exists()


def test_who_has_no_home_checks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobodys() -> Path:
        raise RuntimeError

    monkeypatch.setattr(checked_files, "data_folder", nobodys)
    assert [value_of("1"), value_of("2")] == ["1", "2"]


def test_what_is_refused_is_refused_each_time(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: a\n")
    for _ in range(2):
        with pytest.raises(InputError, match="is missing"):
            checked_experiment(tmp_path / "a.yaml", {}, ())
    assert not folder.exists() or not [*folder.iterdir()]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_or_anothers_is_checked_anew(folder: Path, damage: str) -> None:
    assert value_of("1") == value_of("2") == "1"
    (file,) = folder.iterdir()
    DAMAGES[damage](file)
    assert value_of("2") == "2"


class Call:
    """A pickle that calls a function as it is read."""

    def __init__(self, call: Callable[..., object], *words: object) -> None:
        self.made = call, words

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.made


FORGED = {
    "a function": Call(os.mkdir, "made"),
    "another class": Call(Path, "a"),
    "a function of the package": Call(parse_cluster, CLUSTER, "a"),
    "another value": None,
    "no pickle": b"\x80\x05",
    "what the package imports": b"\x80\x04\x8c\x0ftfslurm.cluster\x8c\x0flocate.__globals__\x93.",
}


@pytest.mark.parametrize("forged", FORGED)
def test_nothing_but_values_is_made_of_a_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert value_of("1") == "1"
    (file,) = folder.iterdir()
    content = FORGED[forged]
    pickled = content if isinstance(content, bytes) else pickle.dumps(content)
    file.write_bytes(file.read_bytes()[:32] + hashlib.sha256(pickled).digest() + pickled)
    assert value_of("2") == "2"
    assert not (tmp_path / "made").exists()


def test_the_files_that_are_kept_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_files, "PLACES", 32)
    for number in range(96):
        value_of("1", str(number))
    assert 16 < len([*folder.iterdir()]) <= 32
    assert value_of("x" * 2**21, "large") == "x" * 2**21
    assert max(each.stat().st_size for each in folder.iterdir()) < 1000


def test_every_module_that_checks_counts() -> None:
    program = (
        "import sys; from tfslurm.spec import parsing; from tfslurm.cluster import parsing; import tfslurm.image.lock\n"
        "from tfslurm.submission import spec_checks\nfrom tfslurm.document import reading, validation\n"
        "print(*{name.split('.')[1] for name in sys.modules if name.startswith('tfslurm.')})"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert {*loaded.split()} <= {*CHECKING, "errors"}

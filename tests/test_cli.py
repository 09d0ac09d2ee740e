from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import pytest

from tests.made import PIN
from tests.typed import Type, typed_in
from tfslurm.cli import COMMANDS, group
from tfslurm.image import lock_text

HEAVY = ("docker", "paramiko", "jinja2", "simple_slurm", "pydantic", "requests", "rich", "yaml", "sqlite3")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """`tfslurm …` in an empty folder, with a home of its own and no cluster configured."""
    beside = {"XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data"}
    environment = {name: tmp_path.with_name(f"{tmp_path.name}-{value}") for name, value in beside.items()}
    return typed_in(tmp_path, {"HOME": tmp_path, **environment}, monkeypatch, capsys)


def test_help_loads_click_and_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tfslurm", "--help"], capture_output=True, text=True, check=True
    )
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "click" in loaded
    assert not {name.split(".")[0] for name in loaded} & {*HEAVY, "json"}
    assert {name for name in loaded if name.startswith("tfslurm.")} <= {"tfslurm.__main__", "tfslurm.cli"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps(name: str) -> None:
    command = group.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.help
    assert command.short_help == COMMANDS[name][1]
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name} has no help"


@pytest.mark.parametrize(
    ("words", "variable"),
    [(["init"], "XDG_CONFIG_HOME"), (["status"], "XDG_DATA_HOME"), (["submit", "exp.yaml"], "XDG_DATA_HOME")],
)
def test_a_folder_of_ones_own_that_cannot_be_made_is_told_with_the_variable_that_names_another(
    run: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], variable: str
) -> None:
    (tmp_path / "exp.yaml").write_text(
        "name: a\nimage: tensorflow/tensorflow:2.16.1-gpu\ncommand: [a]\nresources: {gpus: 0}\n"
    )
    (tmp_path / "exp.lock.yaml").write_text(lock_text(PIN))
    full = tmp_path / "a file"
    full.touch()
    if words == ["init"]:
        (tmp_path / "exp.yaml").unlink()
    else:
        clusters = tmp_path.with_name(f"{tmp_path.name}-config") / "tfslurm" / "clusters"
        clusters.mkdir(parents=True)
        (clusters / "alpha.yaml").write_text("name: alpha\nroot: /scratch/a\n")
    monkeypatch.setenv(variable, str(full / "x"))
    done = run(*words)
    assert (done.returncode in (1, 2), "Traceback" in done.stderr) == (True, False)
    assert f"set {variable} to a folder that" in done.stderr.replace("or set", "set")


def test_a_mistyped_command_names_the_nearest(run: Type) -> None:
    done = run("sumbit", "exp.yaml")
    assert done.returncode == 2
    assert "Did you mean 'submit'?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["plan", "absent.yaml"], 2, r"error: absent\.yaml: cannot be read: No such file"),
        (["status", "12a"], 2, r"error: job '12a': is neither the id of a job nor the name of a job or a sweep; write"),
        (["exec", "17", "--rank", "1"], 2, r"error: --rank: stands after JOB, so it is taken .*; write it before 17"),
        (["exec", "17", "--", "ls"], 2, r"error: job '17': is not in the tracker"),
        (["shell", "--", "ls", "/"], 2, r"error: ls: is no file; .*; write `tfslurm shell exp\.yaml -- ls"),
        (["shell", "alpha:17"], 2, r"error: job alpha:17: is no experiment, .*; `tfslurm exec alpha:17` opens one in"),
        (["image", "inspect", "tf"], 2, r"error: job 'tf': is neither .*; an image needs its tag or digest: tf:TAG"),
        (["cite", "17"], 2, r"error: job '17': is not in the tracker"),
        (["cite", "./17"], 2, r"error: 17: cannot be read: No such file"),
        (["cite", "17", "--author", " "], 2, r"error: --author: ' ' is no name"),
        (["provenance", "17"], 2, r"error: job '17': is not in the tracker"),
        (["submit", "exp.yaml", "--set", "lr"], 2, r"error: --set lr: is not key=value"),
        (
            ["check", "nowhere"],
            2,
            r"error: cluster 'nowhere': is not known .*; describe it in \S+/clusters/NAME\.yaml, or ",
        ),
        (["logs"], 2, r"^error: tfslurm logs: missing argument 'JOB'; `tfslurm logs --help` explains it\n$"),
        (
            ["status", "--stat", "x"],
            2,
            r"^error: tfslurm status: no such option '--stat'; did you mean --state or --watch\?",
        ),
        (
            ["provenance", "1", "--format", "pdf"],
            2,
            r"^error: tfslurm provenance: invalid value for '--format': 'pdf' is",
        ),
        (
            ["pin", "a", "b"],
            2,
            r"^error: tfslurm pin: got unexpected extra argument \(b\); `tfslurm pin --help` explains it\n",
        ),
        (
            ["pin", "x.yaml", "--cluster", "alpha"],
            2,
            r"^error: --cluster: a lock file is the same for every cluster; leave it out",
        ),
        (["init", "there", "--nope"], 2, r"^error: tfslurm init: no such option '--nope'"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(run: Type, arguments: list[str], code: int, says: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert re.search(says, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture
def with_lr(run: Type, tmp_path: Path) -> Path:
    """An experiment that reads {{ lr }} and {{ seed }}; its `parameters` are seed, and depth that it does not read."""
    assert run("init").returncode == 0
    file = tmp_path / "exp.yaml"
    text = file.read_text().replace("--out /out  ", "--out /out {{ lr }} {{ seed }}  ")
    file.write_text(re.sub("(?m)^(# )?parameters:.*", "parameters: {seed: 0, depth: 2}", text))
    (tmp_path / "exp.lock.yaml").write_text(lock_text(PIN))
    return file


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "near"),
    [
        ("gpu=3", "`resources.gpus`"),
        ("resource.time=3", "`resources.time`"),
        ("mem=16G", "`resources.memory`"),
        ("account=lab", "`slurm.account`"),
        ("ntasks-per-node=2", "`resources.tasks_per_node`"),
        ("resource.gpus=2", "`resources.gpus`"),
        ("partition=gpu", "`slurm.partition`"),
        ("mail-user=me", "`slurm.mail-user`"),
        ("gres=gpu:1", "`resources.gpus`"),
        ("Lr=1", "`lr`"),
        ("parameters.sed=1", "`seed`"),
        ("dept=1,2", "`depth`"),
        ("momentum=0.9", ""),
    ],
)
@pytest.mark.parametrize("command", ["plan", "submit"])
def test_a_set_that_nothing_uses_is_refused(run: Type, with_lr: Path, command: str, setting: str, near: str) -> None:
    done = run(command, "exp.yaml", "--set", "lr=0.5", "--set", setting, "--set", "nobody=1")
    assert done.returncode == 2
    name = setting.partition("=")[0].removeprefix("parameters.")
    told = next(line for line in done.stderr.splitlines() if f"--set {name}: nothing uses it: " in line)
    assert told.count("did you mean") == bool(near) and near in told and "the parameters are: depth, lr, seed; " in told
    assert "--set nobody: nothing uses it" in done.stderr


@pytest.mark.slow
def test_parameters_are_defaults_that_set_and_sweeps_replace(run: Type, with_lr: Path) -> None:
    (plain,) = json.loads(run("plan", "exp.yaml", "--set", "lr=0.5", "--json").stdout)
    assert plain["command"][-2:] == ["0.5", "0"] and plain["parameters"] == {"lr": "0.5", "seed": 0, "depth": 2}
    assert json.loads(plain["env"]["TFSLURM_PARAMS"]) == plain["parameters"]
    for setting in ("seed=7", "parameters.seed=7"):
        (other,) = json.loads(run("plan", "exp.yaml", "--set", "lr=0.5", "--set", setting, "--json").stdout)
        assert other["parameters"] == {"lr": "0.5", "seed": 7, "depth": 2} and other["command"][-1] == "7"
    swept = json.loads(run("plan", "exp.yaml", "--set", "lr=[1, 2]", "--set", "depth=3,4", "--json").stdout)
    assert [each["parameters"] for each in swept["points"]] == [
        {"depth": depth, "lr": lr, "seed": 0} for depth in (3, 4) for lr in (1, 2)
    ]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("sweep: {grid: {lr: [1], sed: [1, 2]}}", "sweep.grid.sed: nothing uses it: no {{ sed }} is in `command`"),
        ("sweep: {zip: [{lr: [1], gpu: [2]}]}", "sweep.zip[0].gpu: nothing uses it"),
        ("sweep: {random: {lr: {int: [1, 2]}, drop: {int: [1, 2]}, samples: 2}}", "sweep.random.drop: nothing uses it"),
        ("sweep: {include: [{lr: 1, deep: 3}]}", "sweep.include[0].deep: nothing uses it"),
        ("sweep: {blocks: [{grid: {lr: [1], widt: [1]}}]}", "sweep.blocks[0].grid.widt: nothing uses it"),
    ],
)
def test_an_axis_that_nothing_uses_is_refused_with_its_line(run: Type, with_lr: Path, more: str, told: str) -> None:
    lines = len(with_lr.read_text().splitlines())
    with_lr.write_text(f"{with_lr.read_text()}{more}\n")
    done = run("plan", "exp.yaml")
    assert done.returncode == 2 and f"exp.yaml:{lines + 1}: {told}" in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["image", "resources.gpus", "parameters"])
def test_a_parameter_is_no_key(run: Type, with_lr: Path, name: str) -> None:
    with_lr.write_text(re.sub("(?m)^(# )?parameters:.*", f"parameters: {{{name}: 1}}", with_lr.read_text()))
    done = run("plan", "exp.yaml", "--set", "lr=1")
    assert done.returncode == 2 and f"parameters.{name}: `{name}` is a key of this file" in done.stderr
    done = run("plan", "exp.yaml", "--set", "parameters={seed: 1}")
    assert done.returncode == 2 and "--set parameters: sets all parameters at once" in done.stderr


@pytest.mark.parametrize("command", ["plan", "submit", "rehearse"])
@pytest.mark.parametrize(("asked", "near"), [("beta", ""), ("alpah", "did you mean `alpha`? "), ("local", "")])
def test_a_cluster_outside_the_files_is_refused(run: Type, with_lr: Path, command: str, asked: str, near: str) -> None:
    more = "clusters: [alpha, gamma]\ncheckpoint: {signal: USR1, before_end: 60, requeue: true}\n"
    with_lr.write_text(f"{with_lr.read_text()}{more}")
    done = run(command, "exp.yaml", "--cluster", asked, "--set", "lr=1")
    assert done.returncode == 2
    assert f"--cluster {asked}: the experiment runs on alpha, gamma alone; {near}" in done.stderr
    done = run(command, "exp.yaml", "--cluster", "beta", "--set", "lr=1", "--set", "clusters=[beta]")
    assert "alone" not in done.stderr


def test_run_refuses_an_experiment_for_several_tasks_with_its_line(run: Type, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("name: two\nimage: x:1\ncommand: a\nresources:\n  nodes: 2\n  tasks_per_node: 3\n")
    done = run("run", str(file))
    assert done.returncode == 2
    assert f"{file}:5: resources.nodes: is 2; without a scheduler one task runs; submit it, or run one" in done.stderr
    assert f"{file}:6: resources.tasks_per_node: is 3; without a scheduler one task runs" in done.stderr


def test_init_writes_an_experiment_and_a_cluster_that_plan_as_they_stand(run: Type, tmp_path: Path) -> None:
    assert run("init").returncode == 0
    (tmp_path / "exp.lock.yaml").write_text(lock_text(PIN))
    planned = run("plan", "exp.yaml", "--script")
    assert planned.returncode == 0, planned.stderr
    assert f"image_digest={PIN.digest}" in planned.stdout
    again = run("init")
    assert again.returncode == 2
    assert "is there already; nothing was changed" in again.stderr


def test_json_is_one_document_and_nothing_else(run: Type) -> None:
    for arguments in (
        ["schema", "--json"],
        ["schema", "cluster", "--json"],
        ["status", "--json"],
        ["tracker", "path", "--json"],
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)


@pytest.mark.parametrize("which", ["experiment", "cluster"])
def test_the_printed_schema_is_a_schema(run: Type, which: str) -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(json.loads(run("schema", which).stdout))


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly(run: Type) -> None:
    done = subprocess.run(
        f"{sys.executable} -m tfslurm schema | head -1", shell=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


@pytest.mark.parametrize("words", ["schema", "status nosuch --json"])
def test_an_output_that_cannot_be_written_is_one_error(words: str, tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tfslurm", *words.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        )
    (line,) = done.stderr.splitlines()
    wanted = (
        "the output cannot be written: No space left on device" if words == "schema" else "job 'nosuch': is neither"
    )
    assert line.startswith(f"error: {wanted}")
    assert done.returncode == (1 if words == "schema" else 2)


SWEEP = """\
name: digits
image: tensorflow/tensorflow:2.16.1
command: python train.py --lr {{ lr }} --depth {{ depth }}
clusters: [alpha, beta]
sweep:
  grid: {lr: [0.1, 0.01, 0.001], depth: [2, 4]}
  spread: blocked
"""


MORE = """\
env: {LR: "{{ lr }}"}
mounts: [{source: /data/digits, target: /data}]
resources: {memory: all, time: "01:00:00", shm: 8G}
checkpoint: {before_end: 90}
network: none
secrets: [NOBODY_SETS_THIS]
slurm: {partition: gpu}
plugin_options: {quotatype: spot}
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    clusters = tmp_path.with_name(f"{tmp_path.name}-config") / "tfslurm" / "clusters"
    clusters.mkdir(parents=True)
    for name in ("alpha", "beta"):
        (clusters / f"{name}.yaml").write_text(f"name: {name}\nroot: /scratch/a\nmounts: {{allow: [/data]}}\n")
    (tmp_path / "exp.yaml").write_text(SWEEP)
    (tmp_path / "exp.lock.yaml").write_text(
        lock_text(replace(PIN, reference="tensorflow/tensorflow:2.16.1", tag="2.16.1"))
    )
    return tmp_path / "exp.yaml"


def test_plan_shows_the_points_of_a_sweep_and_where_they_would_go(run: Type, sweep: Path) -> None:
    done = run("plan", "exp.yaml")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        "sweep    digits: 6 points",
        "axes     depth: 2; lr: 3",
        "where    alpha: 3 points",
        "where    beta: 3 points",
    ]
    assert len([line for line in lines if line.startswith("point ")]) == 5
    sweep.write_text(SWEEP.replace("blocked", "idle"))
    assert "alpha or beta, where a point begins soonest when it is submitted" in run("plan", "exp.yaml").stdout


def test_plan_of_a_sweep_says_all_that_submit_would_send(run: Type, sweep: Path) -> None:
    sweep.write_text(SWEEP + "  max_parallel: 4\n" + MORE)
    shown = run("plan", "exp.yaml").stdout
    for line in (
        r"first +[0-9a-f]{12}: python train.py --lr 0.1 --depth 2$",
        r" +TFSLURM_PARAMS='{\"depth\":2,\"lr\":0.1}' LR='0.1'$",
        r"at once +4 tasks on each cluster \(max_parallel\)$",
        r"job +digits on alpha, as ",
        r"job +digits on beta, as ",
        r"image +tensorflow/tensorflow:2.16.1 = sha256:[0-9a-f]{64} \(manifest, pinned ",
        r"command +python train.py --lr '{{ lr }}' --depth '{{ depth }}'$",
        r"mounts +/data/digits -> /data \(ro\)$",
        r"sbatch +--partition=gpu --nodes=1 .*--mem=0 .*--signal=URG@90 .*--quotatype=spot$",
        r"ends +checkpoint: USR1 90 s before the time limit$",
        r"shm +8192 MiB$",
        r"network +none$",
        r"note +outputs: none, so nothing that the program writes is kept",
        r"note +secrets: NOBODY_SETS_THIS: not set in this shell",
    ):
        assert re.search(line, shown, re.MULTILINE), (line, shown)
    planned = json.loads(run("plan", "exp.yaml", "--json").stdout)
    assert [plan["cluster"] for plan in planned["plans"]] == ["alpha", "beta"]
    assert all(
        plan["points"]["max_parallel"] == 4 and "#SBATCH --array=" in plan["script"] for plan in planned["plans"]
    )
    assert any("NOBODY_SETS_THIS" in note for note in planned["notes"])


def test_the_script_of_a_sweep_is_that_of_its_first_point(run: Type, sweep: Path) -> None:
    done = run("plan", "exp.yaml", "--script", "--cluster", "beta")
    assert done.returncode == 0
    assert done.stdout.startswith("#!/bin/bash") and "--array" not in done.stdout
    assert "--lr 0.1 --depth 2" in " ".join(done.stdout.split())
    assert "note: the script of point" in done.stderr and '{"depth":2,"lr":0.1}' in done.stderr
    other = run("plan", "exp.yaml", "--script", "--cluster", "beta", "--set", "lr=[0.001]", "--set", "depth=[4]").stdout
    assert "--lr 0.001 --depth 4" in " ".join(other.split())


def test_plan_of_a_sweep_refuses_what_a_cluster_does_not_allow(run: Type, sweep: Path) -> None:
    for lock in (True, False):
        sweep.write_text(SWEEP + "mounts: [{source: /scratch/b, target: /data}]\n")
        if not lock:
            sweep.with_name("exp.lock.yaml").unlink()
            sweep.write_text(sweep.read_text().replace("tensorflow/tensorflow", "registry.invalid/tf"))
        done = run("plan", "exp.yaml")
        assert (done.returncode, done.stdout) == (2, "")
        assert "'/scratch/b' is outside what cluster alpha allows" in done.stderr


def test_a_sweep_is_planned_without_a_registry_and_says_what_is_not_known(run: Type, sweep: Path) -> None:
    sweep.with_name("exp.lock.yaml").unlink()
    sweep.write_text(SWEEP.replace("tensorflow/tensorflow", "registry.invalid/tf"))
    done = run("plan", "exp.yaml")
    assert done.returncode == 0
    assert "image    registry.invalid/tf:2.16.1: not pinned\n" in done.stdout
    assert re.search("note +image: not pinned: registry.invalid/tf: tag 2.16.1: ", done.stdout)
    assert json.loads(run("plan", "exp.yaml", "--json").stdout)["plans"] == []


def test_an_image_that_is_named_by_its_digest_is_planned_without_a_registry(run: Type, tmp_path: Path) -> None:
    assert run("init").returncode == 0
    file = tmp_path / "exp.yaml"
    digest = "sha256:" + "c3" * 32
    file.write_text(re.sub("(?m)^image:.*", f"image: registry.invalid/tf@{digest}", file.read_text()))
    done = run("plan", "exp.yaml")
    assert (done.returncode, f"registry.invalid/tf@{digest} = {digest} (no registry was asked)" in done.stdout) == (
        0,
        True,
    )
    assert "the plan knows the image's digest alone, not its entrypoint; submit asks the registry again" in done.stderr
    assert not (tmp_path / "exp.lock.yaml").exists()
    assert run("submit", "exp.yaml").returncode == 1


def test_values_on_the_command_line_take_the_place_of_an_axis(run: Type, sweep: Path) -> None:
    done = run("plan", "exp.yaml", "--cluster", "beta", "--set", "lr=[1, 0.5]", "--set", "depth=a,b", "--json")
    planned = json.loads(done.stdout)
    assert [(point["cluster"], point["parameters"]) for point in planned["points"]] == [
        ("beta", {"depth": depth, "lr": lr}) for depth in "ab" for lr in (1, 0.5)
    ]
    assert planned["count"] == 4
    assert [note.partition(":")[0] for note in planned["notes"]] == ["outputs", "code"]
    refused = run("plan", "exp.yaml", "--set", "lr=1,,2")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: --set lr: '1,,2' has nothing between two commas; ")


@pytest.mark.parametrize("command", [("run",), ("rehearse",)], ids=" ".join)
def test_what_cannot_take_a_sweep_says_so(run: Type, sweep: Path, command: tuple[str, ...]) -> None:
    done = run(command[0], "exp.yaml", *command[1:])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: exp.yaml:5: sweep: this command takes one job, and a sweep is many; ")


def test_several_values_on_the_command_line_are_a_sweep(run: Type, sweep: Path) -> None:
    sweep.write_text(SWEEP.partition("sweep:")[0])
    planned = json.loads(run("plan", "exp.yaml", "--json", "--set", "lr=0.1,0.01", "--set", "depth=2").stdout)
    assert [point["parameters"] for point in planned["points"]] == [
        {"depth": "2", "lr": "0.1"},
        {"depth": "2", "lr": "0.01"},
    ]


def test_a_value_cannot_disturb_the_terminal_that_shows_it(run: Type, sweep: Path) -> None:
    sweep.write_text(SWEEP.replace("[2, 4]", '["\\e[2J\\u009b2J\\u202e"]'))
    done = run("plan", "exp.yaml")
    assert done.returncode == 0 and "\x1b[2J" not in done.stdout + done.stderr
    assert r'"depth":"\u001b[2J\x9b2J\u202e"' in done.stdout


def test_a_placeholder_that_no_point_fills_is_told(run: Type, sweep: Path) -> None:
    sweep.write_text(SWEEP.replace("{{ lr }}", "{{ rate }}"))
    done = run("plan", "exp.yaml")
    assert done.returncode == 2
    assert (
        "exp.yaml:6: sweep.grid.lr: nothing uses it: " in done.stderr and "parameters are: depth, rate" in done.stderr
    )

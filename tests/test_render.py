"""A plan becomes a script that bash and sbatch read back byte for byte."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.made import HOSTILE
from tests.node_side import packed
from tfslurm.errors import InputError
from tfslurm.image import Pin
from tfslurm.job_plan import CodeState, JobPlan, Points, identify
from tfslurm.render import directive, remark, render, sh
from tfslurm.spec import Checkpoint, Mount, Resources
from tfslurm.submission.prepare import sent_files
from tfslurm.workspace.packaged_files import ENGINE_PARTS, INSIDE, SHELL_SIDE, node_side, probe

TEMPLATES = Path(__file__).parent.parent / "job_templates"
GOLDEN = Path(__file__).parent / "golden"
BUILT_IN = {"job.sbatch.j2": (TEMPLATES / "job.sbatch.j2").read_text("utf-8")}
DIGEST = "sha256:" + "ab" * 32
SENT = (" + ".join(SHELL_SIDE), *INSIDE)
FILES = {name: sha256(name.encode()).hexdigest() for name in SENT}


def pin(**changes: Any) -> Pin:
    values: dict[str, Any] = {
        "reference": "tensorflow/tensorflow:2.16.1-gpu",
        "registry": "docker.io",
        "repository": "tensorflow/tensorflow",
        "tag": "2.16.1-gpu",
        "digest": DIGEST,
        "digest_kind": "index",
        "pin_kind": "registry",
        "platform": "linux/amd64",
        "manifest_digest": "sha256:" + "cd" * 32,
        "config_digest": "sha256:" + "ef" * 32,
        "size_bytes": 3_500_000_000,
        "media_type": "application/vnd.oci.image.index.v1+json",
        "created": "2024-03-08T00:00:00Z",
        "served_by": "docker.io/tensorflow/tensorflow",
        "pinned_at": "2024-05-01T12:00:00Z",
        "entrypoint": (),
        "environment": {},
    }
    return Pin(**{**values, **changes})


def plan(**changes: Any) -> JobPlan:
    values: dict[str, Any] = {
        "name": "digits-cnn",
        "user": "alice",
        "cluster": "alpha",
        "root": "/scratch/alice/tfslurm",
        "engine": "docker",
        "pin": pin(),
        "image_sources": (
            f"mirror.example/tensorflow/tensorflow@{DIGEST}",
            f"docker.io/tensorflow/tensorflow@{DIGEST}",
        ),
        "command": ("python", "train.py", "--lr", "0.1"),
        "env": {},
        "mounts": (),
        "mounts_allow": (),
        "outputs": None,
        "secrets": (),
        "resources": Resources(),
        "network": "bridge",
        "code": None,
        "options": {"nodes": "1", "ntasks-per-node": "1", "cpus-per-task": "1", "gres": "gpu:1", "no-requeue": ""},
        "template": "",
        "checkpoint": None,
        "parameters": {},
        "spec_file": "exp.yaml",
        "spec_sha256": "12" * 32,
        "planned_at": "2024-05-01T12:00:01.000000Z",
        "tfslurm_version": "0.1.0",
    }
    return identify(JobPlan(**{**values, **changes}))


def full_plan(**changes: Any) -> JobPlan:
    """Every setting at once."""
    return plan(
        command=("python", "train.py", "--note", "it's\na 'note'"),
        env={"TF_DETERMINISTIC_OPS": "1", "MOTTO": "two\nlines"},
        mounts=(Mount("/data/digits", "/data"), Mount("/scratch/alice/a, b", "/ab", read_only=False)),
        mounts_allow=("/data", "/scratch/alice"),
        outputs="/out",
        secrets=("WANDB_API_KEY",),
        resources=Resources(gpus=2, cpus=4, memory_mib=16384, time_s=7200, nodes=2, shm_mib=8192),
        network="host",
        prepull=True,
        code=CodeState("4b825dc642cb6eb9a060e54bf8d69288fbee4904", True, 3, 1200, commit="c0ffee", dirty=True),
        options={"partition": "gpu", "signal": "USR1@120", "gres": "gpu:2", "requeue": "", "comment": "tfslurm:x #1"},
        checkpoint=Checkpoint("USR1", 120, requeue=True),
        **changes,
    )


def rendered(asked: JobPlan, files: Mapping[str, str] = FILES) -> str:
    return render(asked, BUILT_IN, "job.sbatch.j2", files)


def read_back(asked: JobPlan, root: Path, *names: str) -> dict[str, list[bytes]]:
    """The arrays and variables as bash holds them after it read the whole script."""
    asked = replace(asked, root=str(root))
    folder = Path(asked.run_dir)
    folder.mkdir(parents=True)
    shows = "\n".join(f'show {name} "${{{name}[@]}}"' for name in names)
    show = """show() { local name=$1; shift; printf '%s\\0' "$name" "$#" "$@"; }\n"""
    node_sh = f"{show}node::begin() {{ :; }}\nnode::batch() {{\n{shows}\njob_exit_code=0\n}}\n"
    files = {**dict.fromkeys((*SHELL_SIDE, *INSIDE), "\n"), "node.sh": node_sh}
    for name, text in files.items():
        (folder / name).write_text(text)
    one = " + ".join(SHELL_SIDE)
    texts = {**files, one: "".join(files[name].removesuffix("\n") + "\0" for name in SHELL_SIDE)}
    sums = {name: sha256(texts[name].encode()).hexdigest() for name in SENT}
    script = folder / "job.sbatch"
    script.write_bytes(rendered(asked, sums).encode("utf-8", "surrogateescape"))
    done = subprocess.run(["bash", script], capture_output=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stderr
    words = done.stdout.split(b"\0")[:-1]
    found: dict[str, list[bytes]] = {}
    while words:
        name, count = words[0].decode(), int(words[1])
        found[name], words = words[2 : 2 + count], words[2 + count :]
    return found


def as_bytes(*words: str) -> list[bytes]:
    return [word.encode("utf-8", "surrogateescape") for word in words]


def test_there_are_at_least_forty_hostile_words() -> None:
    assert len(set(HOSTILE)) == len(HOSTILE) >= 40


def test_every_hostile_word_survives_bash_byte_for_byte(tmp_path: Path) -> None:
    mounts = tuple(Mount(f"/data/{word}", f"/in/{word}", read_only=bool(at % 2)) for at, word in enumerate(HOSTILE))
    asked = plan(
        command=HOSTILE, env={f"V{at}": word for at, word in enumerate(HOSTILE)}, mounts=mounts,
        mounts_allow=HOSTILE, image_sources=HOSTILE, secrets=HOSTILE, outputs=HOSTILE[15],
        pin=pin(reference="a'b $(x)\nc"),
    )  # fmt: skip
    found = read_back(
        asked, tmp_path,
        "command", "environment", "mounts", "mounts_allow", "image_sources", "secrets", "outputs", "image_reference",
    )  # fmt: skip
    assert found["command"] == as_bytes(*HOSTILE)
    assert found["environment"] == as_bytes(*(f"V{at}={word}" for at, word in enumerate(HOSTILE)))
    triples = [(m.source, m.target, "ro" if m.read_only else "rw") for m in mounts]
    assert found["mounts"] == as_bytes(*(word for triple in triples for word in triple))
    for name in ("mounts_allow", "image_sources", "secrets"):
        assert found[name] == as_bytes(*HOSTILE)
    assert found["outputs"] == as_bytes(HOSTILE[15])
    assert found["image_reference"] == [b"a'b $(x)\nc"]


def test_nothing_given_is_empty_arrays_and_empty_words(tmp_path: Path) -> None:
    asked = plan(command=(), resources=Resources(gpus=0))
    names = ("command", "environment", "mounts", "mounts_allow", "secrets", "outputs", "code_dir", "checkpoint_signal")
    found = read_back(asked, tmp_path, *names, "gpus", "memory_mib", "shm_mib", "checkpoint_requeue", "code_writable")
    assert [found[name] for name in names] == [[], [], [], [], [], [b""], [b""], [b""]]
    assert [found[name] for name in ("gpus", "memory_mib", "shm_mib")] == [[b"0"]] * 3
    assert found["checkpoint_requeue"] == found["code_writable"] == [b"false"]


def test_every_setting_of_a_full_plan_reaches_bash(tmp_path: Path) -> None:
    asked = full_plan()
    names = (
        *("plan_id", "name", "cluster", "run_dir", "images_dir", "code_dir", "code_writable", "engine", "network"),
        *("image_reference", "image_digest", "image_digest_kind", "pin_kind", "gpus", "cpus", "memory_mib", "shm_mib"),
        *("gpus_per_task", "tensorflow_check", "tensorflow_check_key", "minimum_driver", "minimum_driver_for"),
        *("nodes", "tasks_per_node", "prepull", "checkpoint_signal", "checkpoint_requeue"),
    )
    found = {name: words[0].decode() for name, words in read_back(asked, tmp_path, *names).items()}
    assert found == {
        "plan_id": asked.plan_id, "name": "digits-cnn", "cluster": "alpha",
        "run_dir": f"{tmp_path}/runs/digits-cnn-{asked.plan_id}", "images_dir": f"{tmp_path}/images",
        "code_dir": f"{tmp_path}/code/4b825dc642cb6eb9a060e54bf8d69288fbee4904", "code_writable": "true",
        "engine": "docker", "network": "host", "image_reference": "tensorflow/tensorflow:2.16.1-gpu",
        "image_digest": DIGEST, "image_digest_kind": "index", "pin_kind": "registry", "gpus": "2", "cpus": "4",
        "memory_mib": "16384", "shm_mib": "8192", "nodes": "2", "tasks_per_node": "1", "prepull": "true",
        "checkpoint_signal": "USR1", "checkpoint_requeue": "true", "gpus_per_task": "0", "tensorflow_check": "cached",
        "tensorflow_check_key": asked.gpu_check_key, "minimum_driver": asked.minimum_driver,
        "minimum_driver_for": asked.minimum_driver_for,
    }  # fmt: skip


def moved(texts: dict[str, str], source: str, target: str, where: int) -> dict[str, str]:
    """The same text in all, but a part of one file lies in the next."""
    lines = texts[source].splitlines(keepends=True)
    return {**texts, source: "".join(lines[:where]), target: "".join(lines[where:]) + texts[target]}


@pytest.mark.parametrize(
    ("source", "target", "where"),
    [("node.sh", "task.sh", -40), ("node.sh", "task.sh", 1), ("node.sh", "task.sh", 0)],
)
def test_what_moves_from_one_file_that_was_sent_to_the_next_is_another_file(
    source: str, target: str, where: int, tmp_path: Path
) -> None:
    """One sum is taken of several: without the end of node.sh, what it asks for in a condition is a quiet no."""
    asked = plan(root=str(tmp_path))
    folder = Path(asked.run_dir)
    folder.mkdir(parents=True)
    texts = node_side("docker", points=False)
    script = folder / "job.sbatch"
    script.write_text(rendered(asked, sent_files(asked)))
    said = []
    for sent in (texts, moved(texts, source, target, where)):
        for name, text in sent.items():
            (folder / name).write_text(text)
        done = subprocess.run(["bash", script], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        assert done.returncode == 78
        said.append(done.stderr)
    assert "this is not a job: SLURM_JOB_ID is not set" in said[0]
    assert "holds other files than were sent" in said[1]


def test_a_nul_is_refused_because_no_argument_can_hold_it() -> None:
    with pytest.raises(InputError, match="NUL"):
        rendered(plan(command=("a\0b",)))


@pytest.mark.parametrize("value", ["back\\slash", "two\nlines", "tab\t", "nul\0", "cr\r"])
def test_a_directive_that_sbatch_would_read_otherwise_is_refused(value: str) -> None:
    with pytest.raises(InputError, match="comment="):
        rendered(plan(options={"comment": value}))


@pytest.mark.parametrize("key", ["mem\n#SBATCH --nodes", "", "-n", "Mem", "a b"])
def test_a_directive_whose_key_is_no_option_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="not the long name"):
        directive(key, "1")


@pytest.mark.parametrize("word", [word for word in HOSTILE if word and sh(word)[0] != "$" and "\\" not in word])
def test_a_directive_is_one_word_for_a_shell_like_reader(word: str) -> None:
    assert shlex.split(directive("comment", word)) == [f"--comment={word}"]


def test_an_option_without_a_value_is_a_flag() -> None:
    assert "#SBATCH --no-requeue\n" in rendered(plan())


def test_a_value_cannot_leave_its_comment() -> None:
    script = rendered(plan(pin=pin(reference="img:1\nrm -rf /"), spec_file="a\r\n#SBATCH --nodes=9\x1b"))
    comments = script[: script.index("\nset ")].splitlines()
    assert all(not line or line.startswith("#") for line in comments)
    assert "#   image   img:1\\nrm -rf /" in comments
    assert "#SBATCH --nodes=9" not in comments
    assert remark("a\x00b\x1b") == "a\\x00b\\x1b"


def test_the_directives_stand_before_the_first_command_and_are_the_plans() -> None:
    asked = full_plan()
    lines = rendered(asked).splitlines()
    head = lines[: next(index for index, line in enumerate(lines) if line.startswith("set "))]
    found = [shlex.split(line.removeprefix("#SBATCH "))[0] for line in head if line.startswith("#SBATCH")]
    assert found == [f"--{key}={value}" if value else f"--{key}" for key, value in asked.directives.items()]
    assert lines[0] == "#!/bin/bash"


def test_a_users_template_extends_the_built_in_one() -> None:
    mine = '{% extends "job.sbatch.j2" %}{% block prologue %}module load docker/{{ plan.cluster | sh }}{% endblock %}'
    script = render(plan(), {**BUILT_IN, "my.sbatch.j2": mine}, "my.sbatch.j2", FILES)
    lines = script.splitlines()
    assert lines.index("node::begin") < lines.index("module load docker/alpha") < lines.index("node::batch")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('{% extends "job.sbatch.j2" %}\n{% block prologue %}\n{% if %}\n{% endblock %}', 3, "Expected an expression"),
        ('{% extends "job.sbatch.j2" %}\n{% block prologue %}\n\n{{ plan.partitoin }}\n{% endblock %}', 4, "partitoin"),
        ("{{ nothing }}", 1, "'nothing' is undefined"),
        ("\n{{ plan.gpus | shh }}", 2, "No filter named 'shh'"),
        ('\n\n{% extends "job.sbatch" %}', 0, "there is no template 'job.sbatch'; there is job.sbatch.j2"),
        ("{{ 1 / 0 }}", 1, "division by zero"),
        ("{{ plan.__class__.__mro__ }}", 1, "unsafe"),
        ("a\r\n{% raw %}b\r\n{% endraw %}\r\n{{ '\\r\\n' }}", 0, "DOS line ends"),
    ],
)
def test_a_mistake_in_a_template_is_told_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(InputError) as caught:
        render(plan(), {**BUILT_IN, "my.sbatch.j2": text}, "my.sbatch.j2", FILES)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == ("my.sbatch.j2", line)
    assert words in str(problem)


def test_a_script_larger_than_slurm_takes_is_refused() -> None:
    with pytest.raises(InputError, match="Slurm takes 4194304"):
        rendered(plan(command=("x" * 5_000_000,)))


MY_TEMPLATE = """{% extends "job.sbatch.j2" %}
{% block directives %}
{{ super() }}
#SBATCH --exclusive
{% endblock %}
{% block prologue %}
module load docker
{% endblock %}
{% block epilogue %}
printf 'left %s\\n' "$job_exit_code"
{% endblock %}
"""
GOLDENS = {
    "plain": (plan(), "job.sbatch.j2"),
    "cpu": (plan(resources=Resources(gpus=0), options={"nodes": "1"}, network="none"), "job.sbatch.j2"),
    "full": (full_plan(), "job.sbatch.j2"),
    "extended": (plan(template="my.sbatch.j2"), "my.sbatch.j2"),
    "packed": (plan(points=Points("s-1", 20, "0" * 64, 3, points_per_job=8), parameters={}), "job.sbatch.j2"),
}


@pytest.mark.parametrize("case", sorted(GOLDENS))
def test_the_script_is_the_one_that_was_accepted(case: str) -> None:
    asked, name = GOLDENS[case]
    script = render(asked, {**BUILT_IN, "my.sbatch.j2": MY_TEMPLATE}, name, FILES)
    golden = GOLDEN / f"{case}.sbatch"
    if os.environ.get("ACCEPT"):
        golden.write_text(script, "utf-8")
    accept = f"ACCEPT=1 python -m pytest {Path(__file__).name} -k {case}"
    assert golden.exists(), f"to accept it: {accept}"
    assert script == golden.read_text("utf-8"), f"to accept the change: {accept}"


@pytest.mark.slow
@pytest.mark.parametrize("case", sorted(GOLDENS))
def test_an_accepted_script_parses_and_shellcheck_has_no_complaint(case: str) -> None:
    golden = GOLDEN / f"{case}.sbatch"
    subprocess.run(["bash", "-n", golden], check=True)
    done = subprocess.run(["shellcheck", "-x", golden], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINE_PARTS)
def test_shellcheck_has_no_complaint_about_the_node_side(engine: str) -> None:
    names = [packed(engine, points=True) / name for name in (*SHELL_SIDE, "entry.sh")]
    done = subprocess.run(["shellcheck", "-x", *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    for name in ("check", "reap"):
        argv = ["shellcheck", "--shell=bash", "-"]
        done = subprocess.run(argv, input=probe(name, engine), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_node_side_writes_json_for_any_bytes() -> None:
    words = [
        *(bytes([byte]) for byte in range(1, 256)),
        bytes(range(1, 256)),
        *(word.encode() for word in HOSTILE[:-1]),
    ]
    script = 'set -euo pipefail; source "$0"; for word; do json::string "$word"; printf "%s\\0" "$json_text"; done'
    for locale in ("C", "C.UTF-8"):
        argv: list[str | bytes] = ["bash", "-c", script, str(packed() / "node.sh"), *words]
        done = subprocess.run(argv, capture_output=True, env={"PATH": os.environ["PATH"], "LC_ALL": locale}, check=True)
        for word, text in zip(words, done.stdout.split(b"\0")[:-1], strict=True):
            found = json.loads(text.decode("utf-8"))
            try:
                assert found == word.decode("utf-8")
            except UnicodeDecodeError:
                assert "\ufffd" in found

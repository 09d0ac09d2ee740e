"""The printed `docker run` line, typed into a shell: docker gets the very words that the job's program had."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import made
from tests.test_record import case
from tfslurm.errors import RecordError
from tfslurm.export.docker_run import docker_run
from tfslurm.record import Record
from tfslurm.record.model import Asked, Experiment
from tfslurm.record.task_model import Gpu

FAKE = "#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done\n"


def record(name: str = "gpu", *, asked: dict[str, Any] | None = None, **experiment: Any) -> Record:
    found = case(name).build(plan=replace(case(name).plan, code=made.CODE))
    assert found.asked is not None
    new_asked: Asked = replace(found.asked, **(asked or {}))
    new_experiment: Experiment = replace(found.experiment, **experiment)
    return replace(found, asked=new_asked, experiment=new_experiment)


def typed(line: str, folder: Path) -> list[str]:
    """The words that docker gets where the line is typed."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "docker").write_text(FAKE)
    (programs / "docker").chmod(0o755)
    path = {"PATH": f"{programs}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "-c", line], env=path, cwd=folder, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split("\0")[:-1]


def test_the_line_has_the_image_by_digest_and_all_that_the_job_had(tmp_path: Path) -> None:
    mounts = ({"source": "/data/digits", "target": "/data", "read_only": True}, {"source": "/s", "target": "/s"})
    asked = {"secrets": ("TOKEN",), "network": "none", "shm": "8192M", "outputs": "/out"}
    found = docker_run(record(asked=asked, mounts=mounts, env={"A": "b c"}, command=("python", "train.py", "--n=1")))
    words = typed(found.line, tmp_path)
    image = record().image
    at = words.index(f"{image.registry}/{image.repository}@{image.digest}")
    assert words[at - 1 : at + 3] == ["--entrypoint=python", words[at], "train.py", "--n=1"]
    assert words[:4] == ["run", "--rm", "--init", "--user"] and words[4].count(":") == 1
    for word in ("--network=none", "--shm-size=8192m", "--env=A=b c", "--workdir=/workspace", "--gpus=1"):
        assert word in words
    assert words[words.index("TOKEN") - 1] == "--env" and "TOKEN=" not in found.line
    binds = [words[place + 1] for place, word in enumerate(words) if word == "--mount"]
    assert binds == [
        "type=bind,source=/PATH/TO/code,target=/workspace,readonly",
        f"type=bind,source={tmp_path}/out,target=/out",
        "type=bind,source=/PATH/TO/data,target=/data,readonly",
        "type=bind,source=/PATH/TO/s,target=/s",
    ]
    assert (tmp_path / "out").is_dir()
    assert set(found.fill) == {"/PATH/TO/code", "/PATH/TO/data", "/PATH/TO/s"}
    assert "TOKEN" in " ".join(found.notes)


def test_a_cpu_job_without_code_and_outputs_has_no_more_than_its_image(tmp_path: Path) -> None:
    found = record("failed", asked={"outputs": None, "secrets": (), "shm": None}, mounts=(), env={}, command=("true",))
    line = docker_run(replace(found, code=None)).line
    words = typed(line, tmp_path)
    assert not any(word.startswith(("--gpus", "--mount", "--workdir", "--shm")) for word in words)
    assert not (tmp_path / "out").exists() and words[-1].endswith(found.image.digest)


@pytest.mark.slow
@pytest.mark.parametrize("word", [word for word in made.HOSTILE if "\0" not in word and len(word) < 1000])
def test_no_word_is_changed_or_run_by_the_shell(word: str, tmp_path: Path) -> None:
    mounts = ({"source": "/d", "target": f"/t{word}", "read_only": True},)
    words = typed(docker_run(record(command=("p", word, word), env={"A": word}, mounts=mounts)).line, tmp_path)
    assert words[-2:] == [word, word] and f"--env=A={word}" in words
    assert not Path("/tmp/never").exists()
    mount = words[[place for place, each in enumerate(words) if each == "--mount"][-1] + 1]
    target = f"target=/t{word}"
    csv = '"' + target.replace('"', '""') + '"' if set(target) & set(',"\n\r') else target
    assert csv in mount


def test_mounts_of_one_name_get_two(tmp_path: Path) -> None:
    mounts = ({"source": "/a", "target": "/x/data"}, {"source": "/b", "target": "/y/data"})
    assert {"/PATH/TO/data", "/PATH/TO/data-2"} < {*docker_run(record(mounts=mounts)).fill}


def test_code_in_a_crate_needs_no_filling_and_writable_code_is_no_read_only_mount(tmp_path: Path) -> None:
    line = docker_run(record(), code="code/4b82").line
    assert f"type=bind,source={tmp_path}/code/4b82,target=/workspace,readonly" in typed(line, tmp_path)
    spec = "name: x\ncode: {path: ., writable: true}\n"
    found = docker_run(record(asked={"spec": spec}), code="code/4b82")
    assert f"type=bind,source={tmp_path}/code/4b82,target=/workspace" in typed(found.line, tmp_path)
    assert "give it a copy" in found.notes[0]
    assert "readonly" in docker_run(record(asked={"spec": "a: [\n"}, mounts=())).line


def test_several_tasks_an_image_of_a_daemon_and_an_index_are_told() -> None:
    found = record()
    last = found.attempts[-1]
    task = replace(last.tasks[0], gpus=(Gpu("GPU-1", None, None), Gpu("GPU-2", None, None)))
    several = replace(found, attempts=(replace(last, tasks=(task, replace(task, node="n2"))),))
    assert "the job had 2 tasks on 2 nodes" in docker_run(several).notes[0] and "--gpus=2" in docker_run(several).line
    local = replace(found, image=replace(found.image, digest_kind="config"))
    assert f" {found.image.digest} " in docker_run(local).line and "no registry" in docker_run(local).notes[0]
    index = replace(found, image=replace(found.image, digest_kind="index", platform="linux/arm64"))
    assert "--platform=linux/arm64" in docker_run(index).line


def test_a_record_without_what_it_takes_has_no_line() -> None:
    with pytest.raises(RecordError, match="of this age"):
        docker_run(replace(record(), asked=None))
    with pytest.raises(RecordError, match="names no program"):
        docker_run(record(command=()))


@pytest.mark.parametrize(
    ("registry", "digest"),
    [("-v=/:/host", ""), ("--privileged", ""), ("", ""), ("docker.io", "-v=/:/host"), ("docker.io", "sha256:1")],
)
@pytest.mark.parametrize("kind", ["manifest", "config"])
def test_a_strangers_record_puts_no_option_where_the_image_stands(registry: str, digest: str, kind: Any) -> None:
    found = record()
    said = replace(found.image, registry=registry, digest=digest or found.image.digest, digest_kind=kind)
    if kind == "config" and not digest:
        assert registry not in docker_run(replace(found, image=said)).line.split()
        return
    with pytest.raises(RecordError, match="names no image"):
        docker_run(replace(found, image=said))

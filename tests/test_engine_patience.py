"""An engine that does not answer, verb by verb: a whole job by its script, with a stand-in for the engine that hangs.

The stand-in answers what a task asks of docker and podman, as far as a task reads it, and runs nothing: no container is
needed to see what becomes of a call that has no end. Real engines cannot be made to hang at will.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from tests.cluster.bed import wait_until
from tests.made import CLUSTER, experiment, plan
from tests.node_side import put_node_side, sourced
from tfslurm.job_plan import identify
from tfslurm.remote_programs import packaged
from tfslurm.render import render
from tfslurm.run_folder.ending import parse_end
from tfslurm.spec import Resources
from tfslurm.submission.prepare import sent_files
from tfslurm.workspace.packaged_files import BUILT_IN_TEMPLATE

BEGAN = '"2026-11-28T10:00:00Z"'
# $state holds what the container is like: created, running, ended.
ENGINE = r"""#!/bin/bash
# A stand-in for docker and podman: it answers a task's questions, and hangs where the file `hangs` says so.
cd {folder}
say=$1
case $1 in container | image) say="$1 $2" ;; esac
if [[ $say == 'container inspect' && "$*" == *State.Running* ]]; then say=end; fi
if [[ $say == 'container inspect' ]]; then say=process; fi
echo "$say" >>calls
hang() {{
    if [[ -e deaf ]]; then trap '' TERM; fi
    until ((0)); do sleep 0.1; done
}}
if grep --quiet --line-regexp "$say" hangs; then hang; fi
case $say in
info) echo '{{"version": {{"Version": "5"}}, "host": {{"security": {{"rootless": false}}}}}}' ;;
'image inspect')
    if [[ -e absent ]]; then echo 'Error: No such image: this' >&2; exit 1; fi
    printf '%s {source} \n{{}}\n"linux/amd64"\n[]\n"CUDA_VERSION=12.3.0"\nworkdir ""\n\n' sha256:{config} ;;
pull) rm absent ;;
create) echo created >state; echo {container} ;;
start)
    if [[ -e runs ]]; then
        echo running >state
        touch here
        until [[ -e stopped ]]; do sleep 0.1; done
    fi
    echo ended >state ;;
stop | kill) touch stopped ;;
process) if [[ -e runs ]]; then echo 1; else echo 0; fi ;;
end)
    case $(<state) in
    created) printf 'false 0 false "0001-01-01T00:00:00Z" "0001-01-01T00:00:00Z"\n""\n{{}}\n' ;;
    running) printf 'true 0 false {began} "0001-01-01T00:00:00Z"\n""\n{{}}\n' ;;
    ended) printf 'false 0 false {began} {began}\n""\n{{}}\n' ;;
    esac ;;
esac
"""


def job(folder: Path, engine: str, *hangs: str, patience_s: int = 2) -> Path:
    """A run folder whose script runs here, without Slurm, with the stand-in for its engine and little patience."""
    cluster = replace(CLUSTER, root=PurePosixPath(folder / "root"), mounts_allow=(), mirrors={})
    asked = plan(experiment(mounts=(), outputs=None, resources=Resources(gpus=0)), cluster, code=None, options={})
    asked = identify(replace(asked, engine=engine))
    run = Path(asked.run_dir)
    run.mkdir(parents=True)
    put_node_side(run, engine)
    text = render(asked, {BUILT_IN_TEMPLATE: packaged(BUILT_IN_TEMPLATE)}, BUILT_IN_TEMPLATE, sent_files(asked))
    quick = f"s/_PATIENCE_S=[0-9]*/_PATIENCE_S={patience_s}/; s/=3*600/={patience_s}/g; s/grace_s=10/grace_s=2/"
    short = f"""task_sh=$(sed '{quick}' <<<"$task_sh")\n"""
    (run / "job.sbatch").write_text(text.replace('eval "$node_sh"\n', f'{short}eval "$node_sh"\n'))
    program = folder / engine
    source = asked.image_sources[0]
    program.write_text(ENGINE.format(folder=folder, source=source, config="b2" * 32, container="c3" * 32, began=BEGAN))
    program.chmod(0o755)
    (folder / "hangs").write_text("".join(f"{name}\n" for name in hangs))
    return run


def environment(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}:/usr/bin:/bin", "TFSLURM_LOCAL_JOB_ID": "7", "HOME": str(folder)}


def ended(run: Path, env: dict[str, str]) -> tuple[int, str, str]:
    """The exit code, cause and reason of a job that ends by itself."""
    done = subprocess.run(["bash", run / "job.sbatch"], env=env, capture_output=True, text=True, timeout=60)
    end = parse_end((run / "7/attempt-1/exit.json").read_text())
    assert done.returncode == end.exit_code
    return end.exit_code, end.cause, end.reason


@pytest.mark.slow
def test_an_engine_that_answers_ends_the_job_by_its_program(tmp_path: Path) -> None:
    assert ended(job(tmp_path, "docker"), environment(tmp_path)) == (0, "program", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "verb", "words", "deaf"),
    [
        ("docker", "image inspect", "docker: image inspect: no answer in 2 s", False),
        ("docker", "pull", "docker: pull: no answer in 2 s", True),
        ("docker", "create", "docker: create: no answer in 2 s", False),
        ("podman", "create", "podman: create: no answer in 2 s", True),
        ("docker", "start", "docker: the container did not start: start: no answer in 2 s", True),
        ("podman", "start", "podman: the container did not start: start: no answer in 2 s", False),
        ("docker", "end", "the container cannot be looked at any more: docker container inspect: no answer in", False),
        ("podman", "end", "the container cannot be looked at any more: podman container inspect: no answer in", True),
        ("podman", "info", "podman: podman info: exit 124 podman info: no answer in 2 s", False),
    ],
)
def test_a_call_without_an_answer_ends_the_task_with_75_and_says_which(
    engine: str, verb: str, words: str, deaf: bool, tmp_path: Path
) -> None:
    run = job(tmp_path, engine, verb)
    for name in ("absent",) * (verb == "pull") + ("deaf",) * deaf:
        (tmp_path / name).touch()
    code, cause, reason = ended(run, environment(tmp_path))
    assert (code, cause) == (75, "engine")
    assert words in re.sub("(?<=answer in )[2-9] s", "2 s", reason)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert ("rm" in calls) == (verb in ("create", "start", "end")), "what may be there is removed"


@pytest.mark.slow
def test_a_program_that_ended_is_not_failed_by_calls_that_it_does_not_need(tmp_path: Path) -> None:
    hang = ("container diff", "rm", "process", "info", "version", "events")
    assert ended(job(tmp_path, "docker", *hang), environment(tmp_path)) == (0, "program", "")


@pytest.mark.slow
@pytest.mark.parametrize("hang", [("stop",), ("stop", "kill", "end", "rm", "container diff")], ids=["stop", "all"])
def test_an_engine_that_does_not_stop_the_container_does_not_keep_the_job(
    hang: tuple[str, ...], tmp_path: Path
) -> None:
    run = job(tmp_path, "docker", *hang, patience_s=5)
    (tmp_path / "runs").touch()
    with subprocess.Popen(["bash", run / "job.sbatch"], env=environment(tmp_path), stderr=subprocess.PIPE) as script:
        assert wait_until((tmp_path / "here").exists, 20)
        began = time.monotonic()
        script.send_signal(signal.SIGTERM)
        script.wait(60)
        took = time.monotonic() - began
    end = parse_end((run / "7/attempt-1/exit.json").read_text())
    assert took < 40
    assert end.exit_code == (137 if hang == ("stop",) else 75)
    events = (run / "7/attempt-1/facts/task-0/events.tsv").read_text()
    assert "engine-mute\tstop: the container did not end in" in events


@pytest.mark.parametrize(
    ("engine_says", "is_there", "ends"),
    [("0", False, True), ("999999999", False, True), ("$$", False, False), ("0", True, False), ("", False, True)],
)
def test_a_client_that_outlives_its_container_is_ended_and_one_whose_container_runs_is_not(
    engine_says: str, is_there: bool, ends: bool, tmp_path: Path
) -> None:
    """A cgroup that cannot be read any more may have been moved: the engine is asked for the process."""
    settings = 'container_id=abc; event() { echo "$2"; }; engine=docker; usage_bell=0'
    answer = f"engine::process() {{ echo {engine_says}; }}; engine::signal() {{ :; }}; usage::_pause() {{ :; }}"
    folder = tmp_path if is_there else tmp_path / "gone"
    script = f"""
{sourced()}
facts={tmp_path}; {settings}; {answer}
sleep 60 & client=$!
container::await_client {folder}
kill $client
wait $client || echo "ended with $?"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20)
    assert ("did not return in 60 s" in done.stdout) is ends, done
    assert f"ended with {137 if ends else 143}" in done.stdout

"""Commands and terminals in jobs, as far as the queue alone decides: Slurm is a stand-in, and starts nothing."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes.laptop import Laptop
from tests.made import plan
from tests.typed import Said, Type
from tfslurm.errors import InputError
from tfslurm.host.local import LocalHost
from tfslurm.host.user import user_name
from tfslurm.job_plan.holding import HOLD, Served, Service
from tfslurm.remote_programs import program
from tfslurm.services.service import attend, subject_of
from tfslurm.services.shell import holding, how_far
from tfslurm.spec import Mount
from tfslurm.submission.prepare import read_experiment
from tfslurm.workspace.session import Session


def submitted(laptop: Laptop, typed: Type) -> str:
    done: Said = typed("submit", laptop.experiment())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_job_that_waits_or_has_ended_cannot_be_entered(laptop: Laptop, typed: Type) -> None:
    job = submitted(laptop, typed)
    done = typed("exec", job, "true")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(rf"error: {job}: is PENDING.*; try again when `tfslurm status {job}` says RUNNING", done.stderr)
    assert typed("cancel", job).returncode == 0
    done = typed("exec", "--json", job, "true")
    assert (done.returncode, json.loads(done.stdout)["error"]["exit_code"]) == (1, 1)
    assert f"{job}: has ended (CANCELLED), and its container with it" in done.stderr


def test_what_names_no_job_and_what_has_no_document_is_refused(laptop: Laptop, typed: Type) -> None:
    done = typed("exec", "4711", "true")
    assert (done.returncode, "'4711': is not in the tracker" in done.stderr) == (2, True)
    done = typed("exec", "--json", "4711")
    assert (done.returncode, "a shell has no document" in done.stderr) == (2, True)
    done = typed("shell", "--json", laptop.experiment())
    assert (done.returncode, "a terminal has no document" in done.stderr) == (2, True)
    assert laptop.folders() == []


def test_the_program_of_a_shells_job_is_a_word_and_what_will_be_typed(laptop: Laptop) -> None:
    asked = read_experiment(laptop.folder / laptop.experiment(checkpoint={"signal": "USR1", "before_end": 60}))
    held = holding(asked, ["python", "-c", "{{ x }} '"]).experiment
    assert ([str(word) for word in held.command], held.checkpoint) == ([HOLD, "python", "-c", "{{ x }} '"], None)
    several = read_experiment(laptop.folder / laptop.experiment(resources={"nodes": 2}))
    with pytest.raises(InputError, match="is 2; a terminal is in one container"):
        holding(several, [])


@pytest.mark.parametrize(
    ("event", "step"),
    [("pull\tx", "pulls the image"), ("task-began\t", ""), ("\x1b[31m\t\t", ""), ("", ""), ("held\tx", "")],
)
def test_how_far_a_task_is_stands_in_its_folder(tmp_path: Path, event: str, step: str) -> None:
    assert how_far(LocalHost(), str(tmp_path / "none")) == (False, "")
    facts = tmp_path / "attempt-2" / "facts" / "task-0"
    facts.mkdir(parents=True)
    (tmp_path / "latest").write_text("attempt-2\n")
    assert how_far(LocalHost(), str(tmp_path)) == (False, "")
    (facts / "events.tsv").write_text(f"2026-11-29T06:00:00Z\ttask-began\t\n2026-11-29T06:00:01Z\t{event}\n")
    assert how_far(LocalHost(), str(tmp_path)) == (False, step)
    place = tmp_path / "attempt-2" / "program" / "0"
    place.mkdir(parents=True)
    (place / "hold").touch()
    assert how_far(LocalHost(), str(tmp_path)) == (False, step), "what is no pipe is not believed"


def stepped(tmp_path: Path, squeue: str, *words: str, name: str = "exec-step") -> subprocess.CompletedProcess[str]:
    """What a program of the login node does where squeue prints this, if nothing steers it; srun prints its words."""
    programs = {
        "squeue": f"[ -z \"$SQUEUE_STATES$SQUEUE_FORMAT\" ] && printf '%b' '{squeue}'",
        "srun": "printf '%s|' \"$@\"; echo 'srun: error: n1: task 0: Exited with exit code 5' >&2; exit 5",
        "scancel": '[ -z "$SCANCEL_STATE" ] && printf "%s|" "$@"',
    }
    for each, body in programs.items():
        (tmp_path / each).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / each).chmod(0o755)
    steering = {"SQUEUE_STATES": "PENDING", "SQUEUE_FORMAT": "%u", "SCANCEL_STATE": "PENDING", "SLURM_JOB_ID": "1"}
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", **steering}
    return subprocess.run(program(name, *words), env=env, capture_output=True, text=True, timeout=60, check=False)


def run_folder(tmp_path: Path) -> Path:
    """A run folder with a job whose task has begun."""
    folder = tmp_path / "runs" / "digits-0123456789ab"
    facts = folder / "17" / "attempt-1" / "facts" / "task-0"
    facts.mkdir(parents=True)
    (folder / "17" / "latest").write_text("attempt-1\n")
    (facts / "slurm.env").write_bytes(b"SLURM_JOB_ID=17\0SLURMD_NODENAME=n1\0")
    return folder


@pytest.mark.parametrize("terminal", ["", "terminal"])
def test_the_login_node_makes_a_step_in_the_users_own_job_whatever_his_variables_say(
    tmp_path: Path, terminal: str
) -> None:
    folder = run_folder(tmp_path)
    words = ("17", "digits-0123456789ab", str(folder), "17", "0", terminal, "tfslurm-exec-1", "echo", "a b")
    done = stepped(tmp_path, f"17 RUNNING {user_name()} digits-0123456789ab\\n", *words)
    said = done.stdout.split("|")
    assert (done.returncode, said[:2], said[-4:]) == (
        5,
        ["--jobid=17", "--overlap"],
        ["tfslurm-exec-1", "echo", "a b", ""],
    )
    assert {"--nodelist=n1", "--job-name=tfslurm-exec-1"} <= set(said)
    assert ("--pty" in said, "--quiet" in said) == (bool(terminal), not terminal)
    assert ("Exited with" in done.stderr) == (not terminal), "with a terminal srun's own words are known from others"


@pytest.mark.parametrize(
    ("queued", "why"),
    [
        ("", "has ended: its container is gone"),
        ("17 RUNNING {user} other-0123456789ab\\n", "has ended: its container is gone"),
        ("17 RUNNING somebody digits-0123456789ab\\n", "has ended: its container is gone"),
        ("17 COMPLETING {user} digits-0123456789ab\\n", "is COMPLETING and not RUNNING"),
        ("17 SUSPENDED {user} digits-0123456789ab\\n", "is SUSPENDED: its container waits"),
        ("slurm_load_jobs error: Invalid job id specified'; exit 1 #", "has ended: its container is gone"),
        ("slurm_load_jobs error'; exit 1 #", "squeue does not answer: slurm_load_jobs error"),
    ],
)
def test_the_login_node_makes_no_step_in_another_job(tmp_path: Path, queued: str, why: str) -> None:
    words = ("17", "digits-0123456789ab", str(run_folder(tmp_path)), "17", "0", "", "token", "true")
    done = stepped(tmp_path, queued.format(user=user_name()), *words)
    code = 75 if "SUSPENDED" in why or "does not answer" in why else 78  # 78: it has ended, for whoever would come back
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"tfslurm: job 17: {why}\n")


def test_a_task_that_has_not_begun_and_a_folder_that_is_none_are_refused(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    queued = f"17 RUNNING {user_name()} digits-0123456789ab\\n"
    done = stepped(tmp_path, queued, "17", "digits-0123456789ab", str(folder), "17", "1", "", "token", "true")
    assert (done.returncode, "task 1 has no container yet" in done.stderr) == (78, True), done.stderr
    done = stepped(tmp_path, queued, "17", "digits-0123456789ab", str(tmp_path), "17", "0", "", "token", "true")
    assert (done.returncode, "is not a run folder of yours" in done.stderr) == (78, True), done.stderr


def test_a_job_of_this_machine_is_entered_by_its_own_script(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    (folder / "job.sbatch").write_text("printf '%s|' \"$@\"\nexit 5\n")
    words = ("17", "0", "", "tfslurm-exec-1", "echo", "a b")
    done = stepped(tmp_path, "", str(folder), *words, name="exec-here")
    assert (done.returncode, done.stdout) == (5, "exec|17|0||tfslurm-exec-1|echo|a b|")
    (tmp_path / "runs" / "mine-0123456789ab").symlink_to(folder)
    for other in (tmp_path, tmp_path / "runs" / "mine-0123456789ab"):
        done = stepped(tmp_path, "", str(other), *words, name="exec-here")
        assert (done.returncode, "is not a run folder of yours" in done.stderr) == (78, True), done.stderr


def test_only_the_step_of_this_command_is_ended(tmp_path: Path) -> None:
    steps = "17.0 bash\\n17.2 tfslurm-exec-1\\n17.3 tfslurm-exec-12\\n17.batch batch\\n17.extern tfslurm-exec-1\\n"
    done = stepped(tmp_path, steps, "17", "tfslurm-exec-1", name="end-step")
    assert done.stdout == "--signal=TERM|17.2|"


def test_a_notebook_is_refused_where_it_would_be_open_to_others_or_lost(laptop: Laptop, typed: Type) -> None:
    for keys, why in (
        ({"outputs": "/out", "network": "host"}, "network: is host: every user of the node could reach the service"),
        ({}, "outputs: is absent: what you write would be lost; write `outputs: /out`"),
        ({"outputs": "/out", "resources": {"nodes": 2}}, "is 2; a service is in one container"),
    ):
        done = typed("jupyter", laptop.experiment(**keys))
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = typed("jupyter", laptop.experiment(outputs="/out"), "--port", str(taken.getsockname()[1]))
    assert (done.returncode, "is in use on this machine" in done.stderr) == (2, True), done.stderr
    for word in ("jupyter", "shell"):
        done = typed(word, laptop.experiment(outputs="/out"), "--cluster", "local")
        assert (done.returncode, "cluster local: has no nodes: shell and jupyter are for" in done.stderr) == (2, True)
    done = typed("jupyter", laptop.experiment(outputs="/out"), "--idle-after", "1")
    assert (done.returncode, "--idle-after '1': is no time; write 30m" in done.stderr) == (2, True), done.stderr
    assert laptop.folders() == []


def test_services_lists_what_waits_and_attaches_to_services_alone(laptop: Laptop, typed: Type) -> None:
    done = typed("services")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no service waits or runs; `tfslurm jupyter EXP.yaml` starts one" in done.stderr
    done = typed("services", "--open")
    assert (done.returncode, "--open: which service is not said; add --attach JOB" in done.stderr) == (2, True)
    job = submitted(laptop, typed)
    done = typed("services", "--attach", job)
    assert (done.returncode, "is no service; `tfslurm services` lists" in done.stderr) == (2, True), done.stderr
    words = [*Service("jupyter", 60).command]
    assert typed("submit", laptop.experiment(command=words)).returncode == 0
    (listed,) = json.loads(typed("services", "--json").stdout)
    assert (listed["kind"], listed["of"], listed["state"], listed["node"]) == ("jupyter", "digits", "PENDING", None)
    assert "jupyter" in typed("services").stdout
    assert typed("cancel", listed["job"]).returncode == 0
    done = typed("services", "--attach", listed["job"])
    assert (done.returncode, f"{listed['job']}: has ended (CANCELLED); `tfslurm services`" in done.stderr) == (1, True)


def test_a_service_that_failed_before_it_answered_says_why_in_its_error(laptop: Laptop, typed: Type) -> None:
    words = [*Service("jupyter", 60).command]
    job = typed("submit", laptop.experiment(command=words)).stdout.strip()
    number = job.partition(":")[2]
    (folder,) = laptop.root.glob("runs/digits-*")
    (folder / number / "attempt-1").mkdir(parents=True)
    end = {"exit_code": 78, "signal": None, "ended_at": "2026-11-29T10:00:00.000Z", "cause": "refused"}
    told = {**end, "reason": "tfslurm: alpha1: gpu_check: there is no GPU"}
    (folder / number / "attempt-1" / "exit.json").write_text(json.dumps(told))
    laptop.slurm.end(number, "FAILED", "78:0")
    done = typed("services", "--attach", job, "--json")
    why = f"{job}: has ended (FAILED) before the service answered: exit 78: not started: alpha1: gpu_check: there is no"
    assert (done.returncode, json.loads(done.stdout)["error"]["message"]) == (1, f"{why} GPU")
    assert done.stderr.count("gpu_check: there is no GPU") == 1


def test_a_service_that_was_cancelled_says_so_once(laptop: Laptop, typed: Type) -> None:
    service = Service("jupyter", 60)
    job = typed("submit", laptop.experiment(command=[*service.command])).stdout.strip()
    laptop.slurm.start(job.partition(":")[2])
    assert typed("status", job).returncode == typed("cancel", job).returncode == 0
    said: list[str] = []
    ended: Any = SimpleNamespace(job=job, service=service, stop=lambda: None)
    with Session(said.append) as session:
        attend(session, ended)
    assert said == [f"{job}: has ended (CANCELLED); `tfslurm fetch {job}` brings what you wrote"]


def test_what_a_service_is_of_is_said_of_each_kind(laptop: Laptop) -> None:
    served = Served("digits", 1, "alpha:7", "m", 2, 10, "0" * 64)

    def said(kind: str, *words: str, runs: int = 0, name: str = "") -> str:
        mounts = tuple(Mount("/x", f"/runs/{at}", run=f"run:alpha:{at}/out") for at in range(runs))
        return subject_of(replace(plan(), name=name or kind, mounts=mounts), Service(kind, 60, words))

    assert said("serve", served.word, runs=1) == "digits (alpha:7:m)"
    assert said("serve", served._replace(path=".").word) == "digits (alpha:7)"
    assert (said("tensorboard", runs=1), said("tensorboard", runs=3)) == ("alpha:0", "alpha:0 and 2 more")
    assert (said("jupyter", runs=2), said("jupyter", runs=2, name="digits"), said("jupyter")) == (
        "alpha:1",
        "digits",
        "jupyter",
    )

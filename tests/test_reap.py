"""Which container is removed: a pure verdict on what the node and the scheduler said."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_record import case
from tfslurm.check.probe_output import ProbeOutput, parse_probe_output
from tfslurm.reap.containers import FIELD, Container, containers, kept
from tfslurm.reap.verdict import Verdict, concerned, judge, outcome
from tfslurm.slurm import STATES, JobStatus
from tfslurm.slurm.nodes import parse_nodes, probe_argv
from tfslurm.workspace.packaged_files import probe

SCRIPT = probe("reap", "docker")
ID = "ab" * 32
BOX = Container(
    ID, "/tfslurm-alpha-7-0-0-1", "exited", "2001:2001", "2026-11-23T09:00:00Z", "2001", "alpha", "alpha", "7",
    "0123456789ab", "1", "alpha1", "",
)  # fmt: skip


def line_of(box: Container) -> str:
    return FIELD.join(getattr(box, name) for name in Container.__dataclass_fields__)


BEGIN = "prolog says\nprobe.begin\t1\nprobe.node\talpha1\nprobe.slurm-cluster\talpha\n"
TEXT = f"{BEGIN}probe.container\t{line_of(BOX)}\nprobe.end\t1\n"
OVER = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
    "PENDING",
)
NOT_OVER = ("RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "SIGNALING", "STAGE_OUT", "STOPPED", "RESIZING")


def status(state: str) -> JobStatus:
    return case("gpu").status._replace(job_id="7", state=state)


def test_what_the_script_prints_is_read_and_noise_is_not() -> None:
    seen = parse_probe_output(TEXT)
    assert (containers(seen), seen.one("node"), seen.one("slurm-cluster"), seen.whole) == (
        (BOX,),
        "alpha1",
        "alpha",
        True,
    )
    assert not parse_probe_output(TEXT.replace("probe.end", "end")).whole
    assert containers(parse_probe_output(TEXT.replace(f"7{FIELD}0123", "7 0123"))) == (), (
        "a row that is cut is no container"
    )


def test_only_containers_of_this_node_and_this_scheduler_are_concerned() -> None:
    local = replace(BOX, slurm_cluster="")
    others = (replace(BOX, node="alpha2"), replace(BOX, slurm_cluster="beta"), local)
    lines = {"container": tuple(line_of(each) for each in (BOX, *others)), "node": ("alpha1",)}
    seen = ProbeOutput({**lines, "slurm-cluster": ("alpha",)}, whole=True)
    assert concerned(seen, local=False) == (BOX,)
    assert concerned(seen, local=True) == (local,)
    assert concerned(ProbeOutput(lines, whole=True), local=False) == (), "a node that does not say its cluster"


@pytest.mark.parametrize("state", sorted(STATES))
def test_a_container_that_somebody_holds_is_kept_whatever_the_scheduler_says(state: str) -> None:
    held = replace(BOX, holder="the docker client, process 12")
    assert judge(held, {"7": status(state)}).action == "keep"
    assert judge(held, {}).action == judge(held, None).action == "keep"


@pytest.mark.parametrize("state", OVER)
def test_a_container_without_a_holder_goes_when_its_job_is_over(state: str) -> None:
    found = judge(BOX, {"7": status(state), "8": status("RUNNING")})
    assert (found.action, found.why) == ("remove", f"no process on the node holds it, and its job is {state}")


@pytest.mark.parametrize("state", NOT_OVER)
def test_a_job_that_is_not_over_keeps_its_container(state: str) -> None:
    assert judge(BOX, {"7": status(state)}) == Verdict(BOX, "keep", f"its job is {state}")


def test_a_container_of_a_job_that_nobody_knows_goes() -> None:
    assert "does not know its job any more" in judge(BOX, {"8": status("RUNNING")}).why
    assert judge(BOX, {}).action == judge(BOX, None).action == "remove"


def test_what_was_not_removed_says_why() -> None:
    asked = judge(BOX, {})
    assert outcome(asked, ProbeOutput({"removed": (ID,)}, whole=True)).action == "removed"
    held = ProbeOutput({"kept": (f"{ID}{FIELD}the docker client, process 9 holds it",)}, whole=True)
    assert outcome(asked, held) == Verdict(BOX, "keep", "not removed: the docker client, process 9 holds it")
    assert outcome(asked, ProbeOutput({}, whole=False)).why == "not removed: the node gave no answer"
    assert outcome(asked, ProbeOutput({}, whole=True)).why == "it was gone before it could be removed"


def test_nodes_and_the_partitions_that_are_up() -> None:
    rows = (("n1", "gpu", "up", "idle"), ("n1", "debug", "up", "idle"), ("n2", "old", "down", "idle"))
    text = "\n".join("\x1f".join(row) for row in rows)
    assert parse_nodes(text + "\nsinfo: a warning\n") == {"n1": ("gpu", "debug"), "n2": ()}


def test_a_look_is_bounded_in_time_and_asks_for_one_small_task_on_that_node() -> None:
    options: dict[str, str | int | bool] = {"account": "lab", "exclusive": True}
    argv = probe_argv(options, ("bash", "-s"), nodelist="n1", partition="gpu", immediate=10)
    assert {"--nodelist=n1", "--partition=gpu", "--immediate=10", "--time=2", "--ntasks=1", "--account=lab"} <= set(
        argv
    )
    assert not any("exclusive" in word for word in argv)
    assert argv[-2:] == ("bash", "-s")


# --- what the script says of an engine that fails: the engine is a stand-in here, for a real one cannot be made to


def run_script(tmp_path: Path, engine: str, *words: str) -> ProbeOutput:
    (tmp_path / "engine").write_text(f"#!/bin/bash\n{engine}\n")
    (tmp_path / "engine").chmod(0o755)
    argv = ["bash", "-s", "--", "engine", *words]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_CLUSTER_NAME": "alpha", "SLURMD_NODENAME": "alpha1"}
    done = subprocess.run(argv, input=SCRIPT, capture_output=True, text=True, env=env, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    seen = parse_probe_output(done.stdout)
    assert seen.whole
    return seen


def row(uid: int, user: str = "", **changes: str) -> str:
    """A container as `inspect` prints it."""
    box = replace(BOX, uid=str(uid), user=user or f"{uid}:{uid}", **changes)
    return FIELD.join([*(getattr(box, name) for name in list(Container.__dataclass_fields__)[:-1]), ""])


def inspecting(printed: str, after: str = "exit 0") -> str:
    listed = f'if [ "$1" = ps ]; then echo {ID}; exit 0; fi'
    return (
        f"{listed}\nif [ \"$2\" = inspect ]; then printf '%s\\n' '{printed}'; {after}; fi\necho \"$@\" >>{{folder}}/did"
    )


def test_an_engine_that_does_not_answer_is_an_error_and_not_an_empty_node(tmp_path: Path) -> None:
    seen = run_script(tmp_path, "echo 'Cannot connect to the daemon' >&2; exit 1", "look")
    assert seen.one("error") == "engine: Cannot connect to the daemon"
    seen = run_script(tmp_path, f'[ "$1" = ps ] && echo {ID} && exit 0; echo broken >&2; exit 1', "look")
    assert seen.one("error") == "engine: broken"
    seen = run_script(tmp_path, f'[ "$1" = ps ] && echo {ID} && exit 0; exit 124', "look")
    assert seen.all("error") == ("engine: no answer in 20 s",)


@pytest.mark.parametrize(
    ("complaint", "told"),
    [
        ('Error: getting container from store "x": container not known', ""),  # podman, of one that is half removed
        ("Error: inspecting object: no such container x", ""),
        ("Error response from daemon: No such container: x", ""),
        ("Error: x: layer not readable", "engine: Error: x: layer not readable"),
    ],
)
@pytest.mark.parametrize("prints_others", [True, False])
def test_a_container_that_cannot_be_looked_at_hides_no_other(
    complaint: str, told: str, prints_others: bool, tmp_path: Path
) -> None:
    broken = "e5" * 32
    listed = f"{broken} {ID}"
    others = f"case \"$*\" in *{ID}*) printf '%s\\n' '{row(os.geteuid())}' ;; esac" if prints_others else ":"
    engine = f"""
if [ "$1" = ps ]; then printf '%s\\n' {listed}; exit; fi
case "$*" in *{broken}*) {others}; echo '{complaint}' >&2; exit 125 ;; esac
printf '%s\\n' '{row(os.geteuid())}'"""
    seen = run_script(tmp_path, engine, "look")
    assert [each.id for each in containers(seen)] == [ID]
    assert seen.one("error") == told


@pytest.mark.parametrize("code", [1, 125])
def test_an_engine_that_went_away_is_told_once(code: int, tmp_path: Path) -> None:
    listed = f"if [ \"$1\" = ps ]; then printf '%s\\n' {ID} {'e5' * 32}; exit; fi"
    said = "Cannot connect to the Docker daemon at unix:///x. Is it running?"
    seen = run_script(tmp_path, f"{listed}; echo '{said}' >&2; exit {code}", "look")
    assert seen.all("error") == (f"engine: {said}",)


@pytest.mark.parametrize(
    "printed",
    [
        row(os.geteuid() + 1),
        row(os.geteuid(), user="12345:0"),
        row(os.geteuid(), user=""),
        row(os.geteuid(), job_id=""),
    ],
    ids=["another's label", "another's user", "mine", "no job"],
)
def test_only_what_is_labelled_as_the_callers_and_runs_as_him_is_removed(tmp_path: Path, printed: str) -> None:
    seen = run_script(tmp_path, inspecting(printed).replace("{folder}", str(tmp_path)), "remove", ID)
    is_mine = printed == row(os.geteuid())
    assert seen.all("removed") == ((ID,) if is_mine else ())
    did = (tmp_path / "did").read_text() if (tmp_path / "did").exists() else ""
    assert did == (f"rm --force --volumes {ID}\n" if is_mine else "")


def test_nothing_is_removed_that_was_not_named(tmp_path: Path) -> None:
    seen = run_script(tmp_path, inspecting(row(os.geteuid())).replace("{folder}", str(tmp_path)), "remove")
    assert (seen.all("removed"), containers(seen)) == ((), ())
    assert not (tmp_path / "did").exists()


def test_what_a_live_script_holds_is_kept_though_it_was_to_be_removed(tmp_path: Path) -> None:
    script = tmp_path / "digits-0123456789ab" / "7" / "attempt-1" / "job.sbatch"
    script.parent.mkdir(parents=True)
    script.write_text("echo here; read -r line\n")
    with subprocess.Popen(["bash", str(script), "task"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as task:
        assert task.stdout and task.stdout.readline() == b"here\n"
        seen = run_script(tmp_path, inspecting(row(os.geteuid())).replace("{folder}", str(tmp_path)), "remove", ID)
        assert seen.all("removed") == ()
        assert kept(seen) == {ID: f"the job's script, process {task.pid} holds it"}
        task.communicate(b"\n")
    seen = run_script(tmp_path, inspecting(row(os.geteuid())).replace("{folder}", str(tmp_path)), "remove", ID)
    assert seen.all("removed") == (ID,)


def test_what_a_killed_run_left_is_removed_by_its_labels(tmp_path: Path) -> None:
    engine = f'[ "$1" = ps ] && echo {ID}; echo "$@" >>{tmp_path}/did'
    assert run_script(tmp_path, engine, "end", "0123456789ab", "7").all("removed") == (ID,)
    labels = (f"tfslurm.uid={os.geteuid()}", "tfslurm.plan_id=0123456789ab", "tfslurm.job_id=7")
    filters = " ".join(f"--filter label={label}" for label in labels)
    did = (tmp_path / "did").read_text()
    assert did == f"ps --all --quiet --no-trunc {filters}\nrm --force --volumes {ID}\n"
    assert run_script(tmp_path, "exit 0", "end", "0123456789ab", "7").lines.keys() == {
        "begin", "node", "slurm-cluster", "end",
    }  # fmt: skip

"""Whatever is cut off, no job is lost and none is submitted twice: what Slurm counts is compared with what is told."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from .bed import CLUSTERS
from .desk import KILL_CLIENT, USER, Desk, a_desk, gate, open_gate, until
from .docker import docker
from .users import run_as


@dataclass(frozen=True)
class Forgotten:
    """A job that gamma forgot, and that never began."""

    desk: Desk
    job: str


@pytest.fixture(scope="module", autouse=True)
def forgotten(bed: None) -> Iterator[Forgotten]:
    """Cancelled behind tfslurm's back before all else, because gamma takes its time to forget."""
    with a_desk() as desk:
        job = desk.submit(desk.experiment("never", "true", slurm={"begin": "now+1hour"}), cluster="gamma")
        assert run_as(USER, ["scancel", job.partition(":")[2]], "gamma").returncode == 0
        yield Forgotten(desk, job)


def jobs_of(desk: Desk, cluster: str = "alpha") -> list[str]:
    """The jobs of the tracker, as `tfslurm status` lists them."""
    done = desk.tfslurm("status", "--json", "--all", cluster=cluster)
    assert done.returncode == 0, done.stderr
    return [str(job["job"]) for job in json.loads(done.stdout)]


def one_job(desk: Desk) -> str:
    """The only job that alpha has from this desk."""
    (number,) = desk.jobs("alpha")
    return f"alpha:{number}"


# ----------------------------------------------------------------------------------------------- a controller is silent


@pytest.fixture
def deaf(desk: Desk) -> Path:
    """A slurm.conf of alpha that names a port where nobody listens; its commands give up after a second."""
    text = CLUSTERS["alpha"].slurm_conf.read_text()
    port = f"SlurmctldPort={CLUSTERS['alpha'].ctld_port}"
    assert port in text
    path = desk.write("deaf/slurm.conf", text.replace(port, "SlurmctldPort=17199") + "MessageTimeout=2\n")
    for name in ("gres.conf", "cgroup.conf"):
        shutil.copy(CLUSTERS["alpha"].slurm_conf.with_name(name), path.parent)
    return path


def test_a_silent_controller_is_one_line_and_the_same_command_later_makes_one_job(desk: Desk, deaf: Path) -> None:
    file = desk.experiment("later", "true")
    assert desk.tfslurm("pin", file).returncode == 0
    desk.describe("alpha", environment={"SLURM_CONF": str(deaf)})
    for _ in range(2):
        done = desk.tfslurm("submit", file, "--cluster", "alpha")
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 1
        assert "Unable to contact slurm controller" in done.stderr
    assert desk.jobs("alpha") == []

    desk.describe("alpha")
    assert desk.submit(file) == one_job(desk)
    assert jobs_of(desk) == [one_job(desk)]


def test_status_shows_what_was_last_seen_of_a_silent_cluster_and_what_is_new_of_the_others(
    desk: Desk, deaf: Path
) -> None:
    file = desk.experiment("seen", "true", slurm={"begin": "now+1hour"})
    silent, heard = desk.submit(file), desk.submit(file, cluster="beta")
    assert desk.tfslurm("status").returncode == 0
    desk.describe("alpha", environment={"SLURM_CONF": str(deaf)})
    assert run_as(USER, ["scancel", heard.partition(":")[2]], "beta").returncode == 0
    done = desk.tfslurm("status", "--json")
    assert done.returncode == 1
    told = {job["job"]: job["state"] for job in json.loads(done.stdout)}
    assert told == {silent: "PENDING", heard: "CANCELLED"}
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: alpha: ")
    assert line.endswith("shown is what was last seen there")


def test_an_sbatch_that_timed_out_although_the_job_was_taken_is_looked_into(desk: Desk) -> None:
    late = 'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1'
    wrapped = desk.wrap("sbatch", f'$real "$@" >/dev/null && {late}')
    job = desk.submit(desk.experiment("late", "true"), env=wrapped)
    assert job == one_job(desk)
    assert jobs_of(desk) == [job]
    assert desk.ended(job) == "COMPLETED"


# ------------------------------------------------------------------------------------------------- the client is killed


def killed(desk: Desk, file: Path, body: str) -> None:
    """Run `tfslurm submit` with an sbatch that kills it."""
    done = desk.tfslurm("submit", file, "--cluster", "alpha", env=desk.wrap("sbatch", body))
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


AFTER = f'$real "$@"; {KILL_CLIENT}'
BEFORE = f"{KILL_CLIENT}; kill -9 $PPID; kill -9 $$"


def test_a_client_killed_after_sbatch_answered_finds_its_job_at_the_next_status(desk: Desk) -> None:
    killed(desk, desk.experiment("cut", "true"), AFTER)
    assert jobs_of(desk) == [one_job(desk)]
    assert desk.ended(one_job(desk)) == "COMPLETED"
    assert desk.record(one_job(desk))["job"]["state"] == "COMPLETED"


def test_a_client_killed_after_sbatch_answered_does_not_submit_the_same_again(desk: Desk) -> None:
    file = desk.experiment("cut", "true")
    killed(desk, file, AFTER)
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert done.returncode == 0
    assert done.stdout == f"{one_job(desk)}\n"
    assert "an earlier submit was interrupted after this job was queued" in done.stderr
    second = desk.submit(file, "--again")  # that is settled: whoever submits once more means it
    assert {f"alpha:{number}" for number in desk.jobs("alpha")} == {done.stdout.strip(), second}


def test_a_job_that_ended_before_anybody_looked_is_found_too(desk: Desk) -> None:
    file = desk.experiment("cut", "true")
    killed(desk, file, AFTER)
    until(lambda: bool(desk.jobs("alpha", "COMPLETED")), 60)
    assert desk.submit(file) == one_job(desk)
    assert desk.status(one_job(desk))["state"] == "COMPLETED"


def test_a_client_killed_before_sbatch_ran_leaves_nothing_and_submits_later(desk: Desk) -> None:
    file = desk.experiment("cut", "true")
    killed(desk, file, BEFORE)
    assert desk.jobs("alpha") == []
    assert jobs_of(desk) == []
    assert desk.submit(file) == one_job(desk)


def test_the_same_experiment_submitted_by_several_at_once_is_one_job(desk: Desk) -> None:
    file = desk.experiment("crowd", "true", slurm={"begin": "now+1hour"})
    assert desk.tfslurm("pin", file).returncode == 0
    clients = [desk.start("submit", file, "--cluster", "alpha") for _ in range(6)]
    told = [client.communicate(timeout=120) for client in clients]
    assert sorted(client.returncode for client in clients) == [0, 1, 1, 1, 1, 1]
    assert [out for out, _ in told if out] == [f"{one_job(desk)}\n"]
    for _, refused in (each for each in told if not each[0]):
        assert f"the same job is there already: {one_job(desk)} (PENDING); `tfslurm wait " in refused
    second = desk.submit(file, "--again")
    assert sorted(jobs_of(desk)) == sorted({second, *(f"alpha:{number}" for number in desk.jobs("alpha"))})


def test_a_client_killed_while_it_prints_prints_the_same_ids_the_next_time(desk: Desk) -> None:
    file = desk.experiment("unseen", "true", slurm={"begin": "now+1hour"})
    for words in ((), ("--json",)):
        with Path("/dev/full").open("w") as full:
            client = desk.start("submit", file, "--cluster", "alpha", *words, stdout=full.fileno())
            client.communicate(timeout=120)
        assert client.returncode != 0
    assert desk.submit(file) == one_job(desk)
    assert desk.tfslurm("submit", file, "--cluster", "alpha").returncode == 1


def test_secrets_of_a_submission_that_never_reached_the_scheduler_are_removed(desk: Desk) -> None:
    file = desk.experiment("hidden", "true", secrets=["TOKEN"])
    wrapped = desk.wrap("sbatch", BEFORE)
    done = desk.tfslurm("submit", file, "--cluster", "alpha", env={**wrapped, "TOKEN": "s3cret"})
    assert done.returncode == -signal.SIGKILL
    (kept,) = desk.root("alpha").glob("runs/*/secrets/TOKEN")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert desk.tfslurm("status").returncode == 0
    assert not list(desk.root("alpha").glob("runs/**/TOKEN"))
    assert desk.jobs("alpha") == []


def test_without_accounting_a_job_that_ended_and_was_forgotten_is_found_by_its_run_folder(desk: Desk) -> None:
    file = desk.experiment("gone", "true")
    body = f'$real "$@"; {KILL_CLIENT}; kill -9 $PPID; kill -9 $$'
    wrapped = desk.wrap("sbatch", body)
    done = desk.tfslurm("submit", file, "--cluster", "gamma", cluster="gamma", env=wrapped)
    assert done.returncode != 0
    until(lambda: bool(list(desk.root("gamma").glob("runs/*/[0-9]*/attempt-1/exit.json"))), 60)
    silent = desk.wrap("squeue", "exit 0")  # as a controller that has forgotten it
    (folder,) = desk.root("gamma").glob("runs/*/[0-9]*")
    assert desk.submit(file, cluster="gamma", env=silent) == f"gamma:{folder.name}"


# -------------------------------------------------------------------------------------------------- the tracker is gone


def test_a_rebuilt_tracker_knows_every_job_and_gives_the_same_records(desk: Desk) -> None:
    fine = desk.experiment("fine", ["sh", "-c", "echo kept >/out/kept"])
    fails = desk.experiment("fails", ["sh", "-c", "exit 9"])
    runs = desk.experiment("runs", ["sh", "-c", gate()])
    jobs = [desk.submit(fine), desk.submit(fails, cluster="beta"), desk.submit(fine, cluster="gamma")]
    running = desk.submit(runs)
    assert desk.tfslurm("run", fine).returncode == 0
    jobs.append("local:1")
    states = {job: desk.ended(job) for job in jobs}
    before = {job: desk.record(job) for job in jobs}

    desk.tracker.unlink()
    assert desk.tfslurm("logs", jobs[0]).returncode == 2
    done = desk.tfslurm("tracker", "rebuild")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["alpha: 2 jobs", "beta: 1 jobs", "gamma: 1 jobs", "local: 1 jobs"]
    told = {job["job"]: job["state"] for job in json.loads(desk.tfslurm("status", "--json").stdout)}
    assert told == {**states, running: "RUNNING"}
    after = {job: desk.record(job) for job in jobs}
    by_files_alone = jobs[2]  # gamma may have forgotten by now when it was submitted, which only it knew
    for part in ("record_id", "experiment", "image", "code", "attempts", "verified"):
        assert after[by_files_alone][part] == before[by_files_alone][part]
    for job in (job for job in jobs if job != by_files_alone):  # but for the record before it in the new chain
        assert {**after[job], "integrity": None} == {**before[job], "integrity": None}
    assert after[jobs[0]] == before[jobs[0]], "the first of both chains has the same hash"

    open_gate(desk, running)
    assert desk.ended(running) == "COMPLETED"
    assert desk.tfslurm("wait", jobs[1]).returncode == 9


def test_rebuilding_what_is_whole_changes_nothing(desk: Desk) -> None:
    job = desk.submit(desk.experiment("whole", "true"))
    assert desk.ended(job) == "COMPLETED"
    before = (desk.status(job), desk.record(job))
    assert desk.tfslurm("tracker", "rebuild", "alpha").stdout == "alpha: 1 jobs\n"
    assert (desk.status(job), desk.record(job)) == before


def test_a_damaged_tracker_is_one_line_that_says_what_to_do(desk: Desk) -> None:
    job = desk.submit(desk.experiment("damaged", "true"))
    assert desk.ended(job) == "COMPLETED"
    desk.tracker.write_bytes(b"not a database, " * 64)
    done = desk.tfslurm("status")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "move the file away and run `tfslurm tracker rebuild`" in done.stderr
    desk.tracker.rename(desk.tracker.with_suffix(".away"))
    assert desk.tfslurm("tracker", "rebuild").returncode == 0
    assert desk.status(job)["state"] == "COMPLETED"


def test_a_record_that_was_read_outlives_its_run_folder(desk: Desk) -> None:
    job = desk.submit(desk.experiment("outlived", "true"))
    assert desk.ended(job) == "COMPLETED"
    record = desk.record(job)
    shutil.rmtree(desk.root("alpha") / "runs")
    assert desk.record(job) == record


def test_a_cluster_file_that_is_gone_does_not_take_its_jobs_along(desk: Desk) -> None:
    job = desk.submit(desk.experiment("orphan", ["sh", "-c", "echo here"]))
    (desk.folder / "config" / "tfslurm" / "clusters" / "alpha.yaml").unlink()
    assert desk.ended(job) == "COMPLETED"
    assert desk.tfslurm("logs", job).stdout == "here\n"
    assert desk.record(job)["job"]["cluster"] == "alpha"


def test_a_job_that_nobody_knows_and_that_left_no_end_is_called_lost(forgotten: Forgotten) -> None:
    desk, job = forgotten.desk, forgotten.job
    until(lambda: not desk.jobs("gamma"), 60, "gamma did not forget its job")
    done = desk.tfslurm("status", job, cluster="gamma")
    assert "LOST" in done.stdout
    assert "the scheduler does not know it and it left no end file" in done.stdout
    assert desk.tfslurm("wait", job, cluster="gamma").returncode == 1
    assert desk.tfslurm("provenance", job, cluster="gamma").returncode == 1


# -------------------------------------------------------------------------- what a run folder says is looked at first


def test_a_rebuilt_sweep_is_sent_again_only_when_asked_and_a_folder_that_lies_is_left_out(desk: Desk) -> None:
    file = desk.experiment(
        "again", ["sh", "-c", "exit $1", "sh", "{{ a }}"], sweep={"grid": {"a": [3, 4]}}, secrets=["TOKEN"]
    )
    token = {"TOKEN": "s3cret"}
    done = desk.tfslurm("submit", file, "--cluster", "alpha", "--wait", env=token)
    assert done.returncode == 3, done.stderr
    (folder,) = desk.root("alpha").glob("runs/*")
    sweep = json.loads((folder / "plan.json").read_text())["points"]["sweep_id"]
    desk.tracker.unlink()

    thesis = desk.write("thesis/a.tex", "years of work")
    lies = {"../../../../thesis": "climbs", "other": "stolen"}
    for number, name in enumerate(lies):
        evil = folder.with_name(f"evil-{number:012d}")
        shutil.copytree(folder, evil)
        plan = json.loads((evil / "plan.json").read_text())
        (evil / "plan.json").write_text(json.dumps({**plan, "name": name}))
        run_as("root", ["chown", "-R", USER, evil])
    done = desk.tfslurm("tracker", "rebuild", "alpha")
    assert (done.returncode, done.stdout) == (0, "alpha: 2 jobs\n")
    assert [line.partition(": ")[2].partition(": ")[0] for line in done.stderr.splitlines()] == [
        "evil-000000000000",
        "evil-000000000001",
    ]
    for command in (("status",), ("status", sweep), ("results", sweep), ("provenance", sweep)):
        assert desk.tfslurm(*command, env=token).returncode == 0
    assert thesis.read_text() == "years of work"
    assert len(desk.jobs("alpha")) <= 2  # those that were there

    done = desk.tfslurm("resume", sweep, env=token)
    assert done.returncode != 0
    assert "it was read from run folders" in done.stderr
    assert "secrets  TOKEN" in done.stderr
    done = desk.tfslurm("resume", sweep, "--yes", env=token)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_an_id_is_printed_although_the_tracker_cannot_be_told_and_rebuild_brings_it_back(desk: Desk) -> None:
    file = desk.experiment("untold", "true")
    assert desk.tfslurm("pin", file).returncode == 0
    assert desk.tfslurm("status").returncode == 0
    folder = desk.tracker.parent
    wrapped = desk.wrap("sbatch", f'$real "$@"; chmod 500 {folder}')
    done = desk.tfslurm("submit", file, "--cluster", "alpha", env=wrapped)
    assert (done.returncode, done.stdout) == (1, f"{one_job(desk)}\n")
    assert f"{one_job(desk)} was submitted, and the tracker does not know it: " in done.stderr
    assert "run `tfslurm tracker rebuild alpha`" in done.stderr

    refused = desk.tfslurm("submit", file, "--cluster", "alpha", "--again")  # before sbatch: nothing is sent
    assert (refused.returncode, refused.stdout) == (1, "")
    (number,) = desk.jobs("alpha")
    folder.chmod(0o700)
    desk.tracker.unlink()
    until(lambda: bool(desk.jobs("alpha", "COMPLETED")), 60)
    assert desk.tfslurm("tracker", "rebuild", "alpha").stdout == "alpha: 1 jobs\n"
    assert desk.status(f"alpha:{number}")["state"] == "COMPLETED"


@pytest.mark.parametrize("is_killed", [False, True], ids=["its-command-lives", "its-command-was-killed"])
def test_cancel_ends_a_local_run(desk: Desk, is_killed: bool) -> None:
    running = desk.start("run", desk.experiment("orphan", ["sleep", "300"], secrets=["TOKEN"]), env={"TOKEN": "s3cret"})
    runs = desk.folder / "data" / "tfslurm" / "local" / "runs"
    until(lambda: bool(list(runs.glob("*/1/attempt-1/facts/task-0/container/program-started-at.txt"))), 60)
    (folder,) = runs.iterdir()
    if is_killed:
        running.kill()
        running.communicate(timeout=30)
    done = desk.tfslurm("cancel", "local:1")
    assert (done.returncode, done.stdout) == (0, "local:1 CANCELLED\n"), done.stderr
    assert not docker(
        "ps", "--all", "--quiet", f"--filter=label=tfslurm.plan_id={folder.name.rpartition('-')[2]}"
    ).stdout
    assert not (folder / "secrets").exists()
    job, attempt = desk.record("local:1")["job"], desk.record("local:1")["attempts"][0]
    assert (job["state"], attempt["ended_by"]) == ("CANCELLED", "stop")
    if not is_killed:
        _, said = running.communicate(timeout=30)
        assert (running.returncode, "local:1: CANCELLED, exit" in said) == (job["exit_code"], True), said


def test_a_local_run_that_was_killed_with_all_that_belongs_to_it_has_ended(desk: Desk) -> None:
    file = desk.experiment("killed", ["sleep", "300"], secrets=["TOKEN"])
    running = desk.start("run", file, "--quiet", env={"TOKEN": "s3cret"})
    runs = desk.folder / "data" / "tfslurm" / "local" / "runs"
    until(lambda: bool(list(runs.glob("*/1/attempt-1/facts/task-0/container/program-started-at.txt"))), 60)
    (folder,) = runs.iterdir()
    assert desk.status("local:1")["state"] == "RUNNING"
    running.kill()
    running.communicate(timeout=30)
    assert desk.status("local:1")["state"] == "RUNNING"  # its script goes on
    container = (folder / "1/attempt-1/facts/task-0/container-id.txt").read_text().strip()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{folder}/".encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
    until(lambda: desk.status("local:1")["state"] == "FAILED", 30)
    assert "it was killed, or this machine was restarted" in desk.tfslurm("status", "local:1").stdout
    assert desk.tfslurm("wait", "local:1").returncode == 1
    assert not (folder / "secrets").exists()
    until(lambda: container not in docker("ps", "--all", "--quiet", "--no-trunc").stdout, 30)


def removed(folder: Path) -> bool:
    """Whether nothing is left of ``folder`` after a try to remove it."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def test_a_job_whose_run_folder_was_removed_says_so(desk: Desk) -> None:
    job = desk.submit(desk.experiment("removed", ["sh", "-c", f"touch /out/here; {gate()}"]))
    until(lambda: any(desk.root("alpha").glob("runs/*/*/out/here")), 60)
    until(lambda: removed(desk.root("alpha")), 30)  # the job writes what it observed meanwhile
    assert run_as(USER, ["scancel", job.partition(":")[2]], "alpha").returncode == 0
    assert desk.ended(job) in ("CANCELLED", "FAILED")
    for command in ("status", "logs", "provenance"):
        done = desk.tfslurm(command, job)
        assert "its run folder is not there any more" in done.stdout + done.stderr
    told = desk.tfslurm("status", job).stdout
    assert re.search(r" (CANCELLED .*  cancelled; |FAILED .*  exit \d+.*: )its run folder", told), told

"""The commands a user lives with: status, logs, wait, cancel, provenance and run, typed on a login node."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from .bed import CLUSTERS
from .desk import SMALL, USER, Desk, Process, a_desk, gate, open_gate, until
from .docker import docker
from .gpus import inventory
from .slurm import slurm

TALK = "echo out-1; echo err-1 >&2; echo out-2; exit 7"
FOLLOWED = f"echo first; {gate()}; echo second; {gate('on')}; echo third >&2"
ESCAPE = "\x1b["


@dataclass(frozen=True)
class Jobs:
    """What the tests below look at."""

    talks: str
    "writes to both streams and ends with 7"
    waits: str
    "begins in an hour"
    beta: str
    "as talks, on beta"


@dataclass(frozen=True)
class Forgotten:
    """Jobs on gamma at a desk of their own, where nobody looks before gamma has forgotten them."""

    desk: Desk
    good: str
    "ends with 0"
    bad: str
    "ends with 3"


@pytest.fixture(scope="module", autouse=True)
def forgotten(bed: None) -> Iterator[Forgotten]:
    """Submitted before all others, because gamma takes its time."""
    with a_desk() as desk:
        good, bad = (desk.experiment(f"ends{code}", ["sh", "-c", f"exit {code}"]) for code in (0, 3))
        yield Forgotten(desk, desk.submit(good, cluster="gamma"), desk.submit(bad, cluster="gamma"))


@pytest.fixture(scope="module", autouse=True)
def jobs(shared: Desk, forgotten: Forgotten) -> Jobs:
    """All of them submitted at once, before any test looks."""
    talks = shared.experiment("talks", ["sh", "-c", TALK])
    waits = shared.experiment("waits", "true", slurm={"begin": "now+1hour"})
    return Jobs(
        talks=shared.submit(talks),
        waits=shared.submit(waits),
        beta=shared.submit(talks, cluster="beta"),
    )


def read_until(stream: IO[str], words: str) -> str:
    """What a running command prints, up to and with the line that holds the words."""
    said = ""
    while words not in said:
        line = stream.readline()
        assert line, f"it ended before it said {words!r}; it said {said!r}"
        said += line
    return said


def interrupted(process: Process) -> tuple[int, str]:
    """Exit code and stderr of a command after Ctrl-C."""
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    return process.returncode, said.strip()


# --------------------------------------------------------------------------------------------------- status, logs, wait


def test_status_asks_each_scheduler_once_for_all_jobs(desk: Desk) -> None:
    file = desk.experiment("many", "true", slurm={"begin": "now+1hour"})
    made = {desk.submit(file, "--again", cluster=cluster) for cluster in ("alpha", "alpha", "alpha", "beta", "beta")}
    counted = desk.folder / "asked"
    counting = desk.wrap("squeue", f'basename "$(dirname "$SLURM_CONF")" >>{counted}; exec $real "$@"')
    done = desk.tfslurm("status", "--json", env=counting)
    assert {job["job"] for job in json.loads(done.stdout)} == made
    assert sorted(counted.read_text().split()) == ["alpha", "beta"]


def test_status_shows_state_node_and_the_reason_in_plain_words(shared: Desk, jobs: Jobs) -> None:
    assert shared.ended(jobs.talks) == "FAILED"
    lines = shared.tfslurm("status").stdout.splitlines()
    assert lines[0].split() == ["JOB", "NAME", "SUBMITTED", "STATE", "TIME", "NODES", "REASON"]
    (talks,) = [line for line in lines if line.startswith(f"{jobs.talks} ")]
    assert re.search(r"talks-\w+ +\d{4}-\d\d-\d\d \d\d:\d\d +FAILED .*alpha[12] +exit 7", talks)
    (waits,) = [line for line in lines if line.startswith(f"{jobs.waits} ")]
    assert "PENDING" in waits
    assert "BeginTime" not in waits  # Slurm's word for it


def test_status_as_json_has_the_keys_of_the_record(shared: Desk, jobs: Jobs) -> None:
    assert shared.ended(jobs.talks) == "FAILED"
    found = shared.status(jobs.talks)
    wanted = {"job": jobs.talks, "cluster": "alpha", "state": "FAILED", "exit_code": 7, "signal": None, "user": USER}
    assert {key: found[key] for key in wanted} == wanted
    assert set(found["nodes"]) <= set(CLUSTERS["alpha"].nodes)


def test_logs_gives_each_stream_where_it_belongs(shared: Desk, jobs: Jobs) -> None:
    assert shared.ended(jobs.talks) == "FAILED"
    done = shared.tfslurm("logs", jobs.talks)
    assert (done.stdout, done.stderr) == ("out-1\nout-2\n", "err-1\n")
    told = json.loads(shared.tfslurm("logs", jobs.talks, "--json").stdout)
    assert told == {"job": jobs.talks, "attempt": 1, "stdout": "out-1\nout-2\n", "stderr": "err-1\n"}


def test_logs_f_shows_lines_as_they_are_written_each_once_and_ends_with_the_job(desk: Desk) -> None:
    job = desk.submit(desk.experiment("followed", ["sh", "-c", FOLLOWED]))
    process = desk.start("logs", "-f", job)
    assert process.stdout
    assert read_until(process.stdout, "first") == "first\n"
    open_gate(desk, job)
    assert read_until(process.stdout, "second") == "second\n"
    open_gate(desk, job, "on")
    rest, said = process.communicate(timeout=60)
    own = [line for line in said.splitlines() if not line.startswith(f"{job} PENDING: ")]
    assert (rest, own, process.returncode) == ("", ["third"], 0)


def test_logs_f_that_is_interrupted_leaves_the_job_alone(desk: Desk) -> None:
    job = desk.submit(desk.experiment("followed", ["sh", "-c", f"echo first; {gate()}"]))
    process = desk.start("logs", "-f", job)
    assert process.stdout
    read_until(process.stdout, "first")
    code, said = interrupted(process)
    goes_on = f"{job} goes on; `tfslurm logs -f {job}`, `tfslurm cancel {job}`"
    assert (code, said.splitlines()[-2:]) == (130, [goes_on, "interrupted"])
    assert desk.status(job)["state"] == "RUNNING"


def test_wait_ends_with_the_programs_own_exit_code(shared: Desk, jobs: Jobs) -> None:
    assert shared.tfslurm("wait", jobs.talks).returncode == 7
    assert shared.tfslurm("wait", jobs.talks, jobs.beta).returncode == 7
    assert [job["exit_code"] for job in json.loads(shared.tfslurm("wait", jobs.talks, "--json").stdout)] == [7]


def test_wait_that_is_interrupted_ends_with_130_and_the_job_stays(shared: Desk, jobs: Jobs) -> None:
    process = shared.start("wait", jobs.waits)
    assert process.stderr
    read_until(process.stderr, "PENDING")
    code, said = interrupted(process)
    assert (code, said.splitlines()[-1]) == (130, "interrupted")
    assert f"{jobs.waits} goes on; `tfslurm wait {jobs.waits}`, `tfslurm cancel {jobs.waits}`" in said
    assert shared.status(jobs.waits)["state"] == "PENDING"


def test_submit_wait_says_why_a_job_failed_and_which_work_is_lost(desk: Desk) -> None:
    says = 'for n in $(seq 30); do echo step $n; done >&2; echo "sh: 1: pyhton: not found" >&2; exit 127'
    done = desk.tfslurm("submit", desk.experiment("why", ["sh", "-c", says]), "--cluster", "alpha", "--wait")
    job, lines = done.stdout.strip(), done.stderr.splitlines()
    at = lines.index(f"{job}: the last lines of its stderr:")
    assert lines[at + 1 : at + 16] == [*(f"  step {n}" for n in range(17, 31)), "  sh: 1: pyhton: not found"]
    shown = f"`tfslurm logs {job}` shows what it printed"
    why = f"{job}: exit 127: sh: 1: pyhton: not found; it is not in the image: correct `command`; {shown}"
    assert (done.returncode, lines[at + 16 :]) == (127, [why])
    file = desk.experiment("lost", ["sh", "-c", "echo 1 >/tmp/gone; rm /tmp/gone; echo 1 >/tmp/model"])
    done = desk.tfslurm("submit", file, "--cluster", "beta", "--wait", cluster="beta")
    lost = "1 file was lost with the container: /tmp/model; only /out and writable mounts are kept"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, f"warning: {done.stdout.strip()}: {lost}")


def test_submit_says_of_a_job_that_can_never_start_why_and_what_to_do(desk: Desk) -> None:
    file = desk.experiment("never", "true", resources={"time": "30-00:00:00"}, slurm={"partition": "debug"})
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    job = done.stdout.strip()
    (said,) = [line for line in done.stderr.splitlines() if line.startswith(f"warning: {job}: ")]
    assert "so it will never start" in said and f"`tfslurm cancel {job}`" in said
    assert desk.tfslurm("cancel", job).returncode == 0
    assert desk.status(job)["state"] == "CANCELLED"


def test_an_exit_code_above_128_is_no_signal(desk: Desk) -> None:
    job = desk.submit(desk.experiment("high", ["sh", "-c", "exit 137"]))
    assert desk.tfslurm("wait", job).returncode == 137
    assert desk.status(job)["exit_code"] == 137


def test_submit_wait_is_submit_and_wait_in_one(desk: Desk) -> None:
    done = desk.tfslurm("submit", desk.experiment("five", ["sh", "-c", "exit 5"]), "--cluster", "beta", "--wait")
    assert done.returncode == 5
    job = done.stdout.strip()
    assert job in {f"beta:{number}" for number in desk.jobs("beta")}
    assert f"{job} FAILED" in done.stderr


def test_cancel_ends_the_program_and_keeps_what_it_wrote(desk: Desk) -> None:
    job = desk.submit(desk.experiment("endless", ["sh", "-c", f"echo kept >/out/kept; echo on; {gate()}"]))
    process = desk.start("logs", "-f", job)
    assert process.stdout
    read_until(process.stdout, "on")
    done = desk.tfslurm("cancel", job)
    assert (done.returncode, done.stdout.split()[0]) == (0, job)
    assert desk.tfslurm("wait", job).returncode != 0
    assert desk.status(job)["state"] == "CANCELLED"
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert desk.out(job, "kept") == "kept\n"
    assert desk.record(job)["job"]["state"] == "CANCELLED"
    containers = docker("ps", "--all", "--quiet", f"--filter=name=tfslurm-alpha-{job.partition(':')[2]}-").stdout
    assert containers == ""


def test_after_a_cancel_the_same_job_is_submitted_at_once_and_last_is_the_new_one(desk: Desk) -> None:
    file = desk.experiment("stubborn", ["sh", "-c", "trap '' TERM; echo on; while :; do sleep 0.1; done"])
    job = desk.submit(file)
    until(lambda: "on" in desk.tfslurm("logs", job).stdout, 60)
    refused = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"the same job is there already: {job} (RUNNING); `tfslurm wait {job}` waits" in refused.stderr
    done = desk.tfslurm("cancel", "last")
    assert done.stdout == f"{job} COMPLETING\n", done
    again = desk.submit(file)
    assert again != job
    assert [each["job"] for each in json.loads(desk.tfslurm("status", "last", "--json").stdout)] == [again]
    assert again in desk.tfslurm("cancel", "--all", "--yes").stdout
    name = f"stubborn-{desk.token}"
    assert desk.tfslurm("wait", f"{name}~0", f"{name}~1").returncode != 0
    shown = desk.tfslurm("status", "--name", name, "--state", "CANCELLED").stdout
    assert job in shown and again in shown


def test_a_pending_job_can_be_cancelled_too(desk: Desk) -> None:
    job = desk.submit(desk.experiment("waits", "true", slurm={"begin": "now+1hour"}))
    done = desk.tfslurm("cancel", job, "--json")
    assert [found["job"] for found in json.loads(done.stdout)] == [job]
    assert desk.tfslurm("wait", job).returncode == 1
    assert desk.jobs("alpha", "PENDING", "RUNNING") == []


def test_provenance_of_a_job_that_waits_says_so_in_one_line(shared: Desk, jobs: Jobs) -> None:
    done = shared.tfslurm("provenance", jobs.waits)
    assert (done.returncode, done.stdout) == (1, "")
    why = "the program has not started yet (PENDING); its record begins when it does"
    assert done.stderr == f"error: {jobs.waits}: {why}\n"


def test_provenance_writes_to_a_file(shared: Desk, jobs: Jobs) -> None:
    assert shared.ended(jobs.talks) == "FAILED"
    record = shared.record(jobs.talks)
    path = shared.folder / "record.json"
    done = shared.tfslurm("provenance", jobs.talks, "--format", "json", "-o", path)
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(path.read_text()) == record


def test_an_id_that_two_clusters_gave_is_refused_with_both(shared: Desk, jobs: Jobs) -> None:
    number = jobs.talks.partition(":")[2]
    assert f'"{jobs.talks}"' in shared.tfslurm("status", number, "--json").stdout
    # beta's counter may be anywhere: a stand-in for its sbatch answers with alpha's number
    file = shared.experiment("twin", "true")
    twin = shared.submit(file, cluster="beta", env=shared.wrap("sbatch", f"echo {number}"))
    assert twin == f"beta:{number}"
    for command in ("status", "logs", "wait", "cancel", "fetch", "provenance"):
        done = shared.tfslurm(command, number)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"exists on several clusters: {jobs.talks}, {twin}" in done.stderr
        assert "name the cluster too" in done.stderr
    assert shared.tfslurm("wait", jobs.talks).returncode == 7


@pytest.mark.parametrize("name", ["999999", "beta:999999", "nonsense", "alpha:", "-- $(id)"])
def test_a_job_that_is_none_is_refused_with_what_to_do(shared: Desk, name: str) -> None:
    done = shared.tfslurm("status", *name.split(" ", 1))
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: job '.*': is (not|neither) .*; .*\n", done.stderr)


def test_a_cluster_that_forgot_a_job_is_stood_in_for_by_the_jobs_own_end(forgotten: Forgotten) -> None:
    desk, good, bad = forgotten.desk, forgotten.good, forgotten.bad
    names = {job.partition(":")[2] for job in (good, bad)}
    until(lambda: not names & set(desk.jobs("gamma")), 60, "gamma did not forget its jobs")
    assert slurm(CLUSTERS["gamma"], "sacct").returncode != 0
    done = desk.tfslurm("status", "--json", cluster="gamma")
    told = {job["job"]: (job["state"], job["exit_code"]) for job in json.loads(done.stdout)}
    assert told == {good: ("COMPLETED", 0), bad: ("FAILED", 3)}
    assert [desk.tfslurm("wait", job).returncode for job in (good, bad)] == [0, 3]
    record = desk.record(bad)
    assert (record["job"]["state"], record["job"]["exit_code"]) == ("FAILED", 3)


def test_a_job_that_slurm_calls_completed_has_the_exit_code_0(shared: Desk, jobs: Jobs) -> None:
    job = shared.submit(shared.experiment("fine", "true"))
    assert shared.ended(job) == "COMPLETED"
    assert shared.status(job)["exit_code"] == 0


# -------------------------------------------------------------------------------------------------------- how it speaks


def test_json_is_one_document_and_nothing_else_for_every_command(desk: Desk) -> None:
    file = desk.experiment("json", "true")
    submitted = desk.tfslurm("submit", file, "--cluster", "alpha", "--wait", "--json")
    (made,) = json.loads(submitted.stdout)
    job = made["job"]
    commands: list[list[str]] = [
        ["init", "new"],
        ["check", "gamma", "--no-node"],
        ["schema"],
        ["schema", "cluster"],
        ["pin", str(file)],
        ["pin", str(file), "--update"],
        ["plan", str(file), "--cluster", "alpha"],
        ["run", str(file)],
        *(
            [command, job]
            for command in ("status", "logs", "wait", "cancel", "fetch", "provenance", "cite", "compute", "verify")
        ),
        ["status"],
        ["tracker", "path"],
        ["tracker", "rebuild"],
    ]
    for command in commands:
        done = desk.tfslurm(*command, *(["--json"] if command[0] != "schema" else []))
        assert done.returncode == 0, (command, done.stderr)
        json.loads(done.stdout)


def in_terminal(desk: Desk, *words: str, **env: str) -> str:
    """What a command prints on a terminal."""
    outer, inner = pty.openpty()
    process = desk.start(*words, env={"TERM": "xterm-256color", "COLUMNS": "160", **env}, stdout=inner)
    os.close(inner)
    said = b""
    try:
        while chunk := os.read(outer, 65536):
            said += chunk
    except OSError:  # Linux's word for the end of a terminal
        pass
    os.close(outer)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return said.decode()


def test_colour_is_for_terminals_and_for_those_who_want_it(shared: Desk, jobs: Jobs) -> None:
    assert shared.ended(jobs.talks) == "FAILED"
    assert ESCAPE in in_terminal(shared, "status", jobs.talks)
    plain = in_terminal(shared, "status", jobs.talks, NO_COLOR="1")
    assert "FAILED" in plain
    assert "\x1b[3" not in plain
    assert ESCAPE not in shared.tfslurm("status", jobs.talks, env={"TERM": "xterm-256color"}).stdout


def test_exit_codes_tell_the_world_from_the_input(shared: Desk, jobs: Jobs) -> None:
    codes = {
        ("status", jobs.waits): 0,
        ("provenance", jobs.waits): 1,
        ("status", "--nonsense"): 2,
        ("statsu",): 2,
        ("plan", "absent.yaml", "--cluster", "alpha"): 2,
        ("submit", "talks.yaml", "--cluster", "alhpa"): 2,
        ("submit", "talks.yaml"): 2,  # three clusters are configured
    }
    assert {words: shared.tfslurm(*words).returncode for words in codes} == codes
    assert "Did you mean 'status'?" in shared.tfslurm("statsu").stderr
    assert "did you mean 'alpha'?" in shared.tfslurm("submit", "talks.yaml", "--cluster", "alhpa").stderr


def test_v_shows_each_command_that_is_run(shared: Desk, jobs: Jobs) -> None:
    done = shared.tfslurm("status", jobs.waits, "-v")
    assert re.search(r"^\+ alpha: .*squeue .*--me ", done.stderr, re.MULTILINE)
    assert "squeue" not in done.stdout


# ---------------------------------------------------------------------------------------------------- without scheduler


def test_run_does_the_same_here_and_now(desk: Desk) -> None:
    file = desk.experiment("here", ["sh", "-c", "echo said; echo kept >/out/kept"])
    done = desk.tfslurm("run", file, cluster=None)
    assert (done.returncode, done.stdout) == (0, "said\n"), done.stderr
    assert "local:1: COMPLETED, exit 0" in done.stderr
    record = desk.record("local:1")
    job = {key: record["job"][key] for key in ("cluster", "job_id", "state", "exit_code")}
    assert job == {"cluster": "local", "job_id": "1", "state": "COMPLETED", "exit_code": 0}
    assert record["verified"]["image"]["status"] == "ok"
    assert [output["path"] for output in record["experiment"]["outputs"]] == ["kept"]
    assert desk.tfslurm("status", "1", "--json", cluster=None).returncode == 0
    assert desk.tfslurm("logs", "1", cluster=None).stdout == "said\n"


def test_run_ends_with_the_programs_exit_code(desk: Desk) -> None:
    done = desk.tfslurm("run", desk.experiment("six", ["sh", "-c", "exit 6"]), "--json", cluster=None)
    assert done.returncode == 6
    assert json.loads(done.stdout) == {"job": "local:1", "state": "FAILED", "exit_code": 6}


def test_run_takes_no_gpu_by_guess(desk: Desk) -> None:
    file = desk.experiment("guess", ["sh", "-c", "echo never >/out/never"], resources={"gpus": 1})
    done = desk.tfslurm("run", file, cluster=None)
    assert done.returncode == 78
    assert f"{len(inventory())} GPUs are here and 1 are wanted" in done.stderr
    assert "set CUDA_VISIBLE_DEVICES to the UUIDs of 1 of them" in done.stderr
    assert not (desk.run_folder("local:1") / "out" / "never").exists()


def test_run_takes_exactly_the_gpu_that_was_named(desk: Desk) -> None:
    wanted = inventory()[5]
    file = desk.experiment("named", ["sh", "-c", "nvidia-smi -L >/out/seen"], resources={"gpus": 1})
    done = desk.tfslurm("run", file, cluster=None, env={"CUDA_VISIBLE_DEVICES": wanted.uuid})
    assert done.returncode == 0, done.stderr
    assert desk.out("local:1", "seen") == f"GPU 0: {wanted.name} (UUID: {wanted.uuid})\n"
    record = desk.record("local:1")
    assert [gpu["uuid"] for gpu in record["attempts"][0]["tasks"][0]["gpus"]] == [wanted.uuid]
    assert record["verified"]["gpus"]["status"] == "ok"


def test_run_that_is_interrupted_leaves_no_container(desk: Desk) -> None:
    process = desk.start("run", desk.experiment("stop", ["sh", "-c", f"echo on; {gate()}"]), cluster=None)
    assert process.stdout
    read_until(process.stdout, "on")
    plan = next((desk.folder / "data").glob("tfslurm/local/runs/*")).name.rpartition("-")[2]
    mine = ("ps", "--all", "--quiet", f"--filter=label=tfslurm.plan_id={plan}")
    assert docker(*mine).stdout
    code, _ = interrupted(process)
    assert code == 130
    assert docker(*mine).stdout == ""
    assert desk.status("local:1")["state"] == "CANCELLED"
    assert desk.record("local:1")["job"]["exit_code"] not in (0, None)


def test_run_of_an_image_that_is_nowhere_never_begins(desk: Desk) -> None:
    file = desk.experiment("nowhere", "true", image=SMALL.replace("small:1", "small:no-such-tag"))
    done = desk.tfslurm("run", file, cluster=None)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "no-such-tag" in done.stderr
    assert not Path(desk.folder / "nowhere.lock.yaml").exists()

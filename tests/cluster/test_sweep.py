"""Sweeps on the bed: each point runs once, with its own values exactly, whatever is cut off meanwhile."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bed import ACCOUNTS, CLUSTERS
from .desk import USER, Desk, until
from .docker import docker
from .slurm import slurm
from .users import run_as

HOSTILE = ["a b", "$(id) `x`", "'\"\\", "é\n学", "*", "-n"]
SHOW = ["sh", "-c", 'printf "%s\\0" "$@" "$TFSLURM_PARAMS" >/out/words', "sh"]


def swept(desk: Desk, file: Path, *words: str) -> list[str]:
    """The lines that `tfslurm submit` printed, one for each Slurm job."""
    done = desk.tfslurm("submit", file, *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(re.fullmatch(r"(alpha|beta):\d+", line) for line in lines), done.stdout
    return lines


def folders(desk: Desk) -> list[Path]:
    """The folders of the points that have ended."""
    return [path for cluster in ("alpha", "beta") for path in desk.root(cluster).glob("runs/*/[0-9]*_[0-9]*")]


def test_every_point_runs_once_over_two_clusters_with_its_own_words_exactly(desk: Desk) -> None:
    sweep = {"zip": [{"text": HOSTILE, "lr": [0.1, 1, 1e-05, True, "x", "0.10"]}], "spread": "even"}
    env = {"LR": "{{ lr }}", "SAME": "yes"}
    file = desk.experiment("words", [*SHOW, "{{ text }}", "--lr={{ lr }}"], sweep=sweep, env=env)
    jobs = swept(desk, file, "--cluster", "alpha", "--cluster", "beta", "--wait")
    assert [job.partition(":")[0] for job in jobs] == ["alpha", "beta"]
    seen = []
    for folder in folders(desk):
        text, lr, params, rest = (folder / "out" / "words").read_bytes().decode().split("\0")
        assert rest == ""
        seen.append((text, lr, json.loads(params)["text"]))
    shown = ("0.1", "1", "1e-05", "true", "x", "0.10")
    assert sorted(seen) == sorted((text, f"--lr={lr}", text) for text, lr in zip(HOSTILE, shown, strict=True))


def counted(desk: Desk) -> Counter[str]:
    """How often each point ran: every run leaves a file of its own in the job's folder."""
    return Counter(folder.joinpath("out", "words").read_bytes().decode().split("\0")[0] for folder in folders(desk))


def test_a_client_that_is_killed_at_any_moment_leaves_every_point_to_run_once(desk: Desk) -> None:
    sweep = {"grid": {"n": {"range": [4]}}, "spread": "even"}
    file = desk.experiment("cut", [*SHOW, "{{ n }}"], sweep=sweep)
    words = ("submit", file, "--cluster", "alpha", "--cluster", "beta")
    assert desk.tfslurm("pin", file).returncode == 0
    draw = random.Random(7)
    told = ""
    for _ in range(6):
        client = desk.start(*words)
        try:
            told, _ = client.communicate(timeout=draw.uniform(0.2, 1.6))
        except subprocess.TimeoutExpired:
            client.kill()
            told, _ = client.communicate()
        if len(told.splitlines()) == 2:  # whoever has seen both ids, and asks again, may mean it
            break
        if draw.random() < 0.3:
            assert desk.tfslurm("status").returncode == 0
    else:
        last = desk.tfslurm(*words)
        assert len(last.stdout.splitlines()) == 2, last.stderr
    done = desk.tfslurm("wait", f"cut-{desk.token}")
    assert done.returncode == 0, done.stderr
    assert counted(desk) == {str(n): 1 for n in range(4)}
    assert len(folders(desk)) == 4


def test_a_sweep_is_followed_as_a_whole_and_point_by_point(desk: Desk) -> None:
    sweep = {"grid": {"n": {"range": [4]}}}
    body = 'echo "n is $1, $TOKEN" >&2; test "$1" -lt 3 || exit 9'
    file = desk.experiment("seen", ["sh", "-c", body, "sh", "{{ n }}"], sweep=sweep, secrets=["TOKEN"])
    done = desk.tfslurm("submit", file, "--cluster", "alpha", "--wait", env={"TOKEN": "s3cret"})
    assert done.returncode == 9, done.stderr
    (array,) = done.stdout.split()
    (known,) = json.loads(desk.tfslurm("status", f"seen-{desk.token}", "--json").stdout)
    assert known["counts"] == {"COMPLETED": 3, "FAILED": 1}
    assert [point["job"] for point in known["points"]] == [f"{array}_{n}" for n in range(4)]
    told = desk.tfslurm("status", known["sweep"]).stdout
    failed = known["points"][3]["point"]
    assert "4 of 4 points ended" in told
    # the program's own words, as `logs` shows them; nothing of tfslurm keeps them
    assert f"1 x FAILED: exit 9: n is 3, s3cret; for example {array}_3 " in told
    assert b"s3cret" not in desk.tracker.read_bytes()
    assert "s3cret" not in desk.tfslurm("status", known["sweep"], "--json").stdout
    assert f"tfslurm logs {known['sweep']}:{failed}" in told
    assert desk.tfslurm("logs", f"{known['sweep']}:{failed}").stderr == "n is 3, s3cret\n"
    assert f"{known['sweep']} " in desk.tfslurm("status").stdout
    assert len(json.loads(desk.tfslurm("status", array, "--json").stdout)) == 4
    assert not list(desk.root("alpha").glob("runs/**/TOKEN"))

    record = desk.record(f"{known['sweep']}:{known['points'][2]['point']}")
    wanted = {"array_job_id": array.partition(":")[2], "array_task_id": "2", "state": "COMPLETED"}
    assert {key: record["job"][key] for key in wanted} == wanted
    assert record["experiment"]["parameters"] == {"n": 2}
    assert record["experiment"]["command"][-1] == "2"
    whole = json.loads(desk.tfslurm("provenance", known["sweep"], "--json").stdout)
    assert (whole["schema"], whole["states"]) == ("tfslurm.sweep/1", {"COMPLETED": 3, "FAILED": 1})
    assert whole["points"][2]["record_id"] == record["record_id"]
    assert [(job["job_id"], job["points"]) for job in whole["jobs"]] == [(array.partition(":")[2], 4)]


def test_a_sweep_that_is_cancelled_leaves_no_job(desk: Desk) -> None:
    file = desk.experiment("gone", "true {{ n }}", sweep={"grid": {"n": [1, 2, 3]}}, slurm={"begin": "now+1hour"})
    (array,) = swept(desk, file, "--cluster", "beta")
    again = desk.tfslurm("submit", file, "--cluster", "beta")
    assert (again.returncode, again.stdout) == (1, "")
    assert re.search("3 of its 3 points have not ended; .*--again submits it once more", again.stderr)
    done = desk.tfslurm("cancel", f"gone-{desk.token}")
    assert [line.split()[0] for line in done.stdout.splitlines()] == [f"{array}_{n}" for n in range(3)]
    desk.tfslurm("wait", f"gone-{desk.token}")
    assert desk.jobs("beta", "PENDING", "RUNNING") == []


@pytest.fixture
def few() -> Iterator[str]:
    """An account in which alice may have 4 jobs on alpha. The bed does not enforce it: a stand-in for sbatch does."""
    account = ACCOUNTS[1]
    where = ["where", f"user={USER}", f"account={account}", "cluster=alpha"]
    change = ["sacctmgr", "--immediate", "modify", "user", *where, "set"]
    assert slurm(CLUSTERS["alpha"], *change, "MaxSubmitJobs=4").returncode == 0
    yield account
    slurm(CLUSTERS["alpha"], *change, "MaxSubmitJobs=-1")


def test_what_the_queue_has_no_room_for_is_sent_by_the_next_command(desk: Desk, few: str) -> None:
    full = desk.folder / "full"
    said = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
    refusing = f'if [ -e {full} ]; then echo "sbatch: error: Batch job submission failed: {said}" >&2; exit 1; fi'
    env = desk.wrap("sbatch", f'{refusing}; touch {full}; exec $real "$@"')
    file = desk.experiment("waves", [*SHOW, "{{ n }}"], sweep={"grid": {"n": [1, 2, 3]}}, slurm={"account": few})
    done = desk.tfslurm("submit", file, "--cluster", "alpha", env=env)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    assert "alpha: 1 points wait for room in your queue" in done.stderr
    name = f"waves-{desk.token}"
    (known,) = json.loads(desk.tfslurm("status", name, "--json", env=env).stdout)
    assert [point["job"] is None for point in known["points"]] == [False, False, True]
    full.unlink()
    told = desk.tfslurm("watch", name, "--json", env=env)
    assert (told.returncode, f"{known['sweep']}: sent alpha:" in told.stderr) == (0, True)
    (ended,) = json.loads(told.stdout)
    assert {point["state"] for point in ended["points"]} == {"COMPLETED"}
    assert counted(desk) == {"1": 1, "2": 1, "3": 1}


def test_resume_runs_what_failed_and_what_the_file_has_more_of_and_nothing_else(desk: Desk) -> None:
    flag = desk.data("alpha") / "flag"
    assert run_as(USER, ["mkdir", "-p", str(flag)], "alpha").returncode == 0
    body = 'echo "$1" >/out/words; test "$1" -lt 2 || test -e /flag/ok'
    keys = {"mounts": [{"source": str(flag), "target": "/flag"}], "clusters": ["alpha"]}
    command = ["sh", "-c", body, "sh", "{{ n }}"]
    file = desk.experiment("again", command, sweep={"grid": {"n": {"range": [9]}}}, **keys)
    name = f"again-{desk.token}"
    assert desk.tfslurm("submit", file, "--wait").returncode == 1
    assert desk.tfslurm("resume", name, "--state", "TIMEOUT").stdout == ""
    (flag / "ok").touch()
    done = desk.tfslurm("resume", name)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1), done.stderr
    assert desk.tfslurm("wait", name).returncode == 0
    ran = {f"{n}\n": 1 if n < 2 else 2 for n in range(9)}
    assert counted(desk) == ran

    file = desk.experiment("again", command, sweep={"grid": {"n": {"range": [10]}}}, **keys)
    assert desk.tfslurm("resume", name, file).returncode == 0
    assert desk.tfslurm("wait", name).returncode == 0
    assert counted(desk) == {**ran, "9\n": 1}
    file = desk.experiment("again", ["true", "{{ n }}"], sweep={"grid": {"n": {"range": [11]}}}, **keys)
    done = desk.tfslurm("resume", name, file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "warning: the command or its variables have changed" in done.stderr


def test_points_that_ran_changed_code_are_told_before_and_after(desk: Desk) -> None:
    """The files that changed are named where nobody can be asked, and each table says which code a point ran."""
    desk.write("code/train.sh", 'test "$1" -gt 0 && printf \'{"loss": 1}\' >/out/metrics.json\n')
    desk.write("code/old.sh", "")
    sweep = {"grid": {"n": [0, 1], "seed": {"range": [4]}}}
    command = ["sh", "train.sh", "{{ n }}", "{{ seed }}"]
    file = desk.experiment("mix", command, sweep=sweep, clusters=["alpha"], code="code")
    name = f"mix-{desk.token}"
    assert desk.tfslurm("submit", file, "--wait").returncode == 1
    desk.write("code/train.sh", "printf '{\"loss\": 0.123456}' >/out/metrics.json\n")
    desk.write("code/new.sh", "")
    (desk.folder / "code" / "old.sh").unlink()
    done = desk.tfslurm("resume", name, file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "warning: the code has changed: train.sh; new: new.sh; gone: old.sh: points that ran before" in done.stderr
    assert "error: submit these points all the same?: there is no terminal to ask on; add --yes\n" in done.stderr
    done = desk.tfslurm("resume", name, file, "--yes")
    assert done.returncode == 0, done.stderr
    assert desk.tfslurm("wait", name).returncode == 0
    found = desk.tfslurm("results", name, "--json")
    codes = [(row["parameters"]["n"], row["code"]) for row in json.loads(found.stdout)]
    assert len(set(codes)) == 2
    assert codes[0][1] != codes[4][1]
    assert "warning: the points did not all run the same code: 4 of 8 " in found.stderr
    assert "warning: n is confounded with code" in found.stderr
    table = desk.tfslurm("results", name).stdout
    assert table.splitlines()[0].split()[-1] == "code"
    assert "0.1235" in table
    assert table.splitlines()[-1].startswith("all 8: cluster alpha, ")
    assert desk.tfslurm("results", name, "--format", "csv").stdout.splitlines()[0].endswith(",job,code")


def test_results_are_one_table_and_warn_of_what_is_confounded_with_the_cluster(desk: Desk) -> None:
    body = 'printf \'{"loss": %s, "at": {"step": 3}}\' "$1" >/out/metrics.json'
    rules = [{"values": {"n": n}, "cluster": "alpha" if n < 2 else "beta"} for n in range(4)]
    sweep = {"grid": {"n": {"range": [4]}}, "spread": "idle", "where": rules}
    file = desk.experiment("table", ["sh", "-c", body, "sh", "{{ n }}"], sweep=sweep, clusters=["alpha", "beta"])
    done = desk.tfslurm("submit", file, "--wait")
    assert done.returncode == 0, done.stderr
    assert "is not known of" not in done.stderr
    name = f"table-{desk.token}"
    found = desk.tfslurm("results", name, "--json")
    assert "warning: n is confounded with cluster" in found.stderr
    rows = json.loads(found.stdout)
    assert [row["metrics"] for row in rows] == [{"loss": n, "at.step": 3} for n in range(4)]
    assert [row["cluster"] for row in rows] == ["alpha"] * 2 + ["beta"] * 2
    assert {row["state"] for row in rows} == {"COMPLETED"}
    lines = desk.tfslurm("results", name, "--format", "csv").stdout.splitlines()
    assert lines[0] == "point,n,loss,at.step,cluster,gpu,driver,digest,seconds,state,job"
    assert [line.split(",")[1:4] for line in lines[1:]] == [[str(n), str(n), "3"] for n in range(4)]
    done = desk.tfslurm("fetch", name, "here")
    assert done.returncode == 0, done.stderr
    for n in range(4):
        assert json.loads((desk.folder / "here" / f"n={n}" / "metrics.json").read_text())["loss"] == n


def test_rebalance_moves_what_has_not_begun_and_nothing_runs_twice(desk: Desk) -> None:
    desk.describe("beta", slurm={"partition": "gpu", "begin": "now+1hour"})
    sweep = {"grid": {"n": {"range": [4]}}, "spread": "even", "where": [{"values": {"n": 3}, "cluster": "beta"}]}
    file = desk.experiment("moved", [*SHOW, "{{ n }}"], sweep=sweep, clusters=["alpha", "beta"])
    swept(desk, file)
    name = f"moved-{desk.token}"
    done = desk.tfslurm("rebalance", name, "--from", "beta")
    assert done.returncode == 0, done.stderr
    (moved,) = done.stdout.splitlines() or [done.stderr]
    assert moved.startswith("alpha:"), done.stderr
    assert desk.tfslurm("wait", moved).returncode == 0
    (known,) = json.loads(desk.tfslurm("status", name, "--json").stdout)
    assert known["counts"] == {"COMPLETED": 3, "PENDING": 1}
    assert counted(desk) == {str(n): 1 for n in range(3)}
    assert len(desk.jobs("beta", "PENDING")) == 1


@pytest.fixture
def down(request: pytest.FixtureRequest) -> Iterator[str]:
    """A cluster whose partition `debug` is down: its jobs wait for ever."""
    cluster = str(request.param)
    change = ["scontrol", "update", "PartitionName=debug"]
    assert slurm(CLUSTERS[cluster], *change, "State=DOWN").returncode == 0
    yield cluster
    assert slurm(CLUSTERS[cluster], *change, "State=UP").returncode == 0


@pytest.mark.parametrize(("down", "packed"), [("beta", 1), ("beta", 2), ("gamma", 1)], indirect=["down"])
def test_from_a_partition_that_is_down_all_points_go_to_the_other_cluster(desk: Desk, down: str, packed: int) -> None:
    desk.describe(down, slurm={"partition": "debug"})
    sweep = {"grid": {"n": {"range": [6]}}, "spread": "even", "points_per_job": packed}
    file = desk.experiment("down", [*SHOW, "{{ n }}"], sweep=sweep, clusters=["alpha", down])
    done = desk.tfslurm("submit", file)
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["alpha", down], done.stderr
    name = f"down-{desk.token}"
    done = desk.tfslurm("rebalance", name, "--from", down)
    assert (done.returncode, done.stdout.partition(":")[0]) == (0, "alpha"), done.stderr
    assert desk.tfslurm("wait", name).returncode == 0
    (known,) = json.loads(desk.tfslurm("status", name, "--json").stdout)
    assert known["counts"] == {"COMPLETED": 6}
    assert counted(desk) == {str(n): 1 for n in range(6)}
    assert desk.jobs(down, "PENDING", "RUNNING") == []


def test_a_sweep_that_sbatch_refuses_is_as_if_it_had_not_been_asked_for(desk: Desk) -> None:
    file = desk.experiment("refused", "true {{ n }}", sweep={"grid": {"n": [1, 2]}}, slurm={"partition": "nowhere"})
    done = desk.tfslurm("submit", file, "--cluster", "alpha")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nowhere" in done.stderr
    assert desk.tfslurm("status", f"refused-{desk.token}").returncode == 2
    assert list(desk.root("alpha").glob("runs/*")) == []


def test_points_of_one_job_run_in_turn_each_with_a_container_and_a_record_of_its_own(desk: Desk) -> None:
    body = 'echo "n is $1"; printf %s "$1" >/out/words; hostname >/out/box; test "$1" != 1 || exit 9'
    sweep = {"grid": {"n": {"range": [5]}}, "points_per_job": 3}
    file = desk.experiment("packed", ["sh", "-c", body, "sh", "{{ n }}"], sweep=sweep, secrets=["TOKEN"])
    done = desk.tfslurm("submit", file, "--cluster", "alpha", "--wait", env={"TOKEN": "s3cret"})
    assert done.returncode == 9, done.stderr
    (array,) = done.stdout.split()
    assert "--array=0-1" in done.stderr
    name = f"packed-{desk.token}"
    (known,) = json.loads(desk.tfslurm("status", name, "--json").stdout)
    assert [point["job"] for point in known["points"]] == [
        f"{array}_{task}.{place}" for task, place in ((0, 0), (0, 1), (0, 2), (1, 3), (1, 4))
    ]
    assert [point["state"] for point in known["points"]] == ["COMPLETED", "FAILED", *["COMPLETED"] * 3]
    assert counted(desk) == {str(n): 1 for n in range(5)}
    assert len({folder.joinpath("out", "box").read_text() for folder in folders(desk)}) == 5
    assert desk.tfslurm("logs", f"{array}_0.2").stdout == "n is 2\n"
    assert not list(desk.root("alpha").glob("runs/**/TOKEN"))
    record = desk.record(f"{array}_0.2")
    wanted = {"job_id": f"{array.partition(':')[2]}_0.2", "array_task_id": "0", "state": "COMPLETED", "exit_code": 0}
    assert {key: record["job"][key] for key in wanted} == wanted
    assert record["experiment"]["parameters"] == {"n": 2}
    assert [output["path"] for output in record["experiment"]["outputs"]] == ["box", "words"]
    assert record["job"]["started_at"] > desk.record(f"{array}_0.1")["job"]["ended_at"]
    words = ["squeue", "--noheader", "--states=all", f"--job={array.partition(':')[2]}_0", "--format=%T"]
    assert run_as(USER, words, "alpha").stdout.split() == ["FAILED"], "with the first code that is not 0"
    again = desk.tfslurm("resume", name, env={"TOKEN": "s3cret"})
    assert (again.returncode, len(again.stdout.splitlines())) == (0, 1), again.stderr
    desk.tfslurm("wait", name)
    assert counted(desk) == {"0": 1, "1": 2, "2": 1, "3": 1, "4": 1}


def test_a_job_of_several_points_is_cancelled_as_a_whole(desk: Desk) -> None:
    sweep = {"grid": {"n": {"range": [4]}}, "points_per_job": 3}
    command = ["sh", "-c", 'echo "$1" >/out/words; test "$1" = 0 || sleep 600', "sh", "{{ n }}"]
    file = desk.experiment("halt", command, sweep=sweep)
    (array,) = swept(desk, file, "--cluster", "alpha")
    second = f"{array}_0.1"
    until(lambda: desk.status(second)["state"] == "RUNNING", 60)
    states = [desk.status(f"{array}_0.{place}")["state"] for place in range(3)]
    assert states == ["COMPLETED", "RUNNING", "PENDING"]
    refused = desk.tfslurm("cancel", second)
    assert refused.returncode == 2
    assert f"`tfslurm cancel {array}_0` ends them all" in refused.stderr
    assert desk.tfslurm("cancel", f"{array}_0").returncode == 0
    desk.tfslurm("wait", f"{array}_0")
    assert [desk.status(f"{array}_0.{place}")["state"] for place in range(3)] == ["COMPLETED", "CANCELLED", "CANCELLED"]
    assert desk.record(second)["job"]["state"] == "CANCELLED"
    assert not desk.run_folder(second).parent.joinpath(f"{array.partition(':')[2]}_0.2").exists()


def test_a_job_of_several_points_whose_slurmstepd_is_lost_leaves_no_container_and_begins_no_other(desk: Desk) -> None:
    sweep = {"grid": {"n": {"range": [3]}}, "points_per_job": 3}
    command = ["sh", "-c", 'echo "$1" >/out/words; test "$1" = 0 || sleep 600', "sh", "{{ n }}"]
    (array,) = swept(desk, desk.experiment("orphan", command, sweep=sweep), "--cluster", "alpha")
    second = f"{array}_0.1"
    until(lambda: any(desk.root("alpha").glob("runs/*/*_0.1/out/words")), 60)
    number = json.loads((desk.run_folder(second) / "attempt-1" / "begin.json").read_text())["job_id"]
    (daemon,) = [
        int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if f"[{number}.batch]" in told_by(path)
    ]
    os.kill(daemon, signal.SIGKILL)
    label = f"label=tfslurm.slurm_job_id={number}"
    until(lambda: not docker("ps", "--all", "--quiet", "--filter", label).stdout, 60)
    desk.tfslurm("wait", f"{array}_0")
    record = desk.record(second)
    assert (record["attempts"][0]["exit_code"], record["attempts"][0]["ended_by"]) == (75, "node")
    states = [desk.status(f"{array}_0.{place}")["state"] for place in range(3)]
    assert (states[0], "COMPLETED" in states[1:]) == ("COMPLETED", False)
    assert counted(desk) == {"0\n": 1, "1\n": 1}


def told_by(path: Path) -> str:
    """What a file of /proc says; '' where its process has gone."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""

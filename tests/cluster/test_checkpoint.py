"""Checkpoint and requeue as a user meets them, on real Slurm and a real docker daemon; the GPUs are stand-ins."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .bed import CLUSTERS
from .desk import USER, Desk, gate, ids, until
from .install import CHECKOUT
from .slurm import slurm
from .users import run_as

ASKED = {"signal": "USR1", "before_end": 60, "requeue": True}
COUNTING = """
trap 'echo $n >/out/saved; exit 0' USR1
n=$(cat /out/saved 2>/dev/null || echo 0)
echo "attempt $TFSLURM_ATTEMPT begins at $n" >>/out/history; echo "this is attempt $TFSLURM_ATTEMPT"
while :; do n=$((n + 1)); sleep 0.1; done
"""


def number(job: str) -> str:
    return job.partition(":")[2]


def shown(cluster: str, job: str) -> str:
    return slurm(CLUSTERS[cluster], "scontrol", "show", "job", number(job)).stdout


def has_begun(desk: Desk, job: str) -> None:
    pattern = f"runs/*/{number(job)}/out/history"
    until(lambda: any(desk.root(job.partition(":")[0]).glob(pattern)), 60)


def warn(cluster: str, job: str) -> None:
    """What Slurm does before the time limit."""
    done = run_as(USER, ["scancel", "--signal=URG", number(job)], cluster)
    assert done.returncode == 0, done.stderr


def go_on(cluster: str, job: str, restarts: int) -> None:
    """The job is in the queue again; Slurm would hold it back for two minutes."""
    until(lambda: all(word in shown(cluster, job) for word in (f"Restarts={restarts}", "JobState=PENDING")), 60)
    done = run_as(USER, ["scontrol", "update", f"JobId={number(job)}", "StartTime=now+3"], cluster)
    assert done.returncode == 0, done.stderr


def verdict(desk: Desk, *words: str | Path, code: int = 0, cluster: str = "alpha") -> dict[str, object]:
    done = desk.tfslurm("rehearse", *words, "--json", cluster=cluster, timeout_s=180)
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


# ----------------------------------------------------------------------------------------------------------- rehearsals


def test_a_rehearsal_shows_both_attempts_and_ends_the_job(desk: Desk) -> None:
    file = desk.experiment("rehearsed", ["sh", "-c", COUNTING], checkpoint=ASKED)
    seen = verdict(desk, file, "--cluster", "alpha", "--after", "2")
    assert (seen["ok"], seen["wrong"], seen["final"]) == (True, "", "CANCELLED"), seen
    assert str(seen["signal"]).startswith("USR1 delivered at 20")
    assert str(seen["exit"]).startswith("code 0, ")
    assert seen["outputs"] == "0 files before, 2 after: history, saved"
    assert seen["second"] == "started from 2 files of the first, was still running"
    job = str(seen["job"])
    first, second = desk.out(job, "history").splitlines()
    assert first == "attempt 1 begins at 0"
    assert second.startswith("attempt 2 begins at ") and second != "attempt 2 begins at 0"
    assert desk.jobs("alpha", "PENDING", "RUNNING") == []


def test_a_rehearsal_needs_no_scheduler(desk: Desk) -> None:
    file = desk.experiment("rehearsed", ["sh", "-c", COUNTING], checkpoint=ASKED)
    assert desk.tfslurm("pin", file).returncode == 0
    done = desk.tfslurm("rehearse", file, "--local", "--after", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "verdict    ok: it saves in time and continues"
    assert "local:1: the second attempt has started; it is watched for 1 s" in done.stderr
    assert len(desk.out("local:1", "history").splitlines()) == 2


def test_a_rehearsal_says_what_does_not_work(desk: Desk) -> None:
    nothing = desk.experiment(
        "nothing", ["sh", "-c", "trap 'exit 0' USR1; while :; do sleep 0.1; done"], checkpoint=ASKED
    )
    seen = verdict(desk, nothing, "--cluster", "beta", "--after", "1", code=1, cluster="beta")
    assert (seen["wrong"], seen["second"], seen["final"]) == ("nothing was saved in /out", "none", "FAILED")
    short = desk.experiment("short", ["true"], checkpoint=ASKED)
    assert verdict(desk, short, "--cluster", "beta", "--after", "5", code=1, cluster="beta")["wrong"] == (
        "the program ended before it was warned: use a shorter --after"
    )


def test_without_a_checkpoint_there_is_nothing_to_rehearse(desk: Desk) -> None:
    done = desk.tfslurm("rehearse", desk.experiment("plain", ["true"]), "--cluster", "alpha")
    assert (done.returncode, "checkpoint: is missing: there is nothing to rehearse; write" in done.stderr) == (2, True)


# -------------------------------------------------------------------------------------------------------- interruptions


def test_a_preempted_job_saves_first_and_goes_on_with_its_attempts_in_the_record(desk: Desk) -> None:
    low = {"partition": "low", "nodelist": "alpha2"}
    file = desk.experiment("low", ["sh", "-c", COUNTING + gate()], checkpoint=ASKED, slurm=low, resources={"gpus": 4})
    job = desk.submit(file)
    has_begun(desk, job)
    argv = ["sbatch", "--parsable", "--partition=high", "--nodelist=alpha2", "--gpus-per-node=4", "--mem=50M"]
    high = run_as(USER, [*argv, "--output=/dev/null", "--wrap", "sleep 1"], "alpha")
    assert high.returncode == 0, high.stderr
    go_on("alpha", job, 1)
    until(lambda: "attempt 2" in desk.out(job, "history"), 60)
    second = desk.out(job, "history").splitlines()[1]
    assert second.startswith("attempt 2 begins at ") and second != "attempt 2 begins at 0", (
        "it saved before it was stopped"
    )
    assert desk.tfslurm("cancel", job).returncode == 0
    desk.ended(job)

    one, two = desk.record(job)["attempts"]
    assert (one["index"], one["state"], one["reason"], two["index"]) == (1, "REQUEUED", "stopped by SIGTERM", 2)
    assert one["warned_at"] and one["ended_at"] <= two["started_at"]
    for attempt in (one, two):
        (task,) = attempt["tasks"]
        assert (task["node"], len(task["gpus"]), bool(task["driver_version"])) == ("alpha2", 4, True)
    assert one["tasks"][0]["container"]["id"] != two["tasks"][0]["container"]["id"]
    for index in ("1", "2"):
        assert desk.tfslurm("logs", job, "--attempt", index).stdout == f"this is attempt {index}\n"


def test_submit_says_where_preemption_cancels(desk: Desk) -> None:
    """sinfo is a stand-in here, for no partition of the bed cancels what it pushes out."""
    file = desk.experiment("told", ["true"], checkpoint=ASKED)
    cancels = desk.wrap("sinfo", "printf 'gpu*\\037CANCEL\\n'")
    done = desk.tfslurm("submit", file, "--cluster", "alpha", env=cancels)
    assert "note: alpha: partition gpu cancels a job that is pushed out (PreemptMode=CANCEL)" in done.stderr
    assert "note:" not in desk.tfslurm("submit", file, "--cluster", "alpha", "--again").stderr


def test_where_the_node_has_no_scontrol_the_status_says_how_to_go_on(desk: Desk) -> None:
    links = 'mkdir "$attempt_dir/bin"; ln --symbolic /usr/bin/* "$attempt_dir/bin"; rm "$attempt_dir/bin/scontrol"'
    prologue = f'{{% block prologue %}}{links}; PATH="$attempt_dir/bin"{{% endblock %}}'
    desk.write("bare.sbatch.j2", f'{{% extends "job.sbatch.j2" %}}{prologue}')
    file = desk.experiment("bare", ["sh", "-c", COUNTING], checkpoint=ASKED, template="bare.sbatch.j2")
    job = desk.submit(file)
    has_begun(desk, job)
    warn("alpha", job)
    assert desk.tfslurm("wait", job).returncode == 75
    said = desk.tfslurm("status", job).stdout
    assert "FAILED" in said and f"`scontrol requeue {number(job)}` on a login node continues it" in said
    done = run_as(USER, ["scontrol", "requeue", number(job)], "alpha")
    assert done.returncode == 0, done.stderr
    go_on("alpha", job, 1)
    until(lambda: "attempt 2" in desk.out(job, "history"), 60)


def test_a_job_of_several_points_goes_on_with_the_one_that_was_interrupted(desk: Desk) -> None:
    body = """
echo "attempt $TFSLURM_ATTEMPT" >>/out/history
if [ "$1" != 1 ] || [ -e /out/saved ]; then exit 0; fi
trap 'touch /out/saved; exit 0' USR1
while :; do sleep 0.1; done
"""
    sweep = {"grid": {"n": {"range": [3]}}, "points_per_job": 3}
    command = ["sh", "-c", body, "sh", "{{ n }}"]
    array = desk.submit(desk.experiment("turns", command, sweep=sweep, checkpoint=ASKED))
    jobs = [f"{array}_0.{place}" for place in range(3)]
    has_begun(desk, jobs[1])
    warn("alpha", f"{array}_0")
    go_on("alpha", f"{array}_0", 1)
    assert [desk.ended(job) for job in jobs] == ["COMPLETED"] * 3
    histories = [desk.out(job, "history").split("\n")[:-1] for job in jobs]
    assert histories == [["attempt 1"], ["attempt 1", "attempt 2"], ["attempt 2"]]
    attempts = [[attempt["state"] for attempt in desk.record(job)["attempts"]] for job in jobs]
    assert attempts == [["COMPLETED"], ["REQUEUED", "COMPLETED"], ["COMPLETED"]]


# -------------------------------------------------------------------------------------------------------------- example


def test_the_example_reaches_its_last_epoch_after_an_interruption(desk: Desk) -> None:
    """Real TensorFlow; each epoch is learnt once, whatever happened in between."""
    folder = desk.folder / "checkpoint"
    shutil.copytree(CHECKOUT / "examples" / "checkpoint", folder, ignore=shutil.ignore_patterns("*.lock.yaml"))
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, *ids())
    job = desk.submit(folder / "exp.yaml", "--set", "resources.gpus=0")
    until(lambda: len(epochs(desk, job)) > 1, 90)
    warn("alpha", job)
    go_on("alpha", job, 1)
    assert desk.ended(job) == "COMPLETED", desk.tfslurm("logs", job).stderr
    assert epochs(desk, job) == [str(epoch) for epoch in range(60)]
    metrics = json.loads(desk.out(job, "metrics.json"))
    assert (metrics["epochs"], metrics["accuracy"] > 0.95) == (60, True)
    went = [(attempt["state"], attempt["exit_code"]) for attempt in desk.record(job)["attempts"]]
    assert went == [("REQUEUED", 0), ("COMPLETED", 0)]


def epochs(desk: Desk, job: str) -> list[str]:
    """The epochs that were learnt, in the order in which they were."""
    found = list(desk.root("alpha").glob(f"runs/*/{number(job)}/out/epochs.csv"))
    return [line.partition(",")[0] for line in found[0].read_text().splitlines()[1:]] if found else []

"""TensorBoard on a node: the one of the official image's TensorFlow, for a sweep that runs."""

from __future__ import annotations

import json
import signal

from .desk import Desk, gate, open_gate, until
from .hunting import hunt
from .tensorflow import REFERENCE
from .test_jupyter import JUMP, is_open, opened
from .test_python import python

# What TensorFlow's SummaryWriter writes: `loss` is 4, 2 and 1 at the steps 0, 1 and 2.
EVENTS = (
    "GAAAAAAAAACjf0siCQAAAAAAAPA/Gg1icmFpbi5FdmVudDoyhr9XehgAAAAAAAAAo39LIgkAAAAAAAAAQCoNCgsKBGxvc3MVAACAQO0qlDwaAAAA"
    "AAAAABKb2C0JAAAAAAAACEAQASoNCgsKBGxvc3MVAAAAQOvdPRIaAAAAAAAAABKb2C0JAAAAAAAAEEAQAioNCgsKBGxvc3MVAACAP5KZtHw="
)
WRITE = f"""
mkdir -p /out/$1
echo {EVENTS} | base64 -d >/out/$1/events.out.tfevents.1.bed
"""
KNOWN = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]


def test_a_sweep_that_runs_is_seen_by_its_user_alone_under_its_parameters(desk: Desk) -> None:
    desk.describe("alpha", login={**JUMP, "port": 2201, "transport": "paramiko"})
    desk.write("src/write.sh", WRITE)
    command = f"sh write.sh train && {gate()} && sh write.sh late"
    file = desk.experiment(
        "curves",
        ["sh", "-c", command, "sh", "{{ lr }}"],
        image=REFERENCE,
        code="src",
        sweep={"grid": {"lr": [0.1, 0.2]}},
        resources={"gpus": 0, "memory": "256M"},
    )
    done = desk.tfslurm("submit", file, "--cluster", "alpha", "--json")
    assert done.returncode == 0, done.stderr
    sweep = json.loads(done.stdout)["sweep"]
    (known,) = json.loads(desk.tfslurm("status", sweep, "--json").stdout)
    points = [each["job"] for each in known["points"]]
    begun = [f"runs/*/{each.partition(':')[2]}/out/train/events*" for each in points]
    until(lambda: all(any(desk.root("alpha").glob(each)) for each in begun), 60)
    with opened(desk, "tensorboard", sweep, "--set", "resources.memory=1500M") as board:
        browser, job = board.browser, board.job
        until(lambda: len(browser.ask("/data/runs")[1]) == 4, 60)
        assert sorted(browser.ask("/data/runs")[1]) == ["lr=0.1", "lr=0.1/train", "lr=0.2", "lr=0.2/train"]
        for stranger in (type(browser)(browser.port), type(browser)(browser.port, "x" * 43)):
            assert stranger.ask("/data/runs")[0] == 403
        wanted = {"allowedStatuses": KNOWN, "colParams": [{"hparam": "lr"}], "startIndex": 0, "sliceSize": 9}
        _, told = browser.ask("/data/plugin/hparams/session_groups", wanted)
        found = {each["hparams"]["lr"]: each["metricValues"][0]["value"] for each in told["sessionGroups"]}
        assert found == {0.1: 1.0, 0.2: 1.0}
        open_gate(desk, points[0])
        until(lambda: "lr=0.1/late" in browser.ask("/data/runs")[1], 60)
        hunt(desk, job, browser.token)
        board.process.send_signal(signal.SIGINT)
        code, said = board.ends()
        assert (code, browser.token in said) == (130, False), said
    assert not is_open(browser)
    open_gate(desk, points[1])
    assert [desk.ended(each) for each in (job, *points)] == ["CANCELLED", "COMPLETED", "COMPLETED"]
    assert not any("typed" in each for each in desk.record(job)["warnings"])
    assert {f"run:{each}/out" for each in points} == {each["name"] for each in desk.record(job)["inputs"]}


def test_fetched_folders_and_jobs_of_this_machine_are_shown_here_without_slurm(desk: Desk) -> None:
    desk.write("src/write.sh", WRITE)
    file = desk.experiment(
        "curves",
        ["sh", "write.sh", "train-{{ lr }}"],
        image=REFERENCE,
        code="src",
        parameters={"lr": 0.01},
        resources={"gpus": 0, "memory": "256M"},
    )
    done = desk.tfslurm("submit", file, "--cluster", "alpha", "--set", "lr=0.1,0.2", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    sweep = json.loads(done.stdout)["sweep"]
    assert desk.tfslurm("fetch", sweep, "fetched/points").returncode == 0
    done = desk.tfslurm("run", file, "--set", "lr=0.3", cluster=None)
    assert done.returncode == 0, done.stderr
    with opened(desk, "tensorboard", "fetched/points", "local:1", cluster=None) as board:
        browser = board.browser
        assert board.job == "local:2"
        found = [f"lr={lr}/train-{lr}" for lr in (0.1, 0.2, 0.3)]
        until(lambda: len(browser.ask("/data/runs")[1]) == 6, 60)
        assert sorted(each for each in browser.ask("/data/runs")[1] if "/" in each) == found
        wanted = {"allowedStatuses": KNOWN, "colParams": [{"hparam": "lr"}], "startIndex": 0, "sliceSize": 9}
        _, told = browser.ask("/data/plugin/hparams/session_groups", wanted)
        assert sorted(each["hparams"]["lr"] for each in told["sessionGroups"]) == [0.1, 0.2, 0.3]
        assert type(browser)(browser.port, "x" * 43).ask("/data/runs")[0] == 403
        inside = desk.tfslurm("exec", board.job, "ls", "/runs", cluster=None)
        assert (inside.returncode, inside.stdout) == (0, "0\n1\n2\n"), inside.stderr
        board.process.send_signal(signal.SIGHUP)
        code, said = board.ends()
        assert (code, browser.token in said) == (130, False), said
    assert not is_open(browser)
    assert desk.tfslurm("services", "--json", cluster=None).stdout == "[]\n"
    ended = desk.record(board.job)["job"]
    assert (ended["state"], ended["exit_code"]) == ("CANCELLED", 143)


PROGRAM = """
import json, time
import tfslurm

with tfslurm.tensorboard(tfslurm.job("local:1"), settings={"resources.memory": "1G"}) as board:
    found = []
    while not found:
        time.sleep(0.5)
        found = json.loads(board.request("/data/runs").body)
    print(board.job.key, sorted(found))
print(board.job.state, board.job.record.job.exit_code)
"""


def test_a_tensorboard_from_python_ends_with_its_block(desk: Desk) -> None:
    desk.write("src/write.sh", WRITE)
    resources = {"gpus": 0, "memory": "256M"}
    file = desk.experiment("curve", ["sh", "write.sh", "train"], image=REFERENCE, code="src", resources=resources)
    assert desk.tfslurm("run", file, cluster=None).returncode == 0
    assert python(desk, PROGRAM).splitlines() == [f"local:2 ['curve-{desk.token}-1/train']", "CANCELLED 143"]

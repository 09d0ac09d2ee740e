"""tfslurm shell: a terminal in a new container, which is a job with a record."""

from __future__ import annotations

import json

from .bed import JUMP_PORT, wait_until
from .line import Line
from .terminal import Terminal, types_all_that_a_person_does
from .test_lines import Person, person

__all__ = ["person"]


def terminal(person: Person, *words: str) -> Terminal:
    desk = person.desk
    environment = {**desk.environment(None), "XDG_RUNTIME_DIR": person.runtime}
    return Terminal([desk.program, "shell", *words], desk.folder, environment)


def test_a_shell_is_a_job_of_the_experiment_that_ends_with_it_and_has_a_record(person: Person) -> None:
    desk = person.desk
    desk.set_up_podman()
    login = {"host": "127.0.0.1", "port": 2202, "proxy_jump": f"127.0.0.1:{JUMP_PORT}", "transport": "openssh"}
    desk.describe("beta", engine="podman", login=login)
    file = desk.experiment("typed", ["sh", "-c", "echo never"], env={"FOO": "bar baz"}, resources={"gpus": 1})
    with terminal(person, str(file), "--cluster", "beta") as window:
        job = window.shows("\r\nbeta:") and "beta:" + window.shows("\r\n")
        window.shows("$ ")
        pasted = types_all_that_a_person_does(window)
        window.types("echo $(nvidia-smi -L | wc -l) GPU; exit 3\n")
        window.shows("1 GPU\r\n")
        assert window.ends() == 3
        assert f"{job}: has ended with 3" in window.rest()
        assert window.now() == window.settings
    assert person.tfslurm("wait", job).returncode == 3
    record = json.loads(person.tfslurm("provenance", job, "--json").stdout)
    assert (record["job"]["state"], record["job"]["exit_code"]) == ("FAILED", 3)
    assert (record["experiment"]["command"], len(record["attempts"][0]["tasks"][0]["gpus"])) == (["tfslurm-hold"], 1)
    assert [each["path"] for each in record["experiment"]["outputs"]] == ["pasted"]
    assert (desk.run_folder(job) / "out" / "pasted").read_text() == pasted
    assert (
        "container: what ran in it was typed in a terminal (tfslurm shell), and is not known here" in record["warnings"]
    )
    again = person.tfslurm("rerun", job)
    assert (again.returncode, f"{job}: what ran was typed in a terminal" in again.stderr) == (1, True), again.stderr


def test_a_shell_that_waits_is_cancelled_by_ctrl_c_and_one_whose_line_is_lost_ends_its_job(person: Person) -> None:
    desk = person.desk
    with Line(2201) as line:
        login = {"host": "alpha-by-proxy", "port": line.port, "transport": "paramiko"}
        desk.describe("alpha", login=login)
        file = desk.experiment("lost", ["true"])
        with terminal(person, str(file), "--cluster", "alpha", "--set", "slurm.begin=now+1hour") as window:
            job = window.shows("\r\nalpha:") and "alpha:" + window.shows("\r\n")
            window.shows(f"{job} PENDING: its earliest start time has not come")
            window.types("\x03")
            assert window.ends() == 130
            assert f"{job}: cancelled" in window.rest()
        assert desk.status(job)["state"] == "CANCELLED"
        with terminal(
            person, str(file), "--cluster", "alpha", "--", "sh", "-c", "echo be''gun; exec sleep 1000"
        ) as window:
            job = "alpha:" + window.shows("\r\n").partition("alpha:")[2]
            window.shows("begun\r\n")
            line.cut()
            assert window.ends() == 1
            assert "the line was lost" in window.rest()
        desk.describe("alpha")
        assert wait_until(lambda: desk.status(job)["state"] != "RUNNING", 60)
        assert desk.status(job)["exit_code"] == 129


def test_a_shell_that_the_node_refuses_says_why_and_holds_nothing(person: Person) -> None:
    desk = person.desk
    missing = [{"source": str(desk.data("alpha") / "none"), "target": "/data"}]
    file = desk.experiment("refused", ["true"], mounts=missing)
    done = desk.tfslurm("shell", file, "--cluster", "alpha", "--", "true")
    assert (done.returncode, done.stdout) == (78, ""), done.stderr
    assert "mounts: " in done.stderr
    assert desk.jobs("alpha", "PENDING", "RUNNING") == []
    done = desk.tfslurm("shell", file, "--cluster", "alpha", "--set", "resources.nodes=2", "--", "true")
    assert (done.returncode, "a terminal is in one container" in done.stderr) == (2, True), done.stderr

"""Notebooks on a node: a real Jupyter server and kernel, by a jump host, both transports and both engines."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .bed import JUMP_PORT
from .browser import Browser
from .desk import SMALL, USER, Desk, Process, until
from .hunting import hunt
from .jupyter_image import REFERENCE, push
from .python_image import WITHOUT_PIP
from .python_image import push as push_python
from .test_python import python
from .users import run_as

ROOM = {"memory": "1G"}
UNUSED = """
import tfslurm

service = tfslurm.jupyter("unused.yaml", cluster="alpha", idle_after="2s")
answer = service.request("/api/status")
print(answer.status, b"last_activity" in answer.body)
print(service.job.wait().state)
print("nobody has used it for 2 s: it ends now" in service.job.stdout())
service.close()
with tfslurm.jupyter("with.yaml", cluster="alpha") as service:
    print(service.request("/api/contents/none").status)
print(service.job.wait().state)
"""
READS = """#!/usr/bin/python3
# A stand-in for a browser: it goes where it is led, keeps cookies, then asks for a page that only the token opens.
import http.cookiejar, os, sys, urllib.request
said = "\\n".join(sys.argv)
jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)
port = browser.open(sys.argv[1]).url.split("/")[2]
answer = browser.open("http://%s/api/status" % port)
assert "token" not in said
open("read.part", "w").write("%s %s" % (answer.status, answer.url))
os.rename("read.part", "read")
"""
JUMP = {"host": "127.0.0.1", "proxy_jump": f"127.0.0.1:{JUMP_PORT}"}


@dataclass
class Open:
    """A `tfslurm jupyter --json` that runs, once its URL is printed."""

    process: Process
    told: dict[str, str]
    browser: Browser
    said: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def job(self) -> str:
        return self.told["job"]

    def ends(self) -> tuple[int, str]:
        """Its exit code, and all that it said on stderr."""
        code = self.process.wait(60)
        self.reader.join(30)
        return code, "".join(self.said)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def says(self, words: str) -> None:
        """Wait until it has said this on stderr."""
        with self.changed:
            assert self.changed.wait_for(lambda: words in "".join(self.said), 60), self.said

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self.changed:
                self.said.append(line)
                self.changed.notify_all()


@contextmanager
def opened(desk: Desk, *words: str, cluster: str | None = None, env: dict[str, str] | None = None) -> Iterator[Open]:
    """The command, which is killed at the end if it still runs; its job is the desk's to clear."""
    process = desk.start(*words, "--json", "-vv", cluster=cluster, env=env)
    found_open: list[Open] = []
    try:
        assert process.stdout
        text = ""
        while not text.endswith("\n}\n"):
            line = process.stdout.readline()
            if not line:
                raise AssertionError(f"no URL: {process.communicate()[1][-3000:]}")
            text += line
        told = json.loads(text)
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{43})", told.get("url", ""))
        assert found, told
        found_open.append(Open(process, told, Browser(int(found[1]), found[2])))
        yield found_open[0]
    finally:
        process.kill()
        process.wait()
        if found_open:
            found_open[0].reader.join(30)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def is_open(browser: Browser) -> bool:
    try:
        browser.ask("/api")
    except OSError:
        return False
    return True


def test_a_notebook_is_reached_by_its_user_alone_and_what_it_wrote_is_fetched(desk: Desk) -> None:
    push()
    desk.describe("alpha", login={**JUMP, "port": 2201, "transport": "paramiko"})
    desk.write("src/part.py", "ANSWER = 42\n")
    file = desk.experiment("notes", ["true"], image=REFERENCE, code="src", resources={**ROOM, "gpus": 1})
    reads = desk.write("reads", READS, 0o755)
    with opened(desk, "jupyter", str(file), "--cluster", "alpha", "--open", env={"BROWSER": str(reads)}) as notebook:
        browser, job = notebook.browser, notebook.job
        assert browser.ask("/api/status")[0] == 200
        for stranger in (Browser(browser.port), Browser(browser.port, "x" * 43)):
            assert stranger.ask("/api/kernels")[0] == 403
        program = "import socket; socket.create_connection(('127.0.0.1', 8888))"
        assert "refused" in run_as("bob", ["python3", "-c", program], "alpha").stderr
        until((desk.folder / "read").exists, 60)
        assert (desk.folder / "read").read_text() == f"200 http://127.0.0.1:{browser.port}/api/status"
        kernel = browser.kernel()
        cell = "import os, part, subprocess; open('part.py', 'a').write('#'); print(part.ANSWER, os.environ['HOME'])"
        assert browser.run(kernel, cell) == "42 /out/home\n"
        assert (
            browser.run(kernel, "print(os.getuid(), subprocess.getoutput('nvidia-smi -L').count('UUID'))") == "2001 1\n"
        )
        large = "x" * 3_000_000
        saved = {"type": "file", "format": "text", "content": large}
        assert browser.ask("/api/contents/large.txt", saved, "PUT")[0] == 201
        assert browser.ask("/api/contents/large.txt")[1]["content"] == large
        hunt(desk, job, browser.token)
        notebook.process.send_signal(signal.SIGINT)
        code, said = notebook.ends()
        assert (code, f"{job}: ended; `tfslurm fetch {job}`" in said, browser.token in said) == (130, True, False), said
    assert not is_open(browser)
    assert desk.ended(job) == "CANCELLED"
    assert desk.tfslurm("fetch", job, desk.folder / "here").returncode == 0
    assert (desk.folder / "here" / "work" / "part.py").read_text() == "ANSWER = 42\n#"
    assert (desk.folder / "here" / "work" / "large.txt").read_text() == large
    record = desk.record(job)
    assert browser.token not in json.dumps(record)
    assert any("typed in a browser (tfslurm jupyter)" in each for each in record["warnings"])


def test_a_lost_way_comes_back_a_second_terminal_attaches_and_the_end_is_told(desk: Desk) -> None:
    push()
    desk.set_up_podman()
    desk.describe("beta", engine="podman", login={**JUMP, "port": 2202, "transport": "openssh"})
    open_to_all = desk.experiment("open", ["true"], image=REFERENCE, resources=ROOM)
    done = desk.tfslurm("jupyter", open_to_all, "--cluster", "beta", cluster=None)  # the bed's containers.conf: netns
    assert (done.returncode, "every user of the node could reach it; write `network: none`" in done.stderr) == (1, True)
    file = desk.experiment("kept", ["true"], image=REFERENCE, network="none", resources=ROOM)
    with opened(desk, "jupyter", str(file), "--cluster", "beta", "--idle-after", "0") as notebook:
        browser, job = notebook.browser, notebook.job
        kernel = browser.kernel()
        assert browser.run(kernel, "state = 7") == ""
        steps = run_as(USER, ["squeue", "--steps", "--noheader", f"--jobs={job[5:]}", "--format=%i %j"], "beta").stdout
        (way,) = re.findall(r"([0-9.]+) tfslurm-service-", steps)
        assert run_as(USER, ["scancel", way], "beta").returncode == 0
        notebook.says("the line was lost, and is back")
        assert browser.run(kernel, "print(state)") == "7\n"
        (listed,) = json.loads(desk.tfslurm("services", "--json", cluster=None).stdout)
        assert (listed["job"], listed["kind"], listed["state"]) == (job, "jupyter", "RUNNING")
        with opened(desk, "services", "--attach", job) as second:
            assert second.browser.run(kernel, "print(state + 1)") == "8\n"
            assert desk.tfslurm("cancel", job, cluster=None).returncode == 0
            for each in (notebook, second):
                code, said = each.ends()
                assert (code != 0, f"{job}: has ended (CANCELLED)" in said) == (True, True), said
                assert not is_open(each.browser)
    listed = run_as(USER, ["podman", "ps", "--all", "--format", "{{.Names}}"], "beta").stdout
    assert f"tfslurm-beta-{job[5:]}-" not in listed


def test_a_notebook_of_a_job_has_its_environment_and_its_outputs_read_only(desk: Desk) -> None:
    push()
    desk.write("src/part.py", "ANSWER = 42\n")
    keys = {"image": REFERENCE, "code": "src", "env": {"SEED": "{{ seed }}"}, "resources": ROOM}
    made = "import part; open('/out/model.txt', 'w').write(str(part.ANSWER))"
    file = desk.experiment("run", ["python3", "-c", made], sweep={"grid": {"seed": [3, 4]}}, **keys)
    done = desk.tfslurm("submit", file, "--cluster", "alpha", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    (known,) = json.loads(desk.tfslurm("status", json.loads(done.stdout)["sweep"], "--json").stdout)
    run = known["points"][1]["job"]
    desk.write("src/part.py", "ANSWER = 43\n")
    with opened(desk, "jupyter", run) as notebook:
        notebook.says(f"{run}: its outputs are at /job/out, read-only; yours are in /out")
        kernel = notebook.browser.kernel()
        cell = "import os, part; print(open('/job/out/model.txt').read(), part.ANSWER, os.environ['SEED'])"
        assert notebook.browser.run(kernel, cell) == "42 42 4\n"
        cell = (
            "try: open('/job/out/new', 'w')\nexcept OSError as error: print(error.errno)\nopen('/out/own', 'w').close()"
        )
        assert notebook.browser.run(kernel, cell) == "30\n"
        notebook.process.send_signal(signal.SIGINT)
        assert notebook.ends()[0] == 130
    record = desk.record(notebook.job)
    assert [each["name"] for each in record["inputs"]] == [f"run:{run}/out"]
    assert record["image"]["digest"] == desk.record(run)["image"]["digest"]


def test_a_notebook_from_python_that_nobody_uses_ends(desk: Desk) -> None:
    push()
    desk.experiment("unused", ["true"], image=REFERENCE, resources=ROOM)
    desk.experiment("with", ["true"], image=REFERENCE, resources=ROOM)
    assert python(desk, UNUSED).splitlines() == ["200 True", "COMPLETED", "True", "404", "CANCELLED"]


def test_an_image_without_jupyter_and_one_without_python_are_told_by_the_node_and_then_before_the_queue(
    desk: Desk,
) -> None:
    push_python()
    unasked = {"DOCKER_HOST": "unix:///nowhere"}  # no engine of the user's own machine has the image
    for name, image, node, early in (
        (
            "no-jupyter",
            WITHOUT_PIP,
            "the image has no Jupyter; write `packages: [jupyterlab]`",
            "has no Jupyter; write",
        ),
        ("no-python", SMALL, "the image has no python3, with which services run; name an", "has no Python, with which"),
    ):
        file = desk.experiment(name, ["true"], image=image)
        first = desk.tfslurm("jupyter", file, "--cluster", "alpha", env=unasked)
        assert (first.returncode, node in first.stderr) == (1, True), first.stderr
        jobs = desk.jobs("alpha")
        second = desk.tfslurm("jupyter", file, "--cluster", "alpha", env=unasked)
        assert (second.returncode, f"image: {image} {early}" in second.stderr) == (2, True), second.stderr
        assert desk.jobs("alpha") == jobs

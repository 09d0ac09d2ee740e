"""What a person does in a browser: real Chromium, JupyterLab, TensorFlow, TensorBoard, through a jump host."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from .browser import Browser
from .chromium import Chromium, Page
from .desk import Desk, until
from .docker import docker
from .hunting import hunt, hunt_what_is_kept
from .install import CHECKOUT
from .jupyter_image import LAB, push_lab
from .line import Line
from .test_jupyter import is_open, opened
from .users import run_as

SECRET = "not-to-be-seen-0815"
FIRST = "import tensorflow as tf; state = 41; print('TF', tf.__version__, tf.config.list_physical_devices())"
SHOWN = "TF 2.16.1 [PhysicalDevice(name='/physical_device:CPU:0', device_type='CPU')]"
ENTER, S = ("Enter", 13), ("s", 83)
ADDRESSES = "172.31.250.1", "127.0.0.2"
"Of this machine, beside the one that a forward is bound to."
PRIES = """
import os, socket, sys
places, pids = (each.split(",") for each in sys.argv[1:])
for place in places:
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 5).close()
        print(place, "is open")
    except OSError:
        pass
seen = [pid for pid in pids if os.path.exists("/proc/" + pid + "/cmdline")]
assert len(seen) > 3  # service.py, Jupyter, its kernel, the relay
for pid in seen:
    for name in "environ", "mem", "fd", "cwd/.", "root/dev/shm/tfslurm-service/token", "ns/net":
        path = "/proc/" + pid + "/" + name
        try:
            os.listdir(path) if name == "fd" else os.readlink(path) if name == "ns/net" else open(path, "rb").read()
            print(path, "is readable")
        except (PermissionError, ProcessLookupError, FileNotFoundError):
            pass
print([name for name in os.listdir("/dev/shm") if "tfslurm" in name])
"""
"What another user of the node tries."


def test_a_notebook_with_tensorflow_is_made_in_a_browser_survives_a_lost_line_and_is_fetched(desk: Desk) -> None:
    push_lab()
    with Line(2201) as line, Chromium() as chromium:
        login = {"host": "127.0.0.1", "port": 2201, "proxy_jump": f"alpha-by-proxy:{line.port}"}
        desk.describe("alpha", login={**login, "transport": "paramiko"})
        file = desk.experiment(
            "lab",
            ["true"],
            image=LAB,
            secrets=["TOKEN"],
            gpu_check="off",
            resources={"gpus": 1, "memory": "2G"},
        )
        with opened(desk, "jupyter", str(file), "--cluster", "alpha", env={"TOKEN": SECRET}) as notebook:
            job, token = notebook.job, notebook.browser.token
            page = chromium.open(notebook.told["url"])
            computes(page, desk, job)
            page.screenshot("jupyterlab")
            nobody_else_gets_in(desk, chromium, notebook.browser, job)
            with line.down():
                until(lambda: line.refused > 1, 60)
            notebook.says("the line was lost, and is back")
            types(page, "print('again', state + 1)", "again 42")
            page.screenshot("jupyterlab-after-a-lost-line")
            saves(page, desk, job, "again 42")
            hunt(desk, job, token, SECRET)
            notebook.process.send_signal(signal.SIGINT)
            code, said = notebook.ends()
            assert (code, token in said, SECRET in said) == (130, False, False), said
    assert not is_open(notebook.browser)
    desk.describe("alpha")
    assert desk.ended(job) == "CANCELLED"
    assert desk.tfslurm("fetch", job, desk.folder / "here").returncode == 0
    kept = json.loads((desk.folder / "here" / "work" / "Untitled.ipynb").read_text())
    printed = ["".join(each.get("text", "")) for cell in kept["cells"] for each in cell["outputs"]]
    assert any(SHOWN in each for each in printed) and "again 42\n" in printed
    hunt_what_is_kept(desk, job, token, SECRET)


def computes(page: Page, desk: Desk, job: str) -> None:
    """A new notebook whose first cell prints TensorFlow's version and devices; it is saved, and lies in the outputs."""
    page.clicks('.jp-LauncherCard[data-category="Notebook"]')
    page.shows("Python 3 (ipykernel) | Idle")
    types(page, FIRST, SHOWN)
    saves(page, desk, job, SHOWN)


def types(page: Page, code: str, printed: str) -> None:
    """Type code into the last cell, run it by Shift-Enter, and wait for what it prints."""
    cell = ".jp-Notebook .jp-CodeCell:last-child .cm-content"
    page.clicks(cell)
    page.waits(f"document.activeElement === document.querySelector({json.dumps(cell)})")
    page.types(code)
    page.waits(f"document.activeElement.innerText.includes({json.dumps(code)})")
    page.presses(*ENTER, shift=True)
    page.waits(
        f"[...document.querySelectorAll('.jp-OutputArea-output')].some(each => each.innerText.includes("
        f"{json.dumps(printed)}))"
    )


def saves(page: Page, desk: Desk, job: str, printed: str) -> None:
    """Ctrl-S; the first time JupyterLab asks for the file's name, and keeps it."""
    page.presses(*S, ctrl=True)
    file = desk.run_folder(job) / "out" / "work" / "Untitled.ipynb"

    def is_saved() -> bool:
        page.evaluate("document.querySelector('.jp-Dialog .jp-mod-accept')?.click()")
        try:
            return printed in json.dumps(json.loads(file.read_text()))
        except (FileNotFoundError, json.JSONDecodeError):  # it is being written
            return False

    until(is_saved, 60, page.text()[-2000:])


def nobody_else_gets_in(desk: Desk, chromium: Chromium, user: Browser, job: str) -> None:
    """Not without the token, not with a wrong one, not as another user of the node, not from another address."""
    page = chromium.open(f"http://127.0.0.1:{user.port}/lab?token={'x' * 43}", knows_nothing=True)
    page.shows("Token authentication is enabled")
    for stranger in (Browser(user.port), Browser(user.port, "x" * 43)):
        for path in ("/api/kernels", "/api/contents", "/api/sessions", "/lab/api/settings", "/files/Untitled.ipynb"):
            status, said = stranger.ask(path)
            assert status in (302, 403), (path, status, said)
    label = f"label=tfslurm.slurm_job_id={job.partition(':')[2]}"
    (container,) = docker("ps", "--quiet", "--filter", label).stdout.split()
    ip = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
    pids = docker("top", container, "-o", "pid").stdout.split()[1:]
    places = [f"{each}:{user.port}" for each in (*ADDRESSES, ip.stdout.strip())]
    places += [f"{ip.stdout.strip()}:8888", "127.0.0.1:8888"]
    done = run_as("bob", ["python3", "-c", PRIES, ",".join(places), ",".join(pids)], "alpha", groups=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert run_as("bob", ["docker", "ps"], "alpha", groups=False).returncode != 0
    assert run_as("bob", ["ls", desk.run_folder(job)], "alpha").returncode != 0


def test_tensorboard_shows_the_digits_scalars_and_a_sweeps_hparams_in_a_browser(desk: Desk) -> None:
    desk.set_up_podman()
    file = digits(desk)
    done = desk.tfslurm("submit", file, "--cluster", "beta", "--json", cluster="beta")
    assert done.returncode == 0, done.stderr
    sweep = json.loads(done.stdout)["sweep"]
    assert desk.tfslurm("wait", sweep, timeout_s=240).returncode == 0
    login = {"host": "beta-by-two-hops", "transport": "openssh"}
    desk.describe("beta", engine="podman", login=login)
    with Chromium() as chromium, opened(desk, "tensorboard", sweep, "--set", "resources.memory=1500M") as board:
        job, token = board.job, board.browser.token
        page = chromium.open(board.told["url"])
        for text in ("epoch_accuracy", "epoch_loss", "lr=0.003/logs/train", "lr=0.03/logs/train"):
            page.shows(text)
        page.screenshot("tensorboard-scalars")
        assert token not in page.evaluate("location.href")
        page.goes_to(f"http://127.0.0.1:{board.browser.port}/#hparams")
        for text in ("Hyperparameters", "lr", "0.0030000", "0.030000"):
            page.shows(text)
        page.screenshot("tensorboard-hparams")
        stranger = chromium.open(f"http://127.0.0.1:{board.browser.port}/?token={'x' * 43}", knows_nothing=True)
        stranger.shows("open the URL that tfslurm printed: it has the token")
        hunt(desk, job, token)
        board.process.send_signal(signal.SIGINT)
        code, said = board.ends()
        assert (code, token in said) == (130, False), said
    desk.describe("beta", engine="podman")
    assert desk.ended(job) == "CANCELLED"
    hunt_what_is_kept(desk, job, token)


def digits(desk: Desk) -> Path:
    """The program of examples/digits, twice, by podman."""
    desk.describe("beta", engine="podman")
    desk.write("src/train.py", (CHECKOUT / "examples" / "digits" / "train.py").read_text())
    return desk.experiment(
        "digits",
        "python train.py --epochs 2 --lr {{ lr }} --out /out",
        image="tensorflow/tensorflow:2.16.1-gpu",
        code="src",
        sweep={"grid": {"lr": [0.003, 0.03]}},
        gpu_check="off",
        resources={"gpus": 1, "memory": "2G"},
    )

"""A server in the container, as the job's program: nobody outside of the container's own network reaches it.

    service.py KIND IDLE_AFTER_S [WORD...]

KIND is jupyter, or tensorboard or serve, which WORD... are for (board.py, model_server.py). It listens on the loopback
of the container's own network. Its token is made here, in a file of this user alone in the container's own memory: it
is in no argument, variable, log or folder of the job. relay.py hands it to the user. This ends where the server ends,
where it is told to, and where nobody has used the server for IDLE_AFTER_S (0: never).

Needs nothing but Python 3.6 and later, and the server. Ends with 78 where the server is not in the image, or would be
open to others.
"""

# ruff: noqa: UP006, UP031, UP035, UP045, PTH101, PTH102, PTH104, PTH115,
# ruff: noqa: PTH112, PTH114, PTH116, PTH118, PTH123 - an image's Python may be as old as 3.6
import calendar
import http.client
import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Dict, List, Optional, Sequence

STATE = "/dev/shm/tfslurm-service"  # noqa: S108 - the container's own
TOKEN, READY, NOTICE = (os.path.join(STATE, name) for name in ("token", "ready", "notice"))
"""Which relay.py reads."""
PUBLIC = "/run/tfslurm/service.json"
NODE_NETWORK = "/run/tfslurm/node-network"
"""What the node writes: its own network's name."""
OWN_NETWORK = "/proc/self/ns/net"
WORKSPACE = "/workspace"
BOARD = "/run/tfslurm-board.py"
MODEL_SERVER = "/run/tfslurm-model_server.py"
PACKAGES = "/opt/tfslurm/packages"
HOST, PORT = "127.0.0.1", 8888
CANNOT = 78
STOPPED = 143
LOOK_S, IDLE_LOOK_S = 0.2, 10.0
WARNED_S = (600, 120)
GRACE_S = 1.0
"""For the server: less than any node gives this program (task.sh), which would be called deaf otherwise."""
STARTS_S = {"serve": 600}
"""In which a server may begin to answer, however soon one ends that nobody uses; of others STARTS_IN_S."""
STARTS_IN_S = 60
PAGES = {"jupyter": "/api/kernels", "tensorboard": "/", "serve": "/v1/models"}
"""What only the token opens."""
BEHIND_DOOR = ("tensorboard", "serve")
"""Kinds that have no token of their own: door.py is in front of them."""
CLOSED = (0, 502)
"""Statuses: nothing answers; nothing answers behind the door."""
NO_ANSWER = (OSError, ValueError, http.client.HTTPException)


class Stopped(Exception):
    """SIGTERM: scancel, or the time limit."""


class Refused(Exception):
    """Why there is no server, and what to do."""


def main(words: Sequence[str]) -> int:
    kind, idle_after_s = words[:2]
    try:
        return run(kind, int(idle_after_s), words[2:])
    except Stopped:
        return STOPPED
    except Refused as error:
        print("tfslurm: %s: %s" % (kind, error), file=sys.stderr)
        return CANNOT


def run(kind: str, idle_after_s: int, words: Sequence[str]) -> int:
    """Start the server, and stay until it ends; the exit code."""
    signal.signal(signal.SIGTERM, stop)
    refuse_network_of_node()
    outputs = os.environ["TFSLURM_OUTPUTS"]
    os.mkdir(STATE, 0o700)
    write(TOKEN, secrets.token_urlsafe(32))
    environment = dict(os.environ, HOME=made(os.path.join(outputs, "home"), 0o700))
    if kind == "tensorboard":
        work, argv = outputs, tensorboard(words)
    elif kind == "serve":
        work, argv = outputs, model_server(words)
    else:
        environment.update(jupyter_environment(environment))
        work = work_folder(outputs)
        argv = jupyter(work)
    tell(kind, idle_after_s, None)
    server = subprocess.Popen(argv, cwd=work, env=environment)
    try:
        return attend(server, kind, idle_after_s)
    except Stopped:
        return STOPPED
    finally:
        end(server)


def stop(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def refuse_network_of_node() -> None:
    """Refuse a container in the node's own network, whatever the experiment says: others reach it there."""
    try:
        with open(NODE_NETWORK) as file:
            of_node = file.read().strip()
    except OSError:
        of_node = ""
    if of_node in ("", os.readlink(OWN_NETWORK)):
        why = "the engine of this node gives containers the node's own network (`netns` in podman's containers.conf)"
        raise Refused(why + ": every user of the node could reach it; write `network: none` into exp.yaml")


def attend(server: "subprocess.Popen[bytes]", kind: str, idle_after_s: int) -> int:
    """Say when it is ready, then wait for its end, or for the time when nobody has used it for too long."""
    is_ready, looked, used, warned = False, 0.0, time.time(), 0
    while True:
        code = server.poll()
        if code is not None:
            print("tfslurm: %s: has ended with %s" % (kind, code), flush=True)
            return code if code >= 0 else 128 - code
        if not is_ready and has_begun(kind):
            check_token(read_token(), path=PAGES[kind])
            is_ready, used = True, time.time()
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            write(READY, moment)
            tell(kind, idle_after_s, moment)
        if idle_after_s and time.monotonic() - looked > min(IDLE_LOOK_S, idle_after_s / 4):
            looked, used = time.monotonic(), max(used, last_used(kind) if is_ready else 0.0)
            patience_s = idle_after_s if is_ready else max(idle_after_s, STARTS_S.get(kind, STARTS_IN_S))
            left = used + patience_s - time.time()
            if left <= 0:
                what = "nobody has used it" if is_ready else "it has not answered"
                notice("%s for %s: it ends now" % (what, words_for(patience_s)))
                time.sleep(2)  # `connect` looks once a second
                return 0 if is_ready else 1
            warned = warn(left, idle_after_s, warned)
        time.sleep(LOOK_S)


def warn(left: float, idle_after_s: int, warned: int) -> int:
    """Say once for each of WARNED_S that it will end; how many of them are past."""
    past = sum(left <= each < idle_after_s for each in WARNED_S)
    if past > warned:
        notice("nobody uses it: it ends in %s" % words_for(int(left)))
    return past


def words_for(seconds: int) -> str:
    return "%d min" % (seconds // 60) if seconds >= 60 else "%d s" % seconds


def end(server: "subprocess.Popen[bytes]") -> None:
    """End the server, which ends its kernels; what is left then ends with the container."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def tensorboard(words: Sequence[str]) -> List[str]:
    """The command of TensorBoard, behind the door that asks for the token."""
    if not importlib.util.find_spec("tensorboard"):
        raise Refused(
            "the image has no TensorBoard; `packages: [tensorboard]` in exp.yaml gives it to the next run; "
            "for this one, `tfslurm fetch` its outputs, then `tfslurm tensorboard FOLDER --set image=IMAGE`"
        )
    return [sys.executable, BOARD, *words]


def model_server(words: Sequence[str]) -> List[str]:
    """The command of the model server, behind the same door."""
    if not importlib.util.find_spec("tensorflow"):
        raise Refused("the image has no TensorFlow for its python3; name a run whose image has it")
    return [sys.executable, MODEL_SERVER, *words]


def jupyter(work: str) -> List[str]:
    """The command of JupyterLab, or of what the image has of it."""
    modules = [name for name in ("jupyterlab", "notebook", "jupyter_server") if importlib.util.find_spec(name)]
    if not modules:
        raise Refused(
            "the image has no Jupyter; write `packages: [jupyterlab]` into exp.yaml, or name an image that has it, "
            "such as the -jupyter variant of an official one"
        )
    part = "ServerApp" if importlib.util.find_spec("jupyter_server") else "NotebookApp"
    settings = {"ip": HOST, "port": PORT, "port_retries": 0, "open_browser": False}
    settings["root_dir" if part == "ServerApp" else "notebook_dir"] = work
    return [sys.executable, "-m", modules[0], *("--%s.%s=%s" % (part, key, value) for key, value in settings.items())]


def jupyter_environment(environment: Dict[str, str]) -> Dict[str, str]:
    """Where Jupyter finds the token, writes what is for this run alone, and finds what came as packages."""
    found = {"JUPYTER_TOKEN_FILE": TOKEN, "JUPYTER_RUNTIME_DIR": made(os.path.join(STATE, "runtime"), 0o700)}
    environment.pop("JUPYTER_TOKEN", None)
    lab = os.path.join(PACKAGES, "share", "jupyter", "lab")
    if os.path.isdir(lab):
        found["JUPYTERLAB_DIR"] = lab
    for name, folder in (("JUPYTER_PATH", "share/jupyter"), ("JUPYTER_CONFIG_PATH", "etc/jupyter")):
        place = os.path.join(PACKAGES, folder)
        if os.path.isdir(place):
            found[name] = os.pathsep.join(filter(None, (environment.get(name), place)))
    return found


def work_folder(outputs: str) -> str:
    """The folder of the notebooks: a copy of the code, kept in the outputs. A second attempt finds the first one's."""
    work = os.path.join(outputs, "work")
    if os.path.isdir(work):
        return work
    if not os.path.isdir(WORKSPACE):
        return made(work, 0o755)
    part = work + ".part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(WORKSPACE, part, symlinks=True)
    for folder, _, files in os.walk(part):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode | 0o200)
    os.rename(part, work)
    return work


def has_begun(kind: str) -> bool:
    """Whether the server answers, be it with a refusal; a door does so before what is behind it."""
    if kind in BEHIND_DOOR:
        return answered(PAGES[kind], read_token()) not in CLOSED
    return answered("/api") != 0


def last_used(kind: str) -> float:
    """When the server was last used, in seconds since 1970: now, where a kernel computes; 0 where nothing says it."""
    try:
        if kind in BEHIND_DOOR:
            return os.stat(os.path.join(STATE, "used")).st_mtime
        kernels = json.loads(asked("/api/kernels?no_track_activity=1", read_token()))
        if any(each.get("execution_state") == "busy" for each in kernels):
            return time.time()
        moment = json.loads(asked("/api/status?no_track_activity=1", read_token()))["last_activity"]
        return float(calendar.timegm(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")))
    except (*NO_ANSWER, AttributeError, KeyError, TypeError):
        return 0.0


def check_token(token: str, port: int = PORT, path: str = PAGES["jupyter"]) -> None:
    """Refuse a server that lets anybody in, or not the one who has the token."""
    if answered(path, "", port) not in (401, 403):
        raise Refused("it asks for no token: settings of the image say so; remove them from the image")
    if answered(path, token, port) != 200:
        raise Refused(
            "it does not take its token: it needs jupyter_server 1.6 or notebook 6.1, and no token of the image's"
        )


def answered(path: str, token: str = "", port: int = PORT) -> int:
    """The status that the server answers; 0 where it does not."""
    try:
        asked(path, token, port)
    except urllib.error.HTTPError as error:
        return error.code
    except NO_ANSWER:
        return 0
    return 200


def asked(path: str, token: str, port: int = PORT) -> bytes:
    """What the server answers; no proxy of the image's is between."""
    headers = {"Authorization": "token " + token} if token else {}
    request = urllib.request.Request("http://%s:%d%s" % (HOST, port, path), headers=headers)  # noqa: S310
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=5) as answer:
        return bytes(answer.read(2**20))


def read_token() -> str:
    with open(TOKEN) as file:
        return file.read()


def tell(kind: str, idle_after_s: int, ready_at: Optional[str]) -> None:
    """Write what `tfslurm services` reads."""
    told = {"schema": "tfslurm.service/1", "kind": kind, "idle_after_s": idle_after_s, "ready_at": ready_at}
    write(PUBLIC, json.dumps(told) + "\n")


def notice(text: str) -> None:
    """Say something to the log, and to whoever is connected."""
    print("tfslurm: " + text, flush=True)
    write(NOTICE, text)


def write(path: str, text: str) -> None:
    """Write a file of this user alone, whole or not at all."""
    part = path + ".part"
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.rename(part, path)


def made(folder: str, mode: int) -> str:
    """The folder, which is made where it is missing."""
    if not os.path.isdir(folder):
        os.mkdir(folder, mode)
    return folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The bed's own Docker daemon: its containerd, bridge, socket and data, apart from any other on the host."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
from pathlib import Path

from . import daemons
from .bed import (
    BED,
    CONF,
    DOCKER_HOST,
    DOCKER_SOCKET,
    LOG,
    RUN,
    SYSTEM_PATH,
    BedError,
    conf_text,
    say,
    write_if_changed,
)
from .daemons import Daemon
from .gpus import HOOK_DIR

BRIDGE = "tfbed0"
BRIDGE_ADDRESS = "172.31.250.1/24"
_CONTAINERD_SOCKET = RUN / "containerd" / "containerd.sock"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over the daemon's socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(DOCKER_SOCKET))


def api(method: str, path: str, timeout_s: float = 5.0) -> tuple[int, bytes]:
    """The status and body of one request to the daemon; status 0 when it does not answer."""
    connection = _UnixConnection("docker", timeout=timeout_s)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def docker(*arguments: str, timeout_s: float = 300.0, input: str = "") -> subprocess.CompletedProcess[str]:
    """What the docker client gave, run as root against the bed's daemon."""
    environment = {"PATH": SYSTEM_PATH, "DOCKER_HOST": DOCKER_HOST, "HOME": "/root"}
    words = ["docker", *arguments]
    return subprocess.run(words, env=environment, input=input, capture_output=True, text=True, timeout=timeout_s)


def containerd() -> Daemon:
    """The daemon that runs the containers; one of our own, for dockerd would share the host's."""
    text = conf_text("containerd.toml", bed=BED, run=RUN)
    path = CONF / "containerd.toml"
    write_if_changed(path, text)
    return Daemon(
        "containerd",
        ("/usr/bin/containerd", "--config", str(path)),
        lambda: _connects(_CONTAINERD_SOCKET),
        texts=(text,),
        stale=(_CONTAINERD_SOCKET, _CONTAINERD_SOCKET.with_name("containerd.sock.ttrpc")),
    )


def dockerd() -> Daemon:
    """The Docker daemon, with the hook stand-in in its PATH. It is restarted when its containerd was."""
    _make_bridge()
    path = CONF / "daemon.json"
    write_if_changed(path, "{}\n")
    argv = (
        "/usr/sbin/dockerd",
        f"--config-file={path}",
        f"--data-root={BED}/docker",
        f"--exec-root={RUN}/docker",
        f"--pidfile={RUN}/dockerd.pid",
        f"--containerd={_CONTAINERD_SOCKET}",
        f"--host={DOCKER_HOST}",
        "--group=docker",
        f"--bridge={BRIDGE}",
        f"--iptables={'true' if _iptables_work() else 'false'}",
    )
    served_by = str(daemons.running("containerd"))
    return Daemon(
        "dockerd",
        argv,
        lambda: api("GET", "/_ping")[0] == 200,
        env={"PATH": f"{HOOK_DIR}:{SYSTEM_PATH}"},
        texts=(served_by,),
        stale=(RUN / "dockerd.pid", DOCKER_SOCKET),
        patience_s=60,
    )


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _make_bridge() -> None:
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        return
    for words in (
        f"link add {BRIDGE} type bridge",
        f"address add {BRIDGE_ADDRESS} dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ):
        done = subprocess.run(["ip", *words.split()], capture_output=True, text=True)
        if done.returncode:
            raise BedError(f"docker: `ip {words}` failed: {done.stderr.strip()}; this kernel may have no bridges")


def _iptables_work() -> bool:
    probe = ["iptables", "--wait", "--table", "nat", "--list", "--numeric"]
    return subprocess.run(probe, capture_output=True, env={"PATH": SYSTEM_PATH}).returncode == 0


def bury() -> None:
    """Kills the containers of a daemon that crashed: the next one would wait ten seconds for each."""
    if daemons.running("dockerd") is None:
        named = [(pid, Path(f"/proc/{pid}/comm")) for pid in daemons.marked()]
        daemons.kill(pid for pid, comm in named if comm.exists() and comm.read_text().startswith("containerd-shim"))


def remove_containers() -> None:
    """Removes all, so that stopping the daemon does not wait for programs that ignore SIGTERM."""
    status, body = api("GET", "/containers/json?all=true")
    for container in json.loads(body) if status == 200 else []:
        api("DELETE", f"/containers/{container['Id']}?force=true&v=true", timeout_s=30)


def clean() -> None:
    """After the daemons have ended: unmounts what they left under the bed, and removes the bridge."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in reversed([path for path in mounts if path.startswith(f"{BED}/")]):
        done = subprocess.run(["umount", "--lazy", path], capture_output=True, text=True)
        if done.returncode:
            say(f"docker: {path} stays mounted: {done.stderr.strip()}")
    for name in ("containerd", "docker"):
        shutil.rmtree(RUN / name, ignore_errors=True)
    if Path(f"/sys/class/net/{BRIDGE}").exists():
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)
        rule = f"-t nat -D POSTROUTING -s {BRIDGE_ADDRESS.replace('.1/', '.0/')} ! -o {BRIDGE} -j MASQUERADE"
        with contextlib.suppress(OSError):
            subprocess.run(["iptables", "--wait", *rule.split()], capture_output=True, env={"PATH": SYSTEM_PATH})


def purge() -> None:
    """Removes the daemon's data; plain removal fails where a mount or an immutable file was left."""
    for folder in (BED / "docker", BED / "containerd"):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists() and any(folder.iterdir()):
            raise BedError(f"docker: {folder} cannot be removed: something in {LOG.parent} is still mounted or in use")

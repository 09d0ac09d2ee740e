"""The same host over paramiko and over OpenSSH, against a real sshd of our own; and the test bed's login nodes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import paramiko
import pytest

from tfslurm.cluster import Cluster, Login
from tfslurm.errors import CommandFailed, HostError, TooMuchOutput
from tfslurm.host import File, Host, get, open_host, put, put_tree, read_from
from tfslurm.host.known_hosts import Place, fingerprint, known_keys, verify
from tfslurm.host.openssh import OpenSshHost, runtime_folder
from tfslurm.host.paramiko import ParamikoHost
from tfslurm.snapshot import take

from .bed import OTP_PORT, wait_until
from .login import next_code

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin")
BED_HOME = Path("/var/tmp/tfslurm-bed/home/alice")
USER = os.environ.get("USER") or "root" if os.geteuid() == 0 else os.environ["USER"]


@dataclass
class Server:
    """A running sshd, and the home folder of somebody whom it lets in."""

    port: int
    home: Path
    host_key: str
    log: list[str] = field(default_factory=list)

    def login(self, host: str = "127.0.0.1", **more: str) -> Login:
        return Login(host=host, user=USER, port=self.port, **more)

    def configure(self, text: str) -> None:
        """Write ~/.ssh/config; the identity is always named, because OpenSSH takes ~ from the password file."""
        ssh = self.home / ".ssh"
        always = f"Host *\n IdentityFile {ssh}/id_ed25519\n UserKnownHostsFile {ssh}/known_hosts\n IdentityAgent none\n"
        (ssh / "config").write_text(text + "\n" + always)

    def know(self, key: str, name: str = "") -> None:
        (self.home / ".ssh" / "known_hosts").write_text(f"{name or f'[127.0.0.1]:{self.port}'} {key}\n")


def keygen(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "", "-f", str(path)], check=True)
    return Path(f"{path}.pub").read_text().strip()


@contextmanager
def running_sshd(folder: Path, *settings: str) -> Iterator[Server]:
    ssh = folder / "home" / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    host_key = keygen(folder / "host_key")
    (folder / "authorized").write_text(keygen(ssh / "id_ed25519") + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = [f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder}/host_key", "PidFile none", "StrictModes no"]
    lines += [f"AuthorizedKeysFile {folder}/authorized", "PermitRootLogin yes", "UsePAM no", "LogLevel VERBOSE"]
    lines += ["PasswordAuthentication no", "KbdInteractiveAuthentication no", "MaxStartups 100", *settings]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    server = Server(port, folder / "home", host_key)
    command = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        ready = threading.Event()
        reader = threading.Thread(target=follow, args=(process, server.log, ready))
        reader.start()
        assert ready.wait(20), server.log
        try:
            server.know(host_key)
            server.configure("")
            yield server
        finally:
            subprocess.run(["pkill", "-KILL", "-P", str(process.pid)], check=False)  # sessions, which hold stderr open
            process.terminate()
            process.wait()
            reader.join()


def follow(process: subprocess.Popen[str], log: list[str], ready: threading.Event) -> None:
    assert process.stderr
    for line in process.stderr:
        log.append(line)
        if "Server listening" in line:
            ready.set()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Server]:
    with running_sshd(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder for sockets; shared connections that stay there are closed."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="tfs") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)
        for path in (Path(folder) / "tfslurm").glob("*"):
            subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "x"], capture_output=True, check=False)


Connect = Callable[..., Host]


@pytest.fixture(params=["paramiko", "openssh"])
def connect(request: pytest.FixtureRequest, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Open a host one way and the other."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with ExitStack() as opened:

        def open_it(server: Server, login: Login | None = None, environment: dict[str, str] | None = None) -> Host:
            wanted = login or server.login()
            if request.param == "paramiko":
                return opened.enter_context(ParamikoHost("alpha", wanted, environment, home=server.home))
            return OpenSshHost("alpha", wanted, environment, config=f"{server.home}/.ssh/config")

        yield open_it


# --- commands


def test_words_output_and_exit_codes_cross_the_line(sshd: Server, connect: Connect) -> None:
    host = connect(sshd, environment={"SLURM_CONF": "/etc/a b"})
    words = ["", "a b", "'", '"$HOME"', "\\", "é", "line\nbreak", "!x"]
    script = "import sys, os; print(sys.argv[1:], os.environ['SLURM_CONF'])"
    assert host.run([sys.executable, "-c", script, *words]).stdout == f"{words} /etc/a b\n"
    done = host.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.exit_code, done.stdout, done.stderr, done.host) == (7, "out\n", "err\n", "alpha")
    assert host.run(["sh", "-c", "exit 255"]).exit_code == 255
    assert host.run(["sh", "-c", "kill -KILL $$"]).exit_code == 137
    with pytest.raises(CommandFailed, match="alpha: false: exit 1"):
        host.run_bytes(["false"])


def test_three_megabytes_each_way_do_not_deadlock(sshd: Server, connect: Connect) -> None:
    script = "import sys; data = sys.stdin.buffer.read(); sys.stderr.buffer.write(data); sys.stdout.buffer.write(data)"
    done = connect(sshd).run([sys.executable, "-c", script], input=b"x" * 3_000_000)
    assert (done.exit_code, len(done.stdout), len(done.stderr)) == (0, 3_000_000, 3_000_000)


def test_stdin_is_empty_and_unread_input_is_no_error(sshd: Server, connect: Connect) -> None:
    host = connect(sshd)
    assert host.run(["cat"]).stdout == ""
    assert host.run(["sh", "-c", "exit 4"], input=bytes(2**23)).exit_code == 4


def test_a_missing_program_names_the_machine_and_the_mend(sshd: Server, connect: Connect) -> None:
    with pytest.raises(HostError, match=r"alpha: 'sbatchh' is not a program there .*slurm_bin: /opt/slurm/bin"):
        connect(sshd).run(["sbatchh"])


def test_what_does_not_end_is_given_up_and_ends_there_too(sshd: Server, connect: Connect, tmp_path: Path) -> None:
    host = connect(sshd)
    lock = str(tmp_path / "lock")
    with pytest.raises(HostError, match=r"did not end within 0\.5 s") as caught:
        host.run(["flock", lock, "sleep", "100"], timeout_s=0.5)
    assert caught.value.transient
    assert host.run(["flock", "--timeout=20", lock, "true"]).exit_code == 0


@pytest.mark.parametrize("script", ["exec yes", "exec yes >&2", "trap '' PIPE; exec yes"])
def test_what_prints_without_end_is_killed_at_once_and_ends_there_too(
    sshd: Server, connect: Connect, tmp_path: Path, script: str
) -> None:
    host, lock, began = connect(sshd), str(tmp_path / "lock"), time.monotonic()
    with pytest.raises(TooMuchOutput, match=r"^alpha: flock .*: printed more than [14] MiB on std.* and was killed; "):
        host.run(["flock", lock, "sh", "-c", script], timeout_s=100, max_bytes=2**20)
    assert host.run(["flock", "--timeout=20", lock, "true"]).exit_code == 0
    assert time.monotonic() - began < 30, "the command's own time was waited for"


def test_start_up_files_that_print_without_end_fill_neither_memory_nor_disk(tmp_path: Path, connect: Connect) -> None:
    # Of that one shell alone: in a script that a start-up file runs with its stderr closed it would never end.
    (tmp_path / "noise").write_text('[ -z "${BASH_EXECUTION_STRING-}" ] || yes Welcome >&2\n')
    too_much = pytest.raises(TooMuchOutput, match=r"^alpha: .*: printed more than 4 MiB on stderr")
    with running_sshd(tmp_path / "sshd", f"SetEnv BASH_ENV={tmp_path}/noise") as server, too_much:
        connect(server).run(["true"], timeout_s=100)


def test_a_lost_line_is_an_error_and_not_an_exit_code(sshd: Server, connect: Connect) -> None:
    host = connect(sshd)
    kill = "p=$$; while [ \"$(cat /proc/$p/comm)\" != sshd ]; do p=$(ps -o ppid= -p $p | tr -d ' '); done; kill -9 $p"
    with pytest.raises(HostError, match="the line was lost") as caught:
        host.run(["sh", "-c", f"{kill}; sleep 5"])
    assert caught.value.transient
    assert host.run(["echo", "again"]).stdout == "again\n"


def test_banners_and_noisy_start_up_files_are_not_the_output(tmp_path: Path, connect: Connect) -> None:
    (tmp_path / "banner").write_text("*** Authorised users only ***\n")
    (tmp_path / "noise").write_text("echo Welcome to alpha; echo Quota: 90 % >&2\n")
    with running_sshd(tmp_path / "sshd", f"Banner {tmp_path}/banner", f"SetEnv BASH_ENV={tmp_path}/noise") as server:
        host = connect(server)
        assert host.run(["echo", "1234"]).stdout == "1234\n"
        target = PurePosixPath(tmp_path, "run")
        put(host, target, {"a": File(b"a")})
        assert get(host, target) == {"a": b"a"}


def test_an_account_without_a_shell_says_so(tmp_path: Path, connect: Connect) -> None:
    with running_sshd(tmp_path / "sshd", "ForceCommand echo 'account expired'; exit 1") as server:
        host = connect(server)
        with pytest.raises(HostError, match=r"login shell there did not start 'id'.*account expired"):
            host.run(["id"])


def test_files_and_code_cross_the_line(sshd: Server, connect: Connect, tmp_path: Path) -> None:
    host = connect(sshd)
    files = {"job.sbatch": b"#!/bin/bash\n", "deep/é\n": bytes(range(256)) * 9000}
    put(host, PurePosixPath(tmp_path, "root", "run"), {name: File(content) for name, content in files.items()})
    assert get(host, PurePosixPath(tmp_path, "root", "run")) == files
    assert read_from(host, PurePosixPath(tmp_path, "root", "run", "job.sbatch"), 2, 4) == b"/bin"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("print(1)\n")
    (tmp_path / "code" / "weights").write_bytes(os.urandom(5_000_000))
    snapshot = take(tmp_path / "code")
    target = PurePosixPath(tmp_path, "root", "code", snapshot.tree)
    assert put_tree(host, target, files=2, bytes=snapshot.bytes, stream=snapshot.stream())
    assert not put_tree(host, target, files=2, bytes=snapshot.bytes, stream=snapshot.stream())
    assert take(Path(target)).tree == snapshot.tree


def test_many_commands_at_once_share_one_connection(sshd: Server, connect: Connect) -> None:
    host = connect(sshd)
    said: list[str] = []
    threads = [threading.Thread(target=lambda: said.append(host.run(["echo", "x"]).stdout)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["x\n"] * 12


# --- host keys


def test_an_unknown_host_key_is_refused_and_never_added(sshd: Server, connect: Connect) -> None:
    known = sshd.home / ".ssh" / "known_hosts"
    known.write_text("")
    scan = rf"host key.* is unknown .*ssh-keyscan -p {sshd.port} 127\.0\.0\.1 >>"
    with pytest.raises(HostError, match=scan) as caught:
        connect(sshd)
    assert not caught.value.transient
    assert known.read_text() == ""


def test_a_changed_host_key_is_refused(sshd: Server, connect: Connect, tmp_path: Path) -> None:
    sshd.know(keygen(tmp_path / "other"))
    with pytest.raises(HostError, match=rf"its host key CHANGED.*ssh-keygen -R '\[127\.0\.0\.1\]:{sshd.port}'"):
        connect(sshd)


@pytest.mark.parametrize("how", ["by name", "for all", "hashed", "before it was known", "RevokedHostKeys"])
def test_a_revoked_host_key_is_called_revoked_and_nobody_is_told_to_trust_it(
    sshd: Server, connect: Connect, how: str
) -> None:
    known = sshd.home / ".ssh" / "known_hosts"
    line = f"@revoked {'*' if how == 'for all' else f'[127.0.0.1]:{sshd.port}'} {sshd.host_key}\n"
    if how == "RevokedHostKeys":
        (sshd.home / ".ssh" / "revoked").write_text(sshd.host_key + "\n")
        sshd.configure(f"RevokedHostKeys {sshd.home}/.ssh/revoked")
    else:
        known.write_text(line if how == "before it was known" else known.read_text() + line)
    if how == "hashed":
        hashed = known_hash(f"[127.0.0.1]:{sshd.port}")
        known.write_text(f"{hashed} {sshd.host_key}\n@revoked {hashed} {sshd.host_key}\n")
    with pytest.raises(HostError, match=r"host key.* is REVOKED.*ask the cluster's administrators") as caught:
        connect(sshd)
    assert not caught.value.transient
    assert "ssh-key" not in str(caught.value)


def known_hash(name: str) -> str:
    """A name as `ssh-keygen -H` writes it: it leaves lines with markers alone."""
    digest = hmac.new(b"salt" * 5, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(b'salt' * 5).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("how", ["hashed", "pattern", "without port", "alias"])
def test_a_host_is_known_in_every_way_that_openssh_knows(sshd: Server, connect: Connect, how: str) -> None:
    names = {"pattern": f"*.example,[127.0.0.?]:{sshd.port}", "without port": "127.0.0.1", "alias": "login.alpha"}
    sshd.know(sshd.host_key, names.get(how, ""))
    known = sshd.home / ".ssh" / "known_hosts"
    if how == "hashed":
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], capture_output=True, check=True)
        assert known.read_text().startswith("|1|")
    if how == "alias":
        sshd.configure("Host 127.0.0.1\n HostKeyAlias login.alpha\n")
    assert connect(sshd).run(["echo", "in"]).stdout == "in\n"


def test_a_key_of_a_known_kind_is_asked_for_first(tmp_path: Path, connect: Connect) -> None:
    rsa = keygen(tmp_path / "rsa", "rsa")
    with running_sshd(tmp_path / "sshd", f"HostKey {tmp_path}/rsa") as server:
        server.know(rsa)
        assert connect(server).run(["echo", "in"]).stdout == "in\n"


def test_known_hosts_lines_are_read_as_sshd_describes_them() -> None:
    key = "ssh-ed25519 AAAA"
    text = f"# note\n!bad.example,*.example {key}\n@cert-authority *.ca {key}\n[h]:2222 {key} comment\n"
    text += "broken\nh ssh-rsa !!\n"
    assert [known.line for known in known_keys(text, "f", "a.example", 22)] == [2]
    assert known_keys(text, "f", "bad.example", 22) == ()
    assert known_keys(text, "f", "x.ca", 22)[0].marker == "@cert-authority"
    assert [known.line for known in known_keys(text, "f", "h", 2222)] == [4]
    assert known_keys(text, "f", "h", 22) == ()


def test_a_key_is_wanted_of_this_machine_too(sshd: Server, connect: Connect) -> None:
    sshd.know(sshd.host_key, "elsewhere")
    sshd.configure("Host *\n NoHostAuthenticationForLocalhost yes\n")
    with pytest.raises(HostError, match="is unknown and is never added unasked"):
        connect(sshd)


def test_the_users_agent_is_not_lent_to_the_machine(
    sshd: Server, connect: Connect, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster file names it, and whoever is root there could use every key."""
    sshd.configure("Host *\n ForwardAgent yes\n ForwardX11 yes\n")
    agent = f"{runtime}/agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL) as process:
        try:
            assert wait_until(lambda: Path(agent).exists(), 20)
            monkeypatch.setenv("SSH_AUTH_SOCK", agent)
            monkeypatch.setenv("DISPLAY", ":9")
            assert connect(sshd).run(["sh", "-c", "echo /$SSH_AUTH_SOCK/$DISPLAY/"]).stdout == "///\n"
        finally:
            process.terminate()


def test_a_key_that_the_port_is_known_by_stands_before_one_of_another_port() -> None:
    """Whoever has the key of `h` could else answer for `[h]:2222`, as which a second sshd has a key of its own."""
    keys = {name: base64.b64encode(name.encode()).decode() for name in "ABCD"}
    lines = [f"[h]:2222 ssh-ed25519 {keys['A']}", f"h ssh-ed25519 {keys['B']}", f"h ssh-rsa {keys['C']}"]
    for text in ("\n".join(lines), "\n".join(reversed(lines))):
        known = known_keys(f"{text}\n@revoked h ssh-ed25519 {keys['D']}\n", "f", "h", 2222)
        verify(Place("alpha", "h", 2222), "ssh-ed25519", b"A", known)
        verify(Place("alpha", "h", 2222), "ssh-rsa", b"C", known)
        for blob, why in ((b"B", "CHANGED"), (b"D", "REVOKED")):
            with pytest.raises(HostError, match=why):
                verify(Place("alpha", "h", 2222), "ssh-ed25519", blob, known)


def test_a_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    blob = paramiko.PKey.from_path(tmp_path / "k").asbytes() if keygen(tmp_path / "k") else b""
    shown = subprocess.run(["ssh-keygen", "-l", "-f", str(tmp_path / "k")], capture_output=True, text=True, check=True)
    assert fingerprint(blob) in shown.stdout


# --- the way there


def test_nobody_listening_is_transient(sshd: Server, connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(HostError, match=r"alpha: .*127\.0\.0\.1.*cannot be reached.*refused") as caught:
        connect(sshd, Login(host="127.0.0.1", user=USER, port=port))
    assert caught.value.transient


def test_a_name_without_an_address_is_to_be_corrected(sshd: Server) -> None:
    login = Login(host="nowhere.invalid", user=USER)
    with pytest.raises(HostError, match="correct `host` or"), ParamikoHost("alpha", login, home=sshd.home):
        pass


def test_an_alias_of_the_ssh_config_is_enough(sshd: Server, connect: Connect) -> None:
    (sshd.home / ".ssh" / "more").write_text(f"Host alpha\n HostName 127.0.0.1\n Port {sshd.port}\n User {USER}\n")
    sshd.configure(f"Include {sshd.home}/.ssh/mor?\nHost other\n User nobody\n")
    assert connect(sshd, Login(host="alpha")).run(["echo", "in"]).stdout == "in\n"


@pytest.mark.parametrize("where", ["cluster file", "ssh config"])
def test_two_jumps_lead_there(sshd: Server, connect: Connect, where: str) -> None:
    aliases = "".join(
        f"Host {name}\n HostName 127.0.0.1\n Port {sshd.port}\n User {USER}\n{more}"
        for name, more in (("first", ""), ("second", ""), ("inner", " ProxyJump first,second\n"))
    )
    sshd.configure(aliases)
    jumps = f"first,{USER}@second:{sshd.port}"
    host = connect(sshd, Login(host="inner") if where == "ssh config" else sshd.login(proxy_jump=jumps))
    assert host.run(["echo", "in"]).stdout == "in\n"
    assert wait_until(lambda: logins(sshd) >= 3, 20)  # the log comes a little later
    assert logins(sshd) == 3


@pytest.mark.parametrize("mind", ["accept-new", "no", "ask"])
def test_a_jump_whose_key_is_unknown_or_changed_is_not_passed(
    mind: str, sshd: Server, connect: Connect, tmp_path: Path
) -> None:
    """Whatever the user's own settings make of such keys: the cluster file names the jump."""
    with running_sshd(tmp_path / "jump") as jump:
        mine = (tmp_path / "sshd" / "authorized").read_text()
        (tmp_path / "jump" / "authorized").write_text(mine)
        sshd.configure(f"Host *\n StrictHostKeyChecking {mind}\n")
        known = sshd.home / ".ssh" / "known_hosts"
        only = known.read_text()
        another = f"[127.0.0.1]:{jump.port} {keygen(tmp_path / 'another')}\n"
        for text in (only, only + another):
            known.write_text(text)
            with pytest.raises(HostError):
                connect(sshd, sshd.login(proxy_jump=f"{USER}@127.0.0.1:{jump.port}"))
            assert known.read_text() == text
        known.write_text(f"{only}[127.0.0.1]:{jump.port} {jump.host_key}\n")
        host = connect(sshd, sshd.login(proxy_jump=f"{USER}@127.0.0.1:{jump.port}"))
        assert host.run(["echo", "in"]).stdout == "in\n"


def test_a_line_whose_jump_has_gone_is_closed_without_a_word(
    sshd: Server, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paramiko tells the jump that a line through it ends, which it cannot do to one that is no longer there."""
    close = paramiko.Channel.close

    def gone(channel: paramiko.Channel) -> None:
        close(channel)
        if channel.get_transport() is not last and threading.current_thread() is threading.main_thread():
            raise EOFError

    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with ParamikoHost("alpha", sshd.login(proxy_jump=f"{USER}@127.0.0.1:{sshd.port}"), home=sshd.home) as host:
        assert host.run(["echo", "in"]).stdout == "in\n"
        last = host._line
        monkeypatch.setattr(paramiko.Channel, "close", gone)


def logins(sshd: Server) -> int:
    return sum("Accepted publickey" in line for line in sshd.log)


def test_a_match_exec_of_ssh_config_is_run(sshd: Server, connect: Connect) -> None:
    sshd.configure(f"Match host inner exec true\n HostName 127.0.0.1\n Port {sshd.port}\n User {USER}\n")
    assert connect(sshd, Login(host="inner")).run(["echo", "in"]).stdout == "in\n"


def test_a_proxy_command_leads_there(sshd: Server, connect: Connect) -> None:
    config = sshd.home / ".ssh" / "config"
    place = f" HostName 127.0.0.1\n Port {sshd.port}\n User {USER}\n"
    sshd.configure(f"Host via\n{place}Host inner\n{place} ProxyCommand ssh -F {config} -W %h:%p via\n")
    assert connect(sshd, Login(host="inner")).run(["echo", "in"]).stdout == "in\n"


def test_open_host_takes_the_users_own_settings(sshd: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(sshd.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    cluster = Cluster("alpha", PurePosixPath("/x"), login=sshd.login(), environment={"SLURM_CONF": "/s"})
    with open_host(cluster) as host:
        assert (host.name, host.run(["sh", "-c", "echo $SLURM_CONF"]).stdout) == ("alpha", "/s\n")


# --- keys and questions


def test_a_key_that_is_not_accepted_is_named(sshd: Server, connect: Connect) -> None:
    (sshd.home / ".ssh" / "id_ed25519").unlink()
    keygen(sshd.home / ".ssh" / "id_ed25519")
    with pytest.raises(HostError, match=r"not let in: .*(id_ed25519|Permission denied).*ssh-add") as caught:
        connect(sshd)
    assert not caught.value.transient
    said = str(caught.value)
    assert "Permission denied" in said or said.endswith(f"try: ssh -p {sshd.port} {USER}@127.0.0.1")


def test_an_agent_opens_what_an_encrypted_file_does_not(
    sshd: Server, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = sshd.home / ".ssh" / "id_ed25519"
    config = sshd.home / ".ssh" / "config"
    config.write_text(config.read_text().replace(" IdentityAgent none\n", ""))
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", f"{short}/a"], stdout=subprocess.PIPE, text=True)
        try:
            assert agent.stdout
            assert "SSH_AUTH_SOCK" in agent.stdout.readline()
            monkeypatch.setenv("SSH_AUTH_SOCK", f"{short}/a")
            subprocess.run(["ssh-add", "-q", str(key)], check=True)
            subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(key)], capture_output=True, check=True)
            assert connect(sshd).run(["echo", "in"]).stdout == "in\n"
        finally:
            agent.terminate()
            agent.communicate()


def encrypt(server: Server) -> None:
    key = str(server.home / ".ssh" / "id_ed25519")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", key], capture_output=True, check=True)


def on_a_terminal(script: str, answers: list[tuple[str, str]]) -> str:
    """Run Python on a terminal of its own, answer its questions, and return all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-W", "error", "-c", script])
    shown = ""
    try:
        while select.select([terminal], [], [], 30)[0]:
            try:
                shown += os.read(terminal, 4096).decode()
            except OSError:
                break
            if answers and re.search(answers[0][0], shown.rpartition("\0")[2]):
                os.write(terminal, answers.pop(0)[1].encode() + b"\n")
                shown += "\0"
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return shown


def script_for(kind: str, server: Server, user: str = USER) -> str:
    """A program that logs in and says so."""
    how = f"home=Path('{server.home}')" if kind == "ParamikoHost" else f"config='{server.home}/.ssh/config'"
    return f"""
from pathlib import Path
from tfslurm.cluster import Login
from tfslurm.host.{"paramiko" if kind == "ParamikoHost" else "openssh"} import {kind}
host = {kind}("alpha", Login(host="127.0.0.1", user={user!r}, port={server.port}), {how})
{"host.__enter__()" if kind == "ParamikoHost" else ""}
print(host.run(["echo", "is in"]).stdout)
{"host.__exit__(None, None, None)" if kind == "ParamikoHost" else ""}
"""


@pytest.mark.parametrize("kind", ["ParamikoHost", "OpenSshHost"])
def test_a_passphrase_is_asked_for_on_the_terminal(
    sshd: Server, kind: str, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    encrypt(sshd)
    shown = on_a_terminal(script_for(kind, sshd), [("[Pp]assphrase for", "wrong"), ("[Pp]assphrase for", "secret")])
    assert "is in" in shown
    assert "secret" not in shown


def test_without_a_terminal_an_encrypted_key_is_an_error_that_says_so(sshd: Server) -> None:
    encrypt(sshd)
    script = script_for("ParamikoHost", sshd)
    environment = {key: value for key, value in os.environ.items() if key != "SSH_AUTH_SOCK"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, start_new_session=True, env=environment
    )
    assert "encrypted, and no terminal to ask for its passphrase: ssh-add it" in done.stderr


@pytest.fixture
def otp(bed: None) -> Server:
    """The test bed's login node that wants codes; alice needs a key too, bob does not."""
    return Server(OTP_PORT, BED_HOME, "")


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_a_second_factor_is_asked_for_on_the_terminal(otp: Server, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    code = next_code(user)
    shown = on_a_terminal(script_for("ParamikoHost", otp, user), [("One-time password.*: ", code)])
    assert f"alpha: {user}@127.0.0.1:{OTP_PORT}" in shown
    assert "is in" in shown
    assert code not in shown


def test_a_wrong_code_is_an_error_and_a_second_factor_needs_a_terminal(
    otp: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    script = script_for("ParamikoHost", otp, "alice")
    assert "the answer was not accepted" in on_a_terminal(script, [("One-time password.*: ", "wrong!")])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, start_new_session=True)
    assert re.search("it asks .One-time password.*, and there is no terminal to answer", done.stderr), done.stderr


# --- OpenSSH's shared connection


def test_two_hosts_log_in_once(sshd: Server, runtime: Path) -> None:
    config = f"{sshd.home}/.ssh/config"
    for _ in range(2):
        assert OpenSshHost("alpha", sshd.login(), config=config).run(["echo", "in"]).stdout == "in\n"
    assert wait_until(lambda: logins(sshd) >= 1, 20)
    assert logins(sshd) == 1


def test_the_users_own_shared_connection_is_used(sshd: Server, runtime: Path) -> None:
    sshd.configure(f"Host *\n ControlPath {runtime}/own\n")
    options = ("-F", str(sshd.home / ".ssh" / "config"))
    target = ["-p", str(sshd.port), "-l", USER, "127.0.0.1"]
    master = ["ssh", *options, "-o", "ControlMaster=auto", "-o", "ControlPersist=60", *target, "true"]
    subprocess.run(master, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    try:
        assert OpenSshHost("alpha", sshd.login(), config=options[1]).run(["echo", "in"]).stdout == "in\n"
        assert wait_until(lambda: logins(sshd) >= 1, 20)
        assert logins(sshd) == 1
    finally:
        subprocess.run(["ssh", *options, "-O", "exit", *target], capture_output=True, check=False)


def test_the_folder_of_sockets_is_the_users_alone_and_short(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = runtime_folder("alpha")
    assert folder == runtime / "tfslurm"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    with pytest.raises(HostError, match="is not a folder of yours alone"):
        runtime_folder("alpha")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp/" + "long" * 20)
    assert runtime_folder("alpha") == Path(f"/tmp/tfslurm-{os.getuid()}")


# --- the test bed


def bed_is_up() -> bool:
    with socket.socket() as probe:
        return (BED_HOME / ".ssh" / "id_ed25519").exists() and probe.connect_ex(("127.0.0.1", 2201)) == 0


def test_the_test_beds_login_node_has_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if os.geteuid() != 0 or not bed_is_up():
        pytest.fail("the test bed is not up: python3 -m tests.cluster up")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with ParamikoHost("alpha", Login(host="127.0.0.1", user="alice", port=2201), home=BED_HOME) as host:
        assert host.run(["id", "-un"]).stdout == "alice\n"
        assert host.run(["sinfo", "--version"]).stdout.startswith("slurm")

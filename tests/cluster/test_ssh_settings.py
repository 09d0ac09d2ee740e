"""ssh's settings, as the ssh program and as our own reader have them; lines that end badly, over both transports."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest

from tfslurm.cluster import Cluster, Login
from tfslurm.errors import HostError
from tfslurm.host import Host
from tfslurm.host.hops import Hop, hop_to
from tfslurm.host.openssh import OpenSshHost
from tfslurm.host.paramiko import ParamikoHost
from tfslurm.host.ssh_config import settings_for
from tfslurm.host.user import user_name
from tfslurm.monitoring.poll import queued
from tfslurm.workspace.config import Known

from .bed import wait_until
from .test_host import BED_HOME, USER, Server, keygen, running_sshd

TRANSPORTS = ["paramiko", "openssh"]


@pytest.fixture(autouse=True)
def _no_agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody's agent, and a folder for sockets that is short."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="tfs") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield
        for path in (Path(folder) / "tfslurm").glob("*"):
            subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "x"], capture_output=True, check=False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".ssh").mkdir(parents=True, mode=0o700)
    return tmp_path / "home"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Server]:
    with running_sshd(tmp_path / "sshd", "AcceptEnv SITE_* LAB", "HostbasedAuthentication yes") as server:
        yield server


@contextmanager
def opened(transport: str, server: Server, login: Login) -> Iterator[Host]:
    if transport == "paramiko":
        with ParamikoHost("alpha", login, home=server.home) as host:
            yield host
    else:
        yield OpenSshHost("alpha", login, config=f"{server.home}/.ssh/config")


def reach(transport: str, server: Server, login: Login) -> None:
    """Log in, and out again."""
    with opened(transport, server, login):
        pass


# --- the same settings, read by either


FILES = {
    "comments": "Host hpc # Carol's\n HostName 10.0.0.7 # address\n Port 2201 # odd\n User carol # me\n",
    "quotes": 'Host "hpc"\n HostName="10.0.0.7"\n IdentityFile "~/my keys/a" # k\n IdentityFile ${HOME}/%u/b\n',
    "nothing": "# empty\n",
    "no keys": "IdentityFile none\nUserKnownHostsFile none\nIdentityAgent none\n",
    "first one wins": "Host hpc\n Port 7\n IdentityFile /a\nHost *\n Port 8\n IdentityFile /b\n IdentityFile /a\n",
    "known": 'HostKeyAlias login7\nUserKnownHostsFile ~/.ssh/d/%k "~/my hosts" ${HOME}/three %d/four\n',
    "revoked": "RevokedHostKeys ~/.ssh/revoked\nIdentityAgent ~/a.sock\nCertificateFile %d/c-cert.pub\n",
    "a final block": "Match final all\n Port 9\n User late\nHost hpc\n HostName ten.example\nHost ten.*\n Port 10\n",
    "final, by address": "Host hpc\n HostName ten.example\nMatch final host ten.example\n Port 9\n",
    "not final": "Match !final all\n Port 9\nHost hpc\n HostName ten.example\n",
    "originalhost": "Match originalhost h*,!hp? # no\n Port 9\nMatch originalhost=hpc user=root,carol\n User carol\n",
    "exec": 'Match exec "test %h = hpc"\n Port 9\nMatch !exec "exit 1" localuser *\n User carol\n',
    "an include in a block": "Host other\n Include inner\nHost hpc\n Include inner\n",
    "include with a blank": 'Include "~/more files/*" inner\nHost hpc\n Port 3\n',
    "proxy": "Host hpc\n ProxyCommand sh -c 'nc %h %p # no comment'\n ProxyJump j\n HostName %h.example\n",
    "jump": "ProxyJump bob@j:7,k\nProxyCommand nc %h %p\n",
    "no jump": "ProxyJump none\nProxyCommand nc %h %p\n",
    "spaces and case": "\t hOsT\thpc\n   PORT   =   7\n\n  user  carol\n",
}


def hops(home: Path, monkeypatch: pytest.MonkeyPatch, login: Login) -> tuple[Hop, Hop]:
    """What the ssh program says of a machine, and what our reader does."""
    asked = hop_to("alpha", login, home)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        patch.setattr("tfslurm.host.ssh_config._kept", {})
        return asked, hop_to("alpha", login, home)


@pytest.mark.parametrize("name", FILES)
def test_our_reader_and_the_ssh_program_agree(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ssh = home / ".ssh"
    (ssh / "config").write_text(FILES[name])
    (ssh / "inner").write_text("User inner\nHost hpc\n Port 5\n")
    (home / "more files").mkdir()
    (home / "more files" / "conf").write_text("Host hpc\n HostName 10.0.0.8 # it\n")
    (home / "my hosts").touch()
    for login in (Login("hpc"), Login("hpc", user="bob", port=77)):
        asked, read = hops(home, monkeypatch, login)
        fields = [field for field in Hop.__slots__ if field not in ("settings", "identities")]
        assert {field: getattr(read, field) for field in fields} == {field: getattr(asked, field) for field in fields}
        if "id_rsa" not in str(asked.identities):  # ssh has more keys that it looks for
            assert read.identities == asked.identities


@pytest.mark.parametrize("include", ["DIR/ssh_config.d/*.conf", "ssh_config.d/*.conf"])
def test_the_stock_file_of_red_hat_and_fedora_is_what_ssh_makes_of_it(
    include: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = home / "etc" / "ssh_config"
    (home / "etc" / "ssh_config.d").mkdir(parents=True)
    system.write_text(f"# The system-wide file\nInclude {include.replace('DIR', str(system.parent))}\n")
    (home / "policies").write_text("Ciphers aes256-gcm@openssh.com,aes256-ctr\nGSSAPIKeyExchange no\n")
    (system.parent / "ssh_config.d" / "50-redhat.conf").write_text(
        f"Match final all\n\tInclude {home}/policies\n\tGSSAPIAuthentication yes\n\tForwardX11Trusted yes\n"
        "\tSendEnv LANG LC_CTYPE\n\tSetEnv SITE=red\n"
    )
    (home / ".ssh" / "config").write_text("Host hpc\n HostName 10.0.0.7\n")
    found = settings_for("alpha", Login("hpc"), home, system)
    assert found["ciphers"] == ("aes256-gcm@openssh.com,aes256-ctr",)
    assert (found["hostname"], found["gssapiauthentication"]) == (("10.0.0.7",), ("yes",))
    assert (found["sendenv"], found["setenv"]) == (("LANG", "LC_CTYPE"), ("SITE=red",))
    monkeypatch.setenv("PATH", "/nowhere")
    read = settings_for("alpha", Login("hpc"), home, system)
    assert all(read[key] == found[key] for key in ("ciphers", "hostname", "sendenv", "setenv"))


@pytest.mark.parametrize("line", ["Wibble yes", "Match shoesize 7", 'HostName "x', "Port odd"])
def test_what_ssh_does_not_understand_is_told_with_its_line_in_the_users_own_file(home: Path, line: str) -> None:
    (home / ".ssh" / "more").write_text(f"# mine\n{line}\n Port 7\n")
    (home / ".ssh" / "config").write_text("Host other\n\nHost hpc\n Include more\n")
    with pytest.raises(HostError) as caught:
        hop_to("alpha", Login("hpc"), home)
    assert f"alpha: {home}/.ssh/more:2: `{line}`: " in str(caught.value)
    assert "says your ssh program" in str(caught.value)


def test_ssh_is_asked_once_and_again_when_the_file_has_changed(home: Path) -> None:
    config = home / ".ssh" / "config"
    text = f'Match exec "echo >>{home}/asked"\n Port {{}}\n'
    config.write_text(text.format(7))
    ports = [hop_to("alpha", Login("hpc"), home).port for _ in range(3)]
    config.write_text(text.format(8))
    assert [*ports, hop_to("alpha", Login("hpc"), home).port] == [7, 7, 7, 8]
    assert (home / "asked").read_text() == "\n\n"


# --- logging in as the settings say


@contextmanager
def agent_with(key: Path) -> Iterator[str]:
    """An agent that holds a key, whose file is then removed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        path = f"{short}/vault.sock"
        with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as agent:
            try:
                assert wait_until(lambda: Path(path).exists(), 20)
                environment = {**os.environ, "SSH_AUTH_SOCK": path}
                subprocess.run(["ssh-add", "-q", str(key)], env=environment, check=True)
                key.unlink()
                yield path
            finally:
                agent.terminate()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_agent_that_the_settings_name_opens_it(sshd: Server, transport: str) -> None:
    with agent_with(sshd.home / ".ssh" / "id_ed25519") as path:
        sshd.configure(f"Host hpc\n IdentityAgent {path} # vault\n HostName 127.0.0.1\n User {USER}\n")
        with opened(transport, sshd, Login("hpc", port=sshd.port)) as host:
            assert host.run(["echo", "in"]).stdout == "in\n"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_a_certificate_of_any_name_opens_it(tmp_path: Path, transport: str, kind: str) -> None:
    keygen(tmp_path / "ca")
    with running_sshd(tmp_path / "sshd", f"TrustedUserCAKeys {tmp_path}/ca.pub") as server:
        ssh = server.home / ".ssh"
        keygen(ssh / "site_key", kind)
        sign = ["ssh-keygen", "-q", "-s", str(tmp_path / "ca"), "-I", "me", "-n", USER, str(ssh / "site_key.pub")]
        subprocess.run(sign, check=True)
        (ssh / "site_key-cert.pub").rename(ssh / "today-cert.pub")
        (ssh / "config").write_text(
            f"IdentityFile {ssh}/site_key\nCertificateFile {ssh}/missing-cert.pub\n"
            f"CertificateFile {ssh}/today-cert.pub\nUserKnownHostsFile {ssh}/known_hosts\nIdentityAgent none\n"
        )
        with opened(transport, server, server.login()) as host:
            assert host.run(["echo", "in"]).stdout == "in\n"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "more",
    [
        "HostKeyAlias login7\n UserKnownHostsFile DIR/%k # its own",
        'UserKnownHostsFile "DIR/my hosts"',
        "UserKnownHostsFile /none DIR/login7 /nor",
        "UserKnownHostsFile ${KNOWN}/login7",
        'Include "DIR/more files/*"',
        "AddressFamily inet\n BindAddress 127.0.0.1\n ConnectTimeout 9\n Compression yes",
        "Ciphers aes256-ctr\n MACs hmac-sha2-512\n KexAlgorithms ecdh-sha2-nistp256\n HostKeyAlgorithms ssh-ed25519",
        "PreferredAuthentications publickey\n PasswordAuthentication no\n PubkeyAcceptedAlgorithms ssh-ed25519",
        "StrictHostKeyChecking no\n VerifyHostKeyDNS yes\n GSSAPIAuthentication yes",
        "SetEnv LAB=lab-7 SITE_B=x\n SendEnv SITE_A",
    ],
)
def test_every_setting_of_a_machine_is_heeded(
    sshd: Server, transport: str, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = sshd.home / ".ssh"
    monkeypatch.setenv("KNOWN", str(ssh))
    monkeypatch.setenv("SITE_A", "a")
    name = "login7" if "HostKeyAlias" in more else f"[127.0.0.1]:{sshd.port}"
    for file in ("login7", "my hosts"):
        (ssh / file).write_text(f"{name} {sshd.host_key}\n")
    (ssh / "more files").mkdir()
    (ssh / "more files" / "a").write_text(f"UserKnownHostsFile {ssh}/login7\n")
    place = f"HostName 127.0.0.1\n Port {sshd.port}\n User {USER}"
    sshd.configure(f"Host hpc # there\n {place}\n {more.replace('DIR', str(ssh))}\n")
    if "KnownHosts" in more or "Include" in more:
        (ssh / "known_hosts").unlink()
    with opened(transport, sshd, Login("hpc")) as host:
        shown = host.run(["sh", "-c", "echo in $LAB $SITE_A"]).stdout
    assert shown == ("in lab-7 a\n" if "SetEnv" in more else "in\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Ciphers chacha20-poly1305@openssh.com", r"paramiko has none of Ciphers chacha20.*transport: openssh"),
        ("ProxyUseFdpass yes\nProxyCommand nc %h", r"`ProxyUseFdpass yes`.*beyond paramiko.*transport: openssh"),
        ("BindInterface lo", r"`BindInterface lo`.*beyond paramiko.*transport: openssh"),
        ("AddressFamily inet6", r"127\.0\.0\.1:\d+: cannot be reached: no address is known"),
        ("BindAddress 192.0.2.1", r"127\.0\.0\.1:\d+: cannot be reached: .*Cannot assign"),
        ("PubkeyAcceptedAlgorithms rsa-sha2-256", "ssh-ed25519 is not among PubkeyAcceptedAlgorithms"),
        ("PubkeyAuthentication no", "not let in: tried nothing"),
        (
            "GSSAPIAuthentication yes\nIdentityFile none\nHostbasedAuthentication yes",
            r"do what HostbasedAuthentication .*openssh",
        ),
        ("IdentityAgent /none/vault.sock\nIdentityFile none", r"tried the agent /none/vault.sock \(No such file"),
        ("CertificateFile /none/c-cert.pub\nIdentityFile none", r"tried /none/c-cert.pub \(No such file"),
        ("KnownHostsCommand /bin/true\nUserKnownHostsFile none", r"is unknown.*KnownHostsCommand.*transport: openssh"),
    ],
)
def test_what_paramiko_cannot_heed_is_told_with_the_way_out(sshd: Server, text: str, why: str) -> None:
    config = sshd.home / ".ssh" / "config"
    always = config.read_text() if "IdentityFile" not in text else f"UserKnownHostsFile {config.parent}/known_hosts\n"
    config.write_text(f"{text}\n{always}")
    with pytest.raises(HostError, match=why) as caught:
        ParamikoHost("alpha", sshd.login(), home=sshd.home).__enter__()
    assert str(caught.value).startswith("alpha: ")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("alias", ["", "login7"])
def test_the_fix_for_an_unknown_key_is_a_command_that_makes_it_known(sshd: Server, transport: str, alias: str) -> None:
    known = sshd.home / ".ssh" / "known of mine"
    named = f"HostKeyAlias {alias}\n" if alias else ""
    place = f'HostName 127.0.0.1\n Port {sshd.port}\n User {USER}\n UserKnownHostsFile "{known}"\n {named}'
    sshd.configure(f"Host hpc\n {place}\n")
    known.touch()
    with pytest.raises(HostError, match=r"alpha: 127\.0\.0\.1: its host key.* is unknown") as caught:
        reach(transport, sshd, Login("hpc"))
    command = str(caught.value).partition("publish, then: ")[2]
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    reach(transport, sshd, Login("hpc"))
    known.write_text(f"{alias or f'[127.0.0.1]:{sshd.port}'} {keygen(sshd.home / 'another')}\n")
    for path in Path(os.environ["XDG_RUNTIME_DIR"], "tfslurm").glob("????????-*"):  # else it is asked for no key
        subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "x"], capture_output=True, check=False)
    with pytest.raises(HostError, match=rf"CHANGED.*ssh-keygen -R '?{alias or '.127.0.0.1.:'}"):
        reach(transport, sshd, Login("hpc"))


# --- lines that end badly


BROKER = "sh -c 'echo \"not logged in to the broker\" >&2; exit 3'"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (BROKER, r"ended with 3: not logged in to the broker"),
        ("/none/cloudflared access ssh --hostname %h", r"ended with 127: .*cloudflared: not found"),
        ("sh -c 'kill -9 $$'", r"ended by signal 9: it said nothing"),
        ("sh -c 'echo HTTP/1.0 403 Forbidden; echo no >&2'", r"ended with 0: no"),
    ],
)
def test_a_proxy_command_that_dies_is_one_line_with_its_last_words(
    sshd: Server, transport: str, command: str, said: str
) -> None:
    sshd.configure(f"Host hpc\n HostName 127.0.0.1\n Port {sshd.port}\n User {USER}\n ProxyCommand {command}\n")
    script = f"""
from pathlib import Path
from tfslurm.cluster import Cluster, Login
from tfslurm.errors import HostError
from tfslurm.host.paramiko import ParamikoHost
from tfslurm.host.openssh import OpenSshHost
try:
    if {transport!r} == "paramiko":
        ParamikoHost("alpha", Login("hpc"), home=Path({str(sshd.home)!r})).__enter__()
    else:
        OpenSshHost("alpha", Login("hpc"), config={str(sshd.home / ".ssh/config")!r})
except HostError as error:
    print(error)
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, start_new_session=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert re.match(r"alpha: .*hpc|alpha: .*127\.0\.0\.1", done.stdout)
    assert "ProxyCommand" in done.stdout and "works by itself" in done.stdout
    if transport == "paramiko":
        assert re.search(said, done.stdout)
    elif "broker" in command:
        assert "not logged in to the broker" in done.stdout
    assert time.monotonic() - began < 30


@contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does one thing with each who comes; its port."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                kept.append(line)
                answer(line)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for line in kept:
                line.close()


def says(text: bytes) -> Callable[[socket.socket], None]:
    def answer(line: socket.socket) -> None:
        line.sendall(text)

    return answer


def hang_up_after(line: socket.socket, text: bytes) -> None:
    line.sendall(text)
    line.shutdown(socket.SHUT_RDWR)


SERVERS: dict[str, Callable[[socket.socket], None]] = {
    "closes at once": lambda line: line.shutdown(socket.SHUT_RDWR),
    "never answers": lambda line: None,
    "is no ssh server": says(b"HTTP/1.0 400 Bad Request\r\n\r\n" * 2000),
    "stops after its banner": says(b"SSH-2.0-odd\r\n"),
    "closes after its banner": lambda line: hang_up_after(line, b"SSH-2.0-odd\r\n"),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_none_is_told_in_one_line_and_in_time(home: Path, kind: str, transport: str) -> None:
    (home / ".ssh" / "config").write_text("ConnectTimeout 2\nIdentityAgent none\n")
    began = time.monotonic()
    with listener(SERVERS[kind]) as port, pytest.raises(HostError) as caught:
        reach(transport, Server(port, home, ""), Login("127.0.0.1", user=USER, port=port))
    told = str(caught.value)
    assert time.monotonic() - began < 15
    assert told.startswith("alpha: ") and "127.0.0.1" in told and "cannot be reached" in told and "\n" not in told
    assert re.search(r"; (see that|try again|set )", told), told
    assert caught.value.transient


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", ["nowhere.invalid", "a.b.invalid"])
def test_a_name_without_an_address_names_the_key_to_correct(home: Path, transport: str, name: str) -> None:
    with pytest.raises(HostError, match=rf"^alpha: .*{name}: cannot be reached: .*; correct `host`"):
        reach(transport, Server(22, home, ""), Login(name, user=USER))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_agent_with_too_many_keys_is_told_to_name_one(tmp_path: Path, transport: str) -> None:
    with running_sshd(tmp_path / "sshd", "MaxAuthTries 2") as server:
        keys = [server.home / ".ssh" / f"k{number}" for number in range(5)]
        for key in keys:
            keygen(key)
        with agent_with(keys[0]) as path:
            add = ["ssh-add", "-q", *map(str, keys[1:])]
            subprocess.run(add, env={**os.environ, "SSH_AUTH_SOCK": path}, check=True)
            config = server.home / ".ssh" / "config"
            known = f"UserKnownHostsFile {server.home}/.ssh/known_hosts\n"
            config.write_text(f"IdentityAgent {path}\nIdentityFile /none\n{known}")
            with pytest.raises(HostError, match=r"^alpha: .*127\.0\.0\.1.*IdentitiesOnly yes` in ~/\.ssh/config"):
                reach(transport, server, server.login())


# --- who one is there


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_jobs_are_looked_for_as_whom_ssh_logs_in_and_not_by_the_name_here(
    bed: None, home: Path, transport: str
) -> None:
    ssh = BED_HOME / ".ssh"
    key = home / "key"
    key.write_bytes((ssh / "id_ed25519").read_bytes())
    key.chmod(0o600)
    text = f"Host there # alice's\n HostName 127.0.0.1\n Port 2201\n User alice\n IdentityFile {key}\n"
    (home / ".ssh" / "config").write_text(f"{text} UserKnownHostsFile {ssh}/known_hosts\n")
    login = Login("there")
    known = Known(Cluster("alpha", PurePosixPath("/x"), login=login), "", None)
    assert (known.user, user_name()) == ("alice", "root")
    with opened(transport, Server(2201, home, ""), login) as host:
        asked = ["sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=true"]
        job = host.run(asked).stdout.strip()
        try:
            listed = queued("alpha", host)
            assert (listed[job].state, listed[job].user) == ("PENDING", "alice")
            assert {status.user for status in listed.values()} == {"alice"}
        finally:
            host.run(["scancel", job])

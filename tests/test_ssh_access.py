"""ssh into a job's container: the program that runs there with a stand-in for sshd, and what is told to ssh here."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.test_report import SHELLS
from tfslurm.errors import HostError, InputError, TfslurmError
from tfslurm.remote_programs import packaged
from tfslurm.services.ssh_access import first_line, known_hosts, note_key, own_keys, quoted, ssh_settings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
SSHD = """#!/bin/sh
printf '%s\\n' "$@" >"$SEEN"
for word; do case $word in AuthorizedKeysFile=*) cat "${word#*=}" ;; esac; done
"""
STARTS = {"dash": ["/usr/bin/dash"], "bash": ["/usr/bin/bash", "--posix"], "busybox": ["/usr/bin/busybox", "sh"]}


def entered(
    tmp_path: Path, *keys: str, shell: str = "dash", sshd: str = SSHD, **variables: str
) -> subprocess.CompletedProcess[str]:
    """What the program prints in a container whose programs are the stand-ins of ``tmp_path``."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    if sshd:
        (programs / "sshd").write_text(sshd)
        (programs / "sshd").chmod(0o755)
    for name in ("ssh-keygen", "mkdir", "mv", "cat", "ln", "rm"):
        if not (programs / name).exists():
            (programs / name).symlink_to(f"/usr/bin/{name}")
    text = packaged("inside/sshd.sh").replace("/dev/shm/tfslurm-ssh", str(tmp_path / "ssh"))
    text = text.replace("/usr/local/sbin:/usr/sbin:/sbin", "/nowhere")
    env = {"PATH": str(programs), "SEEN": str(tmp_path / "seen"), **variables}
    argv = [*STARTS[shell], "-c", text, "sshd", *keys]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, umask=0o027, check=False)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_key_comes_first_and_stays_the_same_and_only_the_users_keys_open(shell: str, tmp_path: Path) -> None:
    first = entered(tmp_path, shell=shell)
    assert (first.returncode, first.stderr) == (0, ""), first
    assert first.stdout.startswith("key ssh-ed25519 ") and len(first.stdout.splitlines()) == 1
    assert not (tmp_path / "seen").exists(), "without a key of the user's no server is started"
    second = entered(tmp_path, KEY, f"{KEY} two", shell=shell)
    assert second.stdout == f"{first.stdout}{KEY}\n{KEY} two\n"
    words = (tmp_path / "seen").read_text().splitlines()
    assert {"-i", "AuthenticationMethods=publickey", "AllowTcpForwarding=local", "AllowAgentForwarding=no"} <= set(
        words
    )
    left = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ssh").iterdir()}
    assert left == {"key": 0o600, "env": 0o600, "session": 0o600}
    assert stat.S_IMODE((tmp_path / "ssh").stat().st_mode) == 0o700


@pytest.mark.parametrize("shell", SHELLS)
def test_a_command_over_ssh_has_the_programs_variables_and_the_jobs_umask(shell: str, tmp_path: Path) -> None:
    value = "it's $HOME\n`x` \\"
    assert entered(tmp_path, shell=shell, VALUE=value, TERM="dumb", tfslurm_ssh="/nowhere").returncode == 0
    session = tmp_path / "ssh" / "session"
    ask = 'printf "%s|" "$VALUE" "$TERM" "$tfslurm_ssh"; umask'
    for tty, term in (({}, "dumb"), ({"SSH_TTY": "/dev/pts/0"}, "xterm")):
        env = {"PATH": "/usr/bin:/bin", "TERM": "xterm", "SSH_ORIGINAL_COMMAND": ask, **tty}
        done = subprocess.run(
            [*STARTS[shell], session], env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout == f"{value}|{term}|/nowhere|0027\n", done


def test_what_the_image_lacks_is_told_and_a_foreign_folder_is_not_used(tmp_path: Path) -> None:
    assert entered(tmp_path, KEY, sshd="").stdout == "no the image has no sshd\n"
    (tmp_path / "bin" / "ssh-keygen").unlink()
    (tmp_path / "bin" / "ssh-keygen").mkdir()  # no program
    assert entered(tmp_path, KEY).stdout == "no the image has no ssh-keygen\n"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "ssh").symlink_to(tmp_path / "ssh")
    assert entered(tmp_path / "other", KEY).stdout.endswith("cannot be written in the container\n")


def way(stdout: str = "") -> Any:
    """A stand-in for the way into a container, in which the program prints this."""
    job = SimpleNamespace(key="alpha:41_7", cluster="alpha", job_id="41_7")
    return SimpleNamespace(job=job, captured=lambda words: SimpleNamespace(stdout=stdout, words=words))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a key, and an agent with none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519.pub").write_text(f"{KEY} me@here\n")
    return tmp_path


def test_the_entry_names_the_program_the_key_and_no_unknown_key_is_taken(home: Path) -> None:
    text = ssh_settings(way(f"key {KEY}\n"), "alice", 2, "/my 100%/tfslurm")
    lines = [line.strip() for line in text.splitlines()]
    assert lines[0] == "Host tfslurm-alpha-41_7-rank2"
    assert "ProxyCommand '/my 100%%/tfslurm' exec --rank 2 --sshd alpha:41_7" in lines
    assert f'UserKnownHostsFile "{home}/a cache/tfslurm/ssh/tfslurm-alpha-41_7-rank2"' in lines
    assert {"User alice", "StrictHostKeyChecking yes", "ForwardAgent no", "HostKeyAlias tfslurm-alpha-41_7-rank2"} <= {
        *lines
    }
    assert known_hosts(way(), 2).read_text() == f"tfslurm-alpha-41_7-rank2 {KEY}\n"


@pytest.mark.parametrize(
    ("line", "kind", "why"),
    [
        ("no the image has no sshd", TfslurmError, r"alpha:41_7: the image has no sshd: .* `build: \{base: IM"),
        ("no /dev/shm/tfslurm-ssh cannot be written", TfslurmError, "cannot be written: ssh cannot lead into its cont"),
        ("key ssh-ed25519 short", HostError, "its container's answer is no key"),
        (f"key {KEY[:-40]}\x1b[2J", HostError, "is no key"),
        ("Welcome!", HostError, "is no key"),
        ("", HostError, "is no key"),
    ],
)
def test_what_is_no_key_is_refused_and_nothing_is_written(
    home: Path, line: str, kind: type[TfslurmError], why: str
) -> None:
    with pytest.raises(kind, match=why):
        note_key(way(), 0, line)
    assert not known_hosts(way(), 0).exists()


def test_the_keys_are_those_of_the_agent_and_of_public_files_alone(home: Path) -> None:
    agent = home / "bin" / "ssh-add"
    agent.parent.mkdir()
    other = KEY.replace("GKJl", "GKJm")
    agent.write_text(f"#!/bin/sh\necho '{other} agent'; echo 'ssh-ed25519-cert-v01@openssh.com AAAA'; echo '{KEY}'\n")
    agent.chmod(0o755)
    (home / ".ssh" / "id_rsa").write_text("PRIVATE")
    (home / ".ssh" / "large.pub").write_text(f"{KEY.replace('GKJl', 'GKJn')}\n" + "x" * 100_000)
    os.mkfifo(home / ".ssh" / "pipe.pub")
    assert own_keys() == [other, KEY]
    (home / ".ssh" / "id_ed25519.pub").unlink()
    agent.unlink()
    with pytest.raises(InputError, match=r"no key of yours is in the agent or in ~/\.ssh; make one: ssh-keygen"):
        own_keys()


@pytest.mark.parametrize("path", ['/a"b', "/a$b", "/a\nb", "/a%b"])
def test_a_path_that_sshs_settings_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="cannot name this path"):
        quoted(path)


class Read:
    """A stand-in for a pipe: what comes, one byte at a time."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def read(self, most: int) -> bytes:
        found, self.text = self.text[:most], self.text[most:]
        return found

    def end(self) -> tuple[int, str]:
        return 1, "its step is gone"


def test_the_first_line_ends_where_sshd_begins() -> None:
    pipe: Any = Read(b"key x\nSSH-2.0-OpenSSH")
    assert (first_line(pipe), pipe.text) == ("key x", b"SSH-2.0-OpenSSH")
    without: list[Any] = [Read(b"x" * 10_000), Read(b"key")]
    for each in without:
        with pytest.raises(HostError, match=r"answered nothing \(exit 1\): its step is gone"):
            first_line(each)

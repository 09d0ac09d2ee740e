"""ssh's settings where there is no ssh program to ask: what is read, and what stops with its file and line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tfslurm.cluster import Login
from tfslurm.errors import HostError
from tfslurm.host import remote_user
from tfslurm.host.hops import Hop, hop_to, route
from tfslurm.host.ssh_config import parse_settings, settings_for
from tfslurm.host.ssh_files import words_of
from tfslurm.host.ssh_reader import read_settings
from tfslurm.host.user import user_name


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a folder .ssh, on a machine without the ssh program."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir(mode=0o700)
    return tmp_path


def configured(home: Path, text: str, login: Login | None = None) -> Hop:
    (home / ".ssh" / "config").write_text(text)
    return hop_to("alpha", login or Login("hpc"), home)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b", ["a", "b"]),
        ("a # it's odd", ["a"]),
        ("a#b c", ["a#b", "c"]),
        ('"a b" c', ["a b", "c"]),
        ("'a \"b' c", ['a "b', "c"]),
        (r"a\ b \"c", ["a b", '"c']),
        (r'"a\"b\\" ""', ['a"b\\', ""]),
        ('x"y z"w', ["xy zw"]),
        ("\t", []),
    ],
)
def test_a_line_has_the_words_that_openssh_sees(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "HostName 10.0.0.7   # its address\n Port 2201 # odd\n User carol # me\n IdentityFile ~/.ssh/key # laptop's",
        "HostName=10.0.0.7\n Port = 2201\n User\tcarol\n IdentityFile ${HOME}/.ssh/key",
        'HostName "10.0.0.7"\n port 2201\n USER carol\n IdentityFile "%d/.ssh/key"',
        'Include "~/.ssh/more hosts/*"',
        "Include rel[a]tive",
        "Match originalhost hpc\n HostName 10.0.0.7\n Port 2201\n User carol\n IdentityFile ~/.ssh/key",
        "Match final all\n HostName 10.9.9.9\nHost hpc\n HostName 10.0.0.7\n Port 2201\n User carol\n"
        " IdentityFile ~/.ssh/key\nMatch final host 10.0.0.7\n Port 9\n",
        "IgnoreUnknown Use*,Foo\n UseSomething yes\n Foo\n HostName 10.0.0.7\n Port 2201\n User carol\n"
        " IdentityFile ~/.ssh/key",
        "Host other # hpc\n Port 1\nHost !x *pc # all\n HostName 10.0.0.7\n Port 2201\n User carol\n"
        " IdentityFile ~/.ssh/key",
    ],
)
def test_values_are_what_ssh_makes_of_them(home: Path, text: str) -> None:
    inner = "HostName 10.0.0.7\nPort 2201\nUser carol\nIdentityFile ~/.ssh/key\n"
    (home / ".ssh" / "more hosts").mkdir()
    (home / ".ssh" / "more hosts" / "a").write_text(inner)
    (home / ".ssh" / "relative").write_text(inner)
    hop = configured(home, f"Host hpc  # Carol's\n {text}\n")
    assert (hop.host, hop.port, hop.user, hop.identities) == ("10.0.0.7", 2201, "carol", (home / ".ssh" / "key",))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("Match tagged elsewhere localnetwork 203.0.113.0/24", ""),
        ("Match localnetwork 203.0.113.0/24", "`localnetwork` is not understood"),
        ("Match version OpenSSH_9*", "`version` is not understood"),
        ("Match sessiontype shell", "`sessiontype` is not understood"),
        ("Match host hpc command ls", "`command` is not understood"),
        ("Match shoesize 7", "`shoesize` is not understood"),
        ("Match !localnetwork 10.0.0.0/8", "`localnetwork` is not understood"),
        ("Match", "has no criterion"),
        ("Match host", "`host` has no value"),
        ("CanonicalizeHostname yes", "is not understood without the ssh program"),
        ("ProxyUseFdpass yes", "is not understood without the ssh program"),
        ("BindInterface eth1", "is not understood without the ssh program"),
        ("Wibble yes", "is not understood without the ssh program"),
        ('HostName "10.0.0.7', "a quote is not closed"),
        ("HostName", "has no value"),
    ],
)
def test_what_is_not_understood_stops_with_its_line_and_never_counts_as_true(home: Path, line: str, why: str) -> None:
    text = f"# mine\n\n{line}\n Port 2999\nHost hpc\n Port 2201\n"
    if not why:
        assert configured(home, text).port == 2201
        return
    with pytest.raises(HostError) as caught:
        configured(home, text)
    assert f"alpha: {home}/.ssh/config:3: `{line}`: " in str(caught.value)
    assert why in str(caught.value)


@pytest.mark.parametrize("line", ["Wibble yes", "CanonicalizeHostname yes", "Match host hpc"])
def test_a_block_for_another_machine_stops_nobody(home: Path, line: str) -> None:
    assert configured(home, f"Host other\n {line}\nHost hpc\n Port 7\n").port == 7


def test_an_include_within_a_block_counts_for_that_block_alone(home: Path) -> None:
    (home / ".ssh" / "inner").write_text("Port 8\nHost hpc\n Port 7\n")
    assert configured(home, "Host other\n Include inner\nHost *\n User carol\n").port == 22
    assert configured(home, "Host hpc other\n Include inner\n User carol\n").port == 8
    (home / ".ssh" / "inner").write_text("Include inner\nPort 8\n")
    assert configured(home, "Include inner\n").port == 8


def test_the_stock_file_of_red_hat_and_fedora_is_read(home: Path, tmp_path: Path) -> None:
    system = tmp_path / "etc" / "ssh_config"
    (tmp_path / "etc" / "ssh_config.d").mkdir(parents=True)
    system.write_text("# This is the ssh client system-wide configuration file.\nInclude ssh_config.d/*.conf\n")
    policies = tmp_path / "policies"
    policies.write_text("Ciphers aes256-gcm@openssh.com,aes256-ctr\nGSSAPIKeyExchange no\nRequiredRSASize 2048\n")
    (system.parent / "ssh_config.d" / "50-redhat.conf").write_text(
        f"Match final all\n\tInclude {policies}\n\tGSSAPIAuthentication yes\n\tForwardX11Trusted yes\n"
        "\tSendEnv LANG LC_*\n\tSendEnv XMODIFIERS\n"
    )
    found = read_settings("hpc", {}, home, system)
    assert found["ciphers"] == ("aes256-gcm@openssh.com,aes256-ctr",)
    assert (found["gssapiauthentication"], found["sendenv"]) == (("yes",), ("LANG", "LC_*", "XMODIFIERS"))
    assert found["hostname"] == ("hpc",)


def test_match_exec_is_run_by_the_users_shell_and_its_end_decides(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/sh")
    text = f'Match host hpc exec "[ %n = hpc ] && : >{home}/ran"\n Port 7\nMatch exec false\n Port 8\n'
    assert configured(home, text).port == 7
    assert (home / "ran").exists()
    assert configured(home, text, Login("near")).port == 22
    with pytest.raises(HostError, match=r"Match exec '%Z': %Z is not a token"):
        configured(home, "Match exec %Z\n Port 7\n")


def test_what_the_cluster_file_says_wins_and_fills_tokens(home: Path) -> None:
    text = "Match user bob\n Port 7\nHost hpc\n User carol\n ProxyCommand nc -X %h %p %r %% %n\n HostName %h.example\n"
    hop = configured(home, text, Login("hpc", user="bob"))
    assert (hop.user, hop.port, hop.host) == ("bob", 7, "hpc.example")
    assert hop.proxy_command == "nc -X hpc.example 7 bob % hpc"
    hop = configured(home, text, Login("hpc", proxy_jump="j"))
    assert (hop.user, hop.proxy_jump, hop.proxy_command) == ("carol", "j", None)
    assert configured(home, "ProxyJump j\n", Login("hpc", proxy_jump="none")).proxy_jump is None


def test_files_agents_and_names_are_those_that_the_settings_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT", "/run/vault.sock")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/usual.sock")
    monkeypatch.setenv("SITE", "/site/50%")
    text = (
        'Host hpc\n HostKeyAlias login7\n UserKnownHostsFile ~/.ssh/known.d/%k "~/my hosts" ${SITE}/known\n'
        " GlobalKnownHostsFile none\n CertificateFile ~/today-cert.pub\n IdentityFile none\n RevokedHostKeys ~/rev\n"
    )
    hop = configured(home, text)
    assert hop.known_hosts == (home / ".ssh/known.d/login7", home / "my hosts", Path("/site/50%/known"))
    assert (hop.alias, hop.certificates, hop.identities) == ("login7", (home / "today-cert.pub",), ())
    assert (hop.revoked, hop.agent) == ((home / "rev",), "/run/usual.sock")
    for value, agent in (("none", ""), ("$VAULT", "/run/vault.sock"), ("~/%u.sock", f"{home}/{user_name()}.sock")):
        assert configured(home, f"IdentityAgent {value}\n").agent == agent
    with pytest.raises(HostError, match=r"alpha: hpc: identityfile '\$\{NOWHERE\}/k': the variable NOWHERE is not set"):
        configured(home, "IdentityFile ${NOWHERE}/k\n")


def test_a_file_that_others_may_change_is_not_read(home: Path) -> None:
    (home / ".ssh" / "config").touch(mode=0o600)
    (home / ".ssh" / "config").chmod(0o666)
    with pytest.raises(HostError, match=r"\.ssh/config: others may change it.*chmod 600"):
        hop_to("alpha", Login("hpc"), home)


def test_jumps_go_through_settings_of_their_own(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host hpc\n ProxyJump bob@j:7\nHost j # jump\n HostName 10.0.0.1\n")
    first, last = route("alpha", Login("hpc"), home)
    assert (first.host, first.port, first.user, last.host) == ("10.0.0.1", 7, "bob", "hpc")
    (home / ".ssh" / "config").write_text("Host *\n ProxyJump hpc\n")
    with pytest.raises(HostError, match="more than 10 jumps; does ProxyJump name itself"):
        route("alpha", Login("hpc"), home)


def test_the_user_is_the_one_whom_ssh_would_log_in(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host hpc\n User carol # there\n")
    assert remote_user("alpha", Login("hpc")) == "carol"
    assert remote_user("alpha", Login("hpc", user="bob")) == "bob"
    assert remote_user("alpha", Login("elsewhere")) == user_name()


@pytest.mark.parametrize(
    ("setting", "own", "chosen"),
    [
        ("", ("a", "b"), ("a", "b")),
        ("b,x,a", ("a", "b"), ("b", "a")),
        ("-a*", ("a1", "b", "a2"), ("b",)),
        ("^b", ("a", "b"), ("b", "a")),
        ("+x", ("a", "b"), ("a", "b")),
        ("curve25519-sha256", ("curve25519-sha256@libssh.org",), ("curve25519-sha256@libssh.org",)),
        ("x,y", ("a", "b"), None),
    ],
)
def test_lists_of_algorithms_choose_among_those_of_paramiko(
    home: Path, setting: str, own: tuple[str, ...], chosen: tuple[str, ...] | None
) -> None:
    hop = configured(home, f"KexAlgorithms {setting}\n" if setting else "")
    if chosen is None:
        with pytest.raises(
            HostError, match=r"paramiko has none of KexAlgorithms x,y; set `login: \{transport: openssh"
        ):
            hop.algorithms("kexalgorithms", own)
    else:
        assert hop.algorithms("kexalgorithms", own) == chosen


def test_ways_to_log_in_are_tried_as_the_settings_say(home: Path) -> None:
    ways = ("publickey", "keyboard-interactive", "password")
    for text, allowed in (
        ("", ways),
        ("PubkeyAuthentication no\nChallengeResponseAuthentication no\n", ("password",)),
        ("PreferredAuthentications gssapi-with-mic,publickey\n", ("publickey",)),
        ("PasswordAuthentication no\nPreferredAuthentications key*,password\n", ("keyboard-interactive",)),
    ):
        hop = configured(home, text)
        assert tuple(way for way in ways if hop.allows(way)) == allowed


def test_variables_are_sent_as_the_settings_say(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_SITE", "x")
    monkeypatch.setenv("OTHER", "y")
    hop = configured(home, 'SendEnv LC_S*\nSetEnv A="b c" D=\n')
    sent = hop.environment()
    assert {"LC_SITE": "x", "A": "b c", "D": ""}.items() <= sent.items()
    assert "OTHER" not in sent


def test_several_names_on_a_line_of_ssh_are_told_apart_by_the_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "my hosts").touch()
    said = f"host hpc\nuserknownhostsfile ~/my hosts {tmp_path}/my hosts /none /two\nidentityfile a\nidentityfile b c\n"
    found = parse_settings(said, tmp_path)
    assert found["userknownhostsfile"] == ("~/my hosts", f"{tmp_path}/my hosts", "/none", "/two")
    assert (found["identityfile"], found["host"]) == (("a", "b c"), ("hpc",))


def test_who_has_no_name_on_this_machine_reaches_another_by_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_000)
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000_000)
    (home / ".ssh" / "config").unlink(missing_ok=True)
    assert hop_to("alpha", Login("hpc", user="bob"), home).user == "bob"
    assert hop_to("alpha", Login("hpc"), home).user == "4000000000"
    assert os.path.isdir(home)  # noqa: PTH112


def test_what_ssh_is_given_to_read_is_this_users_alone_and_is_gone_afterwards(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".ssh" / "more").write_text("Host x\n")
    (home / ".ssh" / "config").write_text("Include more\nHost x\n  HostName machine\n")
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\n/usr/bin/stat -c "%a %n" "${{2%/*}}" "${{2%/*}}"/* >{tmp_path}/seen\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(ssh.parent), prepend=os.pathsep)
    settings_for("x", Login("x"), home, tmp_path / "no-system")
    modes, names = zip(*(line.split() for line in (tmp_path / "seen").read_text().splitlines()), strict=True)
    assert modes == ("700", "600", "600", "600", "600"), names
    assert not Path(names[0]).exists()

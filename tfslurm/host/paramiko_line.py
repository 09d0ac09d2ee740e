"""The line to one machine: a socket, a jump's channel or a ProxyCommand, and the encryption over it. Uses paramiko."""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from fnmatch import fnmatchcase

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from tfslurm.errors import HostError
from tfslurm.host.hops import USE_OPENSSH, WAYS_TO_KNOW, Hop
from tfslurm.host.known_hosts import Place, verify
from tfslurm.host.paramiko_channels import StreamingTransport
from tfslurm.host.terminal import has_terminal, tell

CONNECT_S = 20
ANSWER_S = 180
"How long the far side may think about a login: somebody may have to confirm it on a phone."
KEEPALIVE_S = 30
LAST_WORDS_S = 2
"How long a ProxyCommand that has hung up is waited for."
FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else its threads print what is raised here as well


class Line:
    """The line to one machine on the way; what it opens is closed with ``opened``."""

    def __init__(self, name: str, hop: Hop, opened: ExitStack) -> None:
        self._name, self._hop, self._opened = name, hop, opened
        self._command: _ProxyCommand | None = None
        timeout = hop.value("connecttimeout")
        self._patience_s = int(timeout) if timeout.isdigit() and int(timeout) else CONNECT_S

    def start(self, before: paramiko.Transport | None) -> paramiko.Transport:
        """Encrypt a line to the machine, whose key must be known; ``before`` is the machine that it goes through.

        Raises:
            HostError: the key is not known, or the settings ask for what paramiko cannot do.
            SSHException, EOFError, OSError: it is not reached.
        """
        hop = self._hop
        known, rsa = hop.known(), hop.value("requiredrsasize")
        transport = StreamingTransport(self._open(before), disabled_algorithms={"pubkeys": list(_unwanted_keys(hop))})
        self._opened.callback(hang_up, transport)
        transport.banner_timeout, transport.auth_timeout = self._patience_s, ANSWER_S
        options = transport.get_security_options()
        options.ciphers = hop.algorithms("ciphers", options.ciphers)
        options.digests = hop.algorithms("macs", options.digests)
        options.kex = hop.algorithms("kexalgorithms", options.kex)
        kinds = {kind for key in known if not key.marker for kind in _algorithms(key.kind)}
        types = hop.algorithms("hostkeyalgorithms", options.key_types)
        options.key_types = sorted(types, key=lambda kind: kind not in kinds)
        transport.use_compression(hop.value("compression").lower() == "yes")
        transport.start_client(timeout=self._patience_s)
        key = transport.get_remote_server_key()
        if rsa.isdigit() and key.get_name() == "ssh-rsa" and key.get_bits() < int(rsa):
            why = f"its host key is RSA of {key.get_bits()} bits, and RequiredRSASize of your ssh settings is {rsa}"
            raise HostError(f"{self._name}: {hop}: {why}; ask the cluster's administrators for a longer one")
        self._verify(key)
        transport.set_keepalive(KEEPALIVE_S)
        return transport

    def _verify(self, key: paramiko.PKey) -> None:
        hop = self._hop
        own = (str(path) for path in hop.known_hosts if not path.is_relative_to("/etc"))
        file = next(own, "~/.ssh/known_hosts")
        try:
            verify(Place(self._name, hop.host, hop.port, hop.alias, file), key.get_name(), key.asbytes(), hop.known())
        except HostError as error:
            raise HostError(f"{error}{hop.unused(WAYS_TO_KNOW)}") from None

    def _open(self, before: paramiko.Transport | None) -> paramiko.Channel | socket.socket:
        hop = self._hop
        if before:
            return before.open_channel("direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=self._patience_s)
        if hop.proxy_command:
            self._command = _ProxyCommand(hop.proxy_command, self._opened)
            return self._command.line
        return self._opened.enter_context(self._dial())

    def _dial(self) -> socket.socket:
        """Connect to the first address that answers, of the family and from the address that the settings name."""
        hop = self._hop
        family = FAMILIES.get(hop.value("addressfamily"), socket.AF_UNSPEC)
        bind = hop.value("bindaddress")
        failed: OSError = OSError("no address is known for that name")
        for found, kind, protocol, _, address in _addresses(hop, family):
            line = socket.socket(found, kind, protocol)
            try:
                line.settimeout(self._patience_s)
                if bind and bind != "none":
                    line.bind((bind, 0))
                line.connect(address)
                return line
            except OSError as error:
                line.close()
                failed = error
        raise failed

    def end_of_command(self) -> str:
        """How the ProxyCommand ended, with its last words and what to do; '' where it goes on, or there is none."""
        return self._command.end() if self._command else ""


def _addresses(hop: Hop, family: int) -> Iterator[tuple[int, int, int, str, tuple[str, int]]]:
    yield from socket.getaddrinfo(hop.host, hop.port, family, socket.SOCK_STREAM)  # type: ignore[misc]


class _ProxyCommand:
    """A program that carries the line: a socket, because paramiko.ProxyCommand spins for ever when its command ends."""

    def __init__(self, command: str, opened: ExitStack) -> None:
        self._shown, self._said = command, bytearray()
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                ["sh", "-c", f"exec {command}"],
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, name="proxy command", daemon=True)
        self._reader.start()
        opened.callback(self._process.wait)
        opened.callback(self._process.kill)
        self.line = opened.enter_context(ours)

    def _read(self) -> None:
        """Keep what it says last; somebody who sits there sees what a program that goes on has to say."""
        assert self._process.stderr is not None  # noqa: S101  (asked for)
        with self._process.stderr as stream:
            while chunk := stream.read1(4096):  # type: ignore[attr-defined]
                self._said += chunk
                del self._said[:-2000]
                if not has_terminal():
                    continue
                try:
                    self._process.wait(0.5)
                except subprocess.TimeoutExpired:
                    tell(chunk.decode("utf-8", "replace"))

    def end(self) -> str:
        """How it ended, its last words, and what to do; '' where it goes on."""
        try:
            code = self._process.wait(LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            return ""
        self._reader.join(LAST_WORDS_S)
        said = " ".join(self._said.decode("utf-8", "replace").split())[-400:] or "it said nothing"
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        return f"its ProxyCommand `{self._shown}` {how}: {said}; see that the command works by itself"


def _unwanted_keys(hop: Hop) -> Iterator[str]:
    """The signatures of paramiko's that PubkeyAcceptedAlgorithms does not allow."""
    wanted = hop.algorithms("pubkeyacceptedalgorithms", ())
    for kind in ("rsa-sha2-512", "rsa-sha2-256"):
        if wanted and not any(fnmatchcase(kind, each) for each in wanted):
            yield kind


def trouble(error: Exception) -> str:
    """Why a line could not be opened, or broke, and what to do."""
    if isinstance(error, socket.gaierror):
        return "no address is known for that name; correct `host` or `proxy_jump` of `login` in the cluster file"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; correct `port` of `login` in the cluster file, or try again"
    if isinstance(error, IncompatiblePeer):
        return f"{error}; {USE_OPENSSH}"
    return f"{str(error) or type(error).__name__}; try again"


def hang_up(line: paramiko.Transport | paramiko.Channel) -> None:
    """Close a line, which tells the far side: where that has gone already there is nobody to tell."""
    with suppress(paramiko.SSHException, EOFError, OSError):
        line.close()


def _algorithms(kind: str) -> tuple[str, ...]:
    """The signatures that a key of this kind can make: RSA's have other names than its keys."""
    return ("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,)

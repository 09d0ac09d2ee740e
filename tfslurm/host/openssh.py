"""The system's ssh: all of ~/.ssh/config, GSSAPI, FIDO keys, certificates. One login serves many commands.

The first command makes a shared connection (ControlMaster) that stays for ten minutes after the last one, so that
somebody who logs in with a second factor does so once. Source: ssh_config(5).
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from tfslurm.cluster import Login
from tfslurm.errors import HostError, InputError, TooMuchOutput
from tfslurm.host.command import (
    BEGIN,
    NOISE,
    Raw,
    Received,
    Transport,
    no_program,
    remote_line,
    remote_result,
    run_process,
    too_much,
)
from tfslurm.host.known_hosts import Place, changed_key, revoked_key, unknown_key
from tfslurm.host.protocol import MOST_STDERR
from tfslurm.host.ssh_config import Settings, misread, options_for, parse_settings
from tfslurm.host.ssh_files import SYSTEM, lines_of
from tfslurm.host.terminal import ALONE, has_terminal
from tfslurm.local_files import write_file

if TYPE_CHECKING:
    from tfslurm.host.attached_output import Output
    from tfslurm.host.forward import Carrier, Say, Target
    from tfslurm.host.pipe import Pipe

CONNECT_S = 20
PERSIST_S = 600
LOOK_EVERY_S = 0.2
LONGEST_SOCKET = 104 - len("/01234567-") - 40 - len(".0123456789abcdef") - 1
"What sockaddr_un leaves for the folder: %C is 40 characters, and ssh adds 17 while it makes the socket."

HOST_KEYS = {"StrictHostKeyChecking": "yes", "UpdateHostKeys": "no", "NoHostAuthenticationForLocalhost": "no"}
SETTINGS = {
    **HOST_KEYS,
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "4",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "RequestTTY": "no",
    "RemoteCommand": "none",
    "PermitLocalCommand": "no",
    "LogLevel": "ERROR",
}


class OpenSshHost(Transport):
    """A login node behind the ssh program; ``config`` replaces ~/.ssh/config, ``programs`` come first in PATH there."""

    def __init__(
        self,
        name: str,
        login: Login,
        environment: Mapping[str, str] | None = None,
        *,
        config: str = "",
        programs: str = "",
    ) -> None:
        self.name = name
        self._login = login
        self._environment = environment or {}
        self._programs = programs
        self._ssh = ["ssh", "-F", str(settings_file(name, config))]
        self._ssh += [word for item in SETTINGS.items() for word in ("-o", "=".join(item))]
        self._ssh += [*options_for(login), *(["-J", login.proxy_jump] if login.proxy_jump else [])]
        self._is_closed = self._is_ours = False
        self._reviving = Lock()
        if not self._answers():  # the user's own shared connection is as good
            self._ssh += ["-o", f"ControlPath={runtime_folder(name)}/{socket_name(login.host)}"]
            self._is_ours = True
            if not self._answers():
                self._connect()

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        """Run one command to its end."""
        line = remote_line(argv, self._environment, timeout_s, self._programs)
        words = ["-o", "BatchMode=yes", "-o", "ControlMaster=no", "--", self._login.host, line]
        if self._is_closed:
            self._connect()
        received = Received(self.name, argv, max_bytes, spare=NOISE)
        try:
            raw = run_process(received, [*self._ssh, *words], input, timeout_s, os.environ)
        except TooMuchOutput:
            if received.full == "stderr" and self._is_ours:  # sshd closes stdout alone while the connection is there
                self._ask_connection("exit")
                self._is_closed = True
            raise
        if raw.exit_code == 255 and BEGIN not in raw.stdout:
            if not self._answers():  # the shared connection is gone: one more login, for the commands that follow
                self._connect()
                why = f"the line was lost before {argv[0]} was started; try again"
                raise HostError(f"{self.name}: {why}", transient=True)
            raise self._refused(raw.stderr)
        return remote_result(self.name, argv, raw)

    def carrier(self, target: Target, say: Say | None) -> Carrier:
        """Connections over the shared connection; see Host.forward."""
        from tfslurm.host.openssh_forward import Shared

        def revive() -> None:
            with self._reviving:
                if not self._answers():
                    if say:
                        say(f"{self.name}: the line was lost; logging in again")
                    self._connect()

        return Shared(self.name, target, runtime_folder(self.name), self._ask_to_forward, revive)

    def _ask_to_forward(self, word: str, specification: str) -> str:
        """Ask the shared connection alone: with the user's settings, ssh would ask for the forwards in them too."""
        argv = ["ssh", "-F", "none", "-o", f"ControlPath={self._setting('controlpath').replace('%', '%%')}"]
        argv += ["-o", "LogLevel=ERROR", "-O", word, "-L", specification, "--", self._login.host]
        raw = run_process(Received(self.name, argv), argv, b"", CONNECT_S, os.environ)
        said = " ".join(raw.stderr.decode("utf-8", "replace").split())[-400:]
        return "" if raw.exit_code == 0 else said or f"exit {raw.exit_code}"

    def execute_attached(self, argv: Sequence[str], output: Output, *, terminal: bool) -> int:
        """Run one command with our own streams, over the shared connection; ssh itself has the terminal."""
        from tfslurm.host.attached import attached_line, run_attached

        line = attached_line(argv, self._environment, self._programs)
        words = self._attached_words(line, "force" if terminal else "no")
        code = run_attached(self.name, words, os.environ, output, terminal=terminal)
        if code == 255 and not self._answers():
            raise HostError(f"{self.name}: the line was lost while {argv[0]} ran", transient=True)
        return code

    def start_pipe(self, argv: Sequence[str]) -> Pipe:
        """Start one command whose streams stay open, over the shared connection."""
        from tfslurm.host.attached import attached_line
        from tfslurm.host.process_pipe import ProcessPipe

        line = attached_line(argv, self._environment, self._programs)
        return ProcessPipe(self.name, self._attached_words(line, "no"), os.environ)

    def _attached_words(self, line: str, terminal: str) -> list[str]:
        with self._reviving:
            if self._is_closed or not self._answers():
                self._connect()
        words = ["-o", f"RequestTTY={terminal}", "-o", "EscapeChar=none", "-o", "BatchMode=yes"]
        return ["ssh", *words, "-o", "ControlMaster=no", *self._ssh[1:], "--", self._login.host, line]

    @cached_property
    def _settings(self) -> Settings:
        """What ssh makes of its files for this machine; nothing where it does not understand them."""
        argv = [*self._ssh, "-G", "--", self._login.host]
        raw = run_process(Received(self.name, argv), argv, b"", CONNECT_S, os.environ)
        return parse_settings(raw.stdout.decode("utf-8", "replace"), Path.home()) if raw.exit_code == 0 else {}

    def _setting(self, key: str, default: str = "") -> str:
        return next(iter(self._settings.get(key, ())), default)

    def _answers(self) -> bool:
        return self._ask_connection("check") == 0

    def _ask_connection(self, word: str) -> int:
        argv = [*self._ssh, "-O", word, "--", self._login.host]
        return run_process(Received(self.name, argv), argv, b"", CONNECT_S, os.environ).exit_code

    def _connect(self) -> None:
        """Log in; questions, if any, come on the terminal, so this is the one ssh that is not taken off it.

        stderr is a file: the shared connection stays in the background and would hold a pipe open.
        """
        asks = has_terminal()
        words = ["-o", f"BatchMode={'no' if asks else 'yes'}", "-o", "ControlMaster=auto"]
        words += ["-o", f"ControlPersist={PERSIST_S}", "--", self._login.host, "true"]
        with ALONE, tempfile.TemporaryFile() as said:
            try:
                ssh = subprocess.Popen(
                    [*self._ssh, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
                )
            except FileNotFoundError:
                raise no_program(self.name, "ssh", remote=False) from None
            self._is_closed = False
            timeout = self._setting("connecttimeout")
            patience_s = 2 * (int(timeout) if timeout.isdigit() else CONNECT_S)
            code = self._logged_in(ssh, said.fileno(), max(300, patience_s) if asks else patience_s)
            said.seek(0)
            if code == 255:
                raise self._refused(said.read(MOST_STDERR))

    def _logged_in(self, ssh: subprocess.Popen[bytes], said: int, patience_s: int) -> int:
        """How a login ended; one that takes too long, or whose start-up files fill the disk, is killed."""
        ends = time.monotonic() + patience_s
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return ssh.wait(LOOK_EVERY_S)
                if os.fstat(said).st_size > MOST_STDERR:
                    raise too_much(self.name, ["ssh", self._login.host, "true"], "stderr", MOST_STDERR)
                if time.monotonic() > ends:
                    why = f"cannot be reached: no login within {patience_s} s; see that `ssh {self._login.host}` works"
                    raise HostError(f"{self.name}: {self._login.host}: {why}", transient=True)
        finally:
            if ssh.returncode is None:
                ssh.kill()
                ssh.wait()

    def _refused(self, stderr: bytes) -> HostError:
        text = stderr.decode("utf-8", "replace")
        said = " ".join(text.split())
        if "bad configuration option" in said or "Bad owner or permissions" in said:
            return HostError(f"{self.name}: {misread(text)}")
        port = self._setting("port", "22")
        file = self._settings.get("userknownhostsfile", ("~/.ssh/known_hosts",))[0]
        host, alias = self._setting("hostname", self._login.host), self._setting("hostkeyalias")
        place = Place(self.name, host, int(port), "" if alias == "none" else alias, file)
        if "REVOKED HOST KEY" in said or "revoked by file" in said:
            return HostError(revoked_key(place))
        if "IDENTIFICATION HAS CHANGED" in said:
            return HostError(changed_key(place))
        if "Host key verification failed" in said:
            return HostError(unknown_key(place))
        where = f"{self.name}: {self._login.host}"
        if "authentication failures" in said:
            fix = "ssh offered too many keys; name one: `IdentityFile` and `IdentitiesOnly yes` in ~/.ssh/config"
            return HostError(f"{where}: not let in: {said[-400:]}; {fix}")
        if "Permission denied" in said:
            fix = "load a key (ssh-add), or run this on a terminal so that you can be asked"
            return HostError(f"{where}: not let in: {said[-400:]}; {fix}")
        fix = self._fix(said)
        return HostError(f"{where}: cannot be reached: {said[-400:] or 'ssh said nothing'}; {fix}", transient=True)

    def _fix(self, said: str) -> str:
        """What to do about a machine that was not reached."""
        if (command := self._setting("proxycommand", "none")) != "none":
            return f"see that its ProxyCommand `{command}` works by itself"
        if self._setting("proxyjump", "none") != "none":  # ssh keeps the words of a jump's to itself
            return "if a jump leads there, log in to that one with `ssh`: its host key may be unknown"
        fixes = {
            "Could not resolve": "correct `host` or `proxy_jump` of `login` in the cluster file",
            "Connection refused": "correct `port` of `login` in the cluster file, or try again",
            "Unable to negotiate": "the machine and your ssh have no algorithm in common: see ssh_config(5)",
        }
        return next((fix for words, fix in fixes.items() if words in said), "see that the machine is up, or try again")


def settings_file(name: str, config: str) -> Path:
    """Return a file that says what host keys are for, then the user's settings and the system's.

    The ssh that makes a jump takes no option from the command line but this file: the user's `accept-new` would let a
    jump that a cluster file names add its own key. As ssh does, ~ is taken from the password file and not from HOME.
    Source: ssh(1), -F; ssh_config(5), Include (which checks who may write the files).

    Raises:
        HostError: as ``runtime_folder``, or it cannot be written.
    """
    try:
        config = config or f"{pwd.getpwuid(os.getuid()).pw_dir}/.ssh/config"
    except KeyError:
        raise HostError(f"{name}: uid {os.getuid()} is not in the password file, and ssh wants it there") from None
    lines = [*(f"{key} {value}" for key, value in HOST_KEYS.items()), f'Include "{config}"', "Match all"]
    text = "\n".join([*lines, *system_lines(), "Match all", f"ConnectTimeout {CONNECT_S}", ""])
    path = runtime_folder(name) / f"config-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    try:
        write_file(path, text.encode())
    except InputError as error:
        raise HostError(f"{name}: {error}") from error
    return path


def system_lines() -> Iterator[str]:
    """Yield the lines of the system's file as they mean the same in another one: names in it begin at its folder."""
    for line in lines_of(SYSTEM, Path.home()):
        if line.key == "include":
            places = (word if word.startswith("~") else SYSTEM.parent / word for word in line.words)
            yield "Include " + " ".join(f'"{place}"' for place in places)
        else:
            yield line.text


def socket_name(host: str) -> str:
    """Return a pattern of ssh's that tells names apart, which may have known keys of their own for one address.

    %C alone is a hash of the address, user and port (ssh_config(5), TOKENS).
    """
    return f"{hashlib.sha256(host.encode()).hexdigest()[:8]}-%C"


def runtime_folder(name: str) -> Path:
    """Return a folder of the user alone, short enough for sockets.

    /tmp is everybody's: where somebody else has made the folder there, one in ~/.ssh serves.

    Raises:
        HostError: others made it, or can write in it.
    """
    folders = [Path(os.environ.get("XDG_RUNTIME_DIR") or "/nowhere", "tfslurm")]
    if len(str(folders[0])) > LONGEST_SOCKET or not folders[0].parent.is_dir():
        folders = [Path(f"/tmp/tfslurm-{os.getuid()}"), Path.home() / ".ssh/tfslurm"]  # noqa: S108  (looked at below)
    for folder in folders:
        if len(str(folder)) <= LONGEST_SOCKET and is_own(folder):
            return folder
    why = "is not a folder of yours alone; remove it, or chmod 700 it, or set XDG_RUNTIME_DIR to the parent of one"
    raise HostError(f"{name}: {folders[-1]}: {why}")


def is_own(folder: Path) -> bool:
    """Whether it is a folder of the user alone; it is made where it is missing."""
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077

"""One command on its way to a machine and back: what it is fed, the line that a remote shell gets, what came of it."""

from __future__ import annotations

import fcntl
import math
import os
import re
import selectors
import shlex
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

from tfslurm.errors import CommandFailed, Completed, HostError, NoProgram, TooMuchOutput
from tfslurm.host.protocol import MOST_BYTES, MOST_STDERR
from tfslurm.remote_programs import one_line

if TYPE_CHECKING:
    from tfslurm.host.attached_output import Output
    from tfslurm.host.forward import Carrier, Forward, Say, Target
    from tfslurm.host.pipe import Pipe

LONGEST_COMMAND = 120
NOISE = 2**16
"Bytes that start-up files may print beside the command, with the marks."
ROOM = 2**20
"Bytes that wait in a pipe: many at once are fewer turns for the program that writes and for this one."
BEGIN, END = b"<tfslurm-begin>", b"<tfslurm-end:"
ENDED = re.compile(re.escape(END) + rb"([0-9]{1,3})>\Z")
"The end mark with the exit code of the command, which ssh alone would not tell from its own 255."


class Raw(NamedTuple):
    """How a command ended, byte for byte."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Received:
    """The received part of a command's two streams, never more than their limits. Each stream has one reader.

    ``name`` and ``argv`` are the machine and the command as messages show them; ``spare`` is how much may arrive beside
    the command's own output.
    """

    def __init__(self, name: str, argv: Sequence[str], max_bytes: int = MOST_BYTES, *, spare: int = 0) -> None:
        self.name, self.argv, self._spare = name, argv, spare
        self._limits = {"stdout": max_bytes, "stderr": MOST_STDERR}
        self._kept = {stream: BytesIO() for stream in self._limits}
        self.full = ""  # the stream that passed its limit

    def add(self, stream: str, chunk: bytes) -> bool:
        """Keep a chunk; False where the stream has passed its limit and is not to be read on."""
        kept = self._kept[stream]
        if kept.tell() + len(chunk) > self._limits[stream] + self._spare:
            self.full = self.full or stream
            return False
        kept.write(chunk)
        return True

    def ended(self, exit_code: int) -> Raw:
        """The exit code and the kept output, as the end of the command."""
        return Raw(exit_code, self._kept["stdout"].getvalue(), self._kept["stderr"].getvalue())

    def too_much(self) -> TooMuchOutput:
        """The error for the stream that passed its limit."""
        return too_much(self.name, self.argv, self.full, self._limits[self.full])


class Transport(ABC):
    """The common part of the ways to reach a machine; each of them only says how one command is executed."""

    name: str

    @abstractmethod
    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        """Run one command to its end."""

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes | Iterable[bytes] = b"",
        timeout_s: float = 60.0,
        max_bytes: int = MOST_BYTES,
    ) -> Completed:
        """Return the command and how it ended; see Host."""
        return _completed(self.name, argv, self._execute(argv, input, timeout_s, max_bytes))

    def run_bytes(
        self,
        argv: Sequence[str],
        *,
        input: bytes | Iterable[bytes] = b"",
        timeout_s: float = 60.0,
        max_bytes: int = MOST_BYTES,
    ) -> bytes:
        """Return the command's stdout; see Host."""
        raw = self._execute(argv, input, timeout_s, max_bytes)
        if raw.exit_code:
            raise CommandFailed(_completed(self.name, argv, raw))
        return raw.stdout

    def attach(self, argv: Sequence[str], *, terminal: bool = False, mark: bytes = b"") -> int:
        """Run a command with our own streams; see Host."""
        from tfslurm.host.attached_output import Output, flush, not_begun

        flush()
        output = Output(b"" if terminal else mark)
        code = self.execute_attached(argv, output, terminal=terminal)
        if code and not output.has_begun:
            raise not_begun(self.name, code, output)
        return code

    @abstractmethod
    def execute_attached(self, argv: Sequence[str], output: Output, *, terminal: bool) -> int:
        """Run one command with our own stdin and stderr to its end; ``output`` takes what it prints on stdout."""

    def open_pipe(self, argv: Sequence[str], mark: bytes) -> Pipe:
        """Start a command with streams for the caller; see Host."""
        from tfslurm.host.pipe import begun

        return begun(self.name, argv, self.start_pipe(argv), mark)

    @abstractmethod
    def start_pipe(self, argv: Sequence[str]) -> Pipe:
        """Start one command whose streams stay open."""

    def forward(self, target: Target, *, port: int = 0, say: Say | None = None) -> Forward:
        """Return a port of this machine that leads to the target; see Host."""
        from tfslurm.host.forward import Forward

        carrier = self.carrier(target, say)
        try:
            return Forward(self.name, target, port, carrier, say)
        except BaseException:
            carrier.close()
            raise

    def carrier(self, target: Target, say: Say | None) -> Carrier:
        """What carries connections to a target; this machine's own where there is no line to cross."""
        from tfslurm.host.forward import Direct

        return Direct(self.name, target)

    def _execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        if isinstance(argv, str) or not argv or any("\0" in word for word in argv):
            raise ValueError(f"not an argv: {argv!r}")
        raw = self.execute(argv, input, timeout_s, max_bytes)
        if len(raw.stdout) > max_bytes:  # the room that start-up files have was used by the command
            raise too_much(self.name, argv, "stdout", max_bytes)
        return raw


def _completed(name: str, argv: Sequence[str], raw: Raw) -> Completed:
    out, err = (stream.decode("utf-8", "surrogateescape") for stream in (raw.stdout, raw.stderr))
    return Completed(argv=tuple(argv), exit_code=raw.exit_code, stdout=out, stderr=err, host=name)


def too_late(name: str, argv: Sequence[str], timeout_s: float) -> HostError:
    """The error for a command that was given up."""
    why = f"did not end within {timeout_s:g} s and was given up; is the machine or its file system overloaded?"
    return HostError(f"{name}: {shown(argv)}: {why}", transient=True)


def shown(argv: Sequence[str]) -> str:
    """The beginning of a command in one printable line, without the variables that `env` sets and takes away."""
    words = list(argv)
    while len(words) > 1 and (words[0] in ("env", "-u") or "=" in words[0]):
        del words[: 2 if words[0] == "-u" else 1]
    if one_line("eval-program") in words:  # one of ours goes by its name
        place = words.index(one_line("eval-program"))
        words = [words[place + 1], *words[place + 3 :]]
    line = "".join(letter if letter.isprintable() else "?" for letter in shlex.join(words))
    return line if len(line) <= LONGEST_COMMAND else line[: LONGEST_COMMAND - 1] + "…"


def too_much(name: str, argv: Sequence[str], stream: str, limit: int) -> TooMuchOutput:
    """The error for a command that was killed because it printed too much."""
    size = f"{limit / 2**20:.4g} MiB" if limit >= 2**20 else f"{limit} bytes"
    fix = f"run it on {name} yourself and see what it prints, or tell the administrators"
    return TooMuchOutput(f"{name}: {shown(argv)}: printed more than {size} on {stream} and was killed; {fix}")


def no_program(name: str, program: str, *, remote: bool) -> NoProgram:
    """The error for a program that cannot be started."""
    fix = "install it, or put its folder on PATH"
    if remote:
        fix = "its folder may be on PATH in login shells only; name it in the cluster file: `slurm_bin: /opt/slurm/bin`"
    return NoProgram(f"{name}: {program!r} is not a program there (not found on PATH, or not executable); {fix}")


class Feeder(threading.Thread):
    """Writes the input while others read the output; keeps the failure of a chunk that could not be made."""

    def __init__(
        self, input: bytes | Iterable[bytes], write: Callable[[bytes], object], close: Callable[[], object]
    ) -> None:
        super().__init__(name="feeder", daemon=True)
        self._input, self._write, self._close = input, write, close
        self._failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Write chunk after chunk, then end the input."""
        try:
            for chunk in [self._input] if isinstance(self._input, bytes) else self._input:
                try:
                    self._write(chunk)
                except (OSError, ValueError):
                    break  # the command has stopped reading; its exit code and stderr say why
        except BaseException as failure:  # raised on in the caller's thread
            self._failure = failure
        finally:
            with suppress(OSError, ValueError):
                self._close()

    def finish(self) -> None:
        """Raise what went wrong while a chunk was made."""
        self.join(5)
        if self._failure:
            raise self._failure


def run_process(
    received: Received,
    argv: Sequence[str],
    input: bytes | Iterable[bytes],
    timeout_s: float,
    environment: Mapping[str, str],
) -> Raw:
    """Run a program of this machine to its end; see Host for what is raised."""
    name = received.name
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # every exit code would be 0
        fix = "call signal.signal(signal.SIGCHLD, signal.SIG_DFL)"
        raise HostError(f"{name}: this program ignores SIGCHLD, so that it hears of no command's end; {fix}")
    try:
        process = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.PIPE if input != b"" else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (FileNotFoundError, PermissionError):
        raise no_program(name, argv[0], remote=False) from None
    except OSError as error:
        raise HostError(f"{name}: cannot start {argv[0]!r}: {error.strerror}") from error
    feeder = Feeder(input, process.stdin.write, process.stdin.close) if process.stdin else None
    ends = time.monotonic() + timeout_s
    try:
        _read(process, received, ends)
        code = process.wait(max(0.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise too_late(name, received.argv, timeout_s) from None
    finally:
        _close(process)
    if received.full:
        raise received.too_much()
    if feeder:
        feeder.finish()
    return received.ended(code if code >= 0 else 128 - code)


def _read(process: subprocess.Popen[bytes], received: Received, ends: float) -> None:
    """Read both streams to their ends, or to the limit of one, where the process is killed."""
    with selectors.DefaultSelector() as selector:
        for stream, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            assert pipe is not None  # noqa: S101 - asked for
            selector.register(pipe, selectors.EVENT_READ, stream)
            with suppress(AttributeError, OSError):  # no Linux, or no more of this size for this user
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, ROOM)
        while selector.get_map():
            ready = selector.select(max(0.0, ends - time.monotonic()))
            if time.monotonic() >= ends:  # also of what drips without end
                raise subprocess.TimeoutExpired(process.args, 0)
            for key, _ in ready:
                chunk = os.read(key.fd, ROOM)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif not received.add(key.data, chunk):
                    _kill(process)
                    return


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _close(process: subprocess.Popen[bytes]) -> None:
    """End the process if it has not ended; what left the group and holds the pipes open is not waited for."""
    if process.returncode is None:
        _kill(process)
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


def remote_line(argv: Sequence[str], environment: Mapping[str, str], timeout_s: float, programs: str = "") -> str:
    """Return the one line for a remote login shell of any kind (bash, zsh, tcsh, fish): words in quotes only.

    Marks around stdout tell the command's own output from what start-up files print; the far side ends the command
    itself a little after this side has given it up, because closing a line kills only what writes into it.
    ``programs`` is a folder to put before PATH there.
    """
    settings = [f"{key}={value}" for key, value in environment.items()]
    limit = ["timeout", "--kill-after=5", str(math.ceil(timeout_s) + 5)]
    marks = (BEGIN.decode(), END.decode())
    command = ("env", *settings, *limit, *argv)
    if any("\n" in word for word in command):
        command = ("sh", "-c", one_line("unescaped"), "sh", *map(escaped, command))
    return " ".join(map(quoted, ("sh", "-c", one_line("marked"), "sh", *marks, programs, *command)))


def escaped(word: str) -> str:
    """The word without line breaks, which tcsh takes in no word; ``printf %b`` reads it back."""
    return word.replace("\\", "\\\\").replace("\n", "\\n")


def quoted(word: str) -> str:
    r"""Return a word that sh, bash, zsh, tcsh and fish all read as it is; of a line break see ``escaped``.

    shlex.quote is not enough: zsh looks up a program for a bare `=x`, fish reads `\\'` within quotes, tcsh reads `!`.
    """
    parts = re.findall(r"[\\'!]|[^\\'!]+", word)
    safe = re.compile(r"[A-Za-z0-9_./:,+-]+")
    shown = (f"\\{part}" if part in "\\'!" else part if safe.fullmatch(part) else f"'{part}'" for part in parts)
    return "".join(shown) or "''"


def remote_result(name: str, argv: Sequence[str], raw: Raw) -> Raw:
    """Return what the command itself did, freed of the marks.

    Raises:
        HostError: the remote shell did not start it, the program is missing there, or the line was lost.
    """
    noise, begin, body = raw.stdout.partition(BEGIN)
    if not begin:
        said = (raw.stderr or noise).decode("utf-8", "replace").strip()[-400:] or "it said nothing"
        raise HostError(f"{name}: the login shell there did not start {argv[0]!r} (exit {raw.exit_code}): {said}")
    end = ENDED.search(body, max(0, len(body) - len(END) - 4))
    if not end or int(end[1]) != raw.exit_code:
        raise HostError(f"{name}: the line was lost while {shlex.join(argv)[:400]} ran; try again", transient=True)
    if raw.exit_code in (126, 127) and b"timeout: failed to run command" in raw.stderr:
        raise no_program(name, argv[0], remote=True)
    return Raw(raw.exit_code, body[: end.start()], raw.stderr)

"""Commands and files on this machine, and the line that a remote shell gets. Real processes, real tar, real shells."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pytest

from tests.made import CLUSTER
from tfslurm.cluster import Cluster
from tfslurm.errors import CommandFailed, HostError, TfslurmError, TooMuchOutput
from tfslurm.host import File, Host, get, open_host, put, put_tree, read_from
from tfslurm.host.attached import attached_line, run_attached
from tfslurm.host.attached_output import Output
from tfslurm.host.command import BEGIN, NOISE, Raw, Received, Transport, remote_line, remote_result, run_process, shown
from tfslurm.host.fetching import Entry, pack
from tfslurm.host.files import as_tar, tree_contents
from tfslurm.host.local import LocalHost
from tfslurm.host.openssh import runtime_folder
from tfslurm.host.pipe import Pipe
from tfslurm.host.process_pipe import ProcessPipe
from tfslurm.host.user import user_name
from tfslurm.remote_programs import program
from tfslurm.snapshot import Snapshot, take
from tfslurm.workspace.config import Known


class ShellHost(Transport):
    """A login shell of this machine in place of SSH: the same one line, the same reading of what comes back."""

    name = "shell"

    def __init__(self, shell: str, before: str = "", programs: str = "") -> None:
        self._shell, self._before, self._programs = shell, before, programs

    def execute_attached(self, argv: Sequence[str], output: Output, *, terminal: bool) -> int:
        line = self._before + attached_line(argv, {"WORD": "a b"}, self._programs)
        return run_attached(self.name, [self._shell, "-c", line], os.environ, output, terminal=terminal)

    def start_pipe(self, argv: Sequence[str]) -> Pipe:
        line = self._before + attached_line(argv, {"WORD": "a b"}, self._programs)
        return ProcessPipe(self.name, [self._shell, "-c", line], os.environ)

    def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
        line = self._before + remote_line(argv, {"WORD": "a b"}, timeout_s, self._programs)
        received = Received(self.name, argv, max_bytes, spare=NOISE)
        raw = run_process(received, [self._shell, "-c", line], input, timeout_s, os.environ)
        return remote_result(self.name, argv, raw)


SHELLS = [name for name in ("sh", "bash", "zsh", "tcsh", "fish") if shutil.which(name)]


@pytest.fixture(params=["local", *SHELLS])
def host(request: pytest.FixtureRequest) -> Host:
    return LocalHost() if request.param == "local" else ShellHost(request.param)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def snapshot_of(folder: Path, count: int = 3) -> Snapshot:
    folder.mkdir()
    for number in range(count):
        (folder / f"m{number}.py").write_text(f"value = {number}\n")
    return take(folder)


def send(host: Host, folder: Path, snapshot: Snapshot) -> bool:
    target = PurePosixPath(folder)
    return put_tree(host, target, files=snapshot.files, bytes=snapshot.bytes, stream=snapshot.stream())


# --- commands


def test_every_word_arrives_as_it_is(host: Host) -> None:
    words = ["", "a b", "'", '"', "$HOME", "`id`", "*", "-n", "é", "\\", "#", "; exit 3", "%s", "~", "=x", "=ls"]
    words += ["a!b", "\\\\'", "~root", "^x", "?", "{a,b}"]
    script = "import sys; print(sys.argv[1:])"
    done = host.run([sys.executable, "-c", script, *words])
    assert (done.exit_code, done.stdout) == (0, f"{words}\n")


def test_an_exit_code_is_told_and_never_raised(host: Host) -> None:
    done = host.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.exit_code, done.stdout, done.stderr, done.host) == (7, "out\n", "err\n", host.name)
    assert done.argv == ("sh", "-c", "echo out; echo err >&2; exit 7")


@pytest.mark.parametrize(("stdout", "code"), [(BEGIN + b"all<tfslurm-end:0>", 255), (BEGIN + b"al", 255)])
def test_a_line_lost_after_the_last_byte_and_before_the_exit_code_is_worth_another_try(
    stdout: bytes, code: int
) -> None:
    with pytest.raises(HostError, match="line was lost while cat ran") as caught:
        remote_result("alpha", ["cat"], Raw(code, stdout, b""))
    assert caught.value.transient


def test_a_command_may_end_with_the_exit_code_that_ssh_has_for_itself(host: Host) -> None:
    done = host.run(["sh", "-c", "printf '<tfslurm-end:0>'; exit 255"])
    assert (done.exit_code, done.stdout) == (255, "<tfslurm-end:0>")


def test_a_program_that_hears_of_no_exit_code_runs_nothing() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(HostError, match="ignores SIGCHLD"):
            LocalHost().run(["false"])
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_death_by_signal_is_128_plus_its_number(host: Host) -> None:
    assert host.run(["sh", "-c", "kill -KILL $$"]).exit_code == 137


def test_undecodable_output_is_kept_as_surrogates_and_bytes_are_bytes(host: Host) -> None:
    done = host.run(["printf", r"\377x"])
    assert done.stdout.encode("utf-8", "surrogateescape") == b"\xffx"
    assert host.run_bytes(["printf", r"\377\000x"]) == b"\xff\x00x"


def test_run_bytes_raises_what_the_command_said(host: Host) -> None:
    with pytest.raises(CommandFailed, match="exit 3: no such partition") as caught:
        host.run_bytes(["sh", "-c", "echo no such partition >&2; exit 3"])
    assert caught.value.completed.exit_code == 3


def test_without_input_stdin_is_empty_and_input_arrives(host: Host) -> None:
    assert host.run(["cat"]).stdout == ""
    assert host.run(["cat"], input=b"x\0y").stdout == "x\0y"
    assert host.run(["cat"], input=(chunk for chunk in [b"a", b"b"])).stdout == "ab"


def test_a_command_that_does_not_read_its_input_is_no_error(host: Host) -> None:
    assert host.run(["sh", "-c", "exit 4"], input=bytes(2**22)).exit_code == 4


@pytest.mark.slow
def test_megabytes_on_both_streams_and_on_stdin_do_not_deadlock(host: Host) -> None:
    script = "import sys; data = sys.stdin.buffer.read(); sys.stderr.buffer.write(data); sys.stdout.buffer.write(data)"
    done = host.run([sys.executable, "-c", script], input=b"x" * 3_000_000)
    assert (len(done.stdout), len(done.stderr)) == (3_000_000, 3_000_000)


def test_a_chunk_that_cannot_be_made_ends_the_input_and_is_raised(host: Host, tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"begun"
        raise TfslurmError("a.py changed", transient=True)

    with pytest.raises(TfslurmError, match=r"a\.py changed"):
        host.run(["sh", "-c", 'cat > "$0"', str(tmp_path / "arrived")], input=chunks())
    assert (tmp_path / "arrived").read_bytes() == b"begun"


def test_a_missing_program_names_itself_and_its_machine(host: Host) -> None:
    with pytest.raises(HostError, match=rf"^{host.name}: 'sbatchh' is not a program there") as caught:
        host.run(["sbatchh", "--parsable"])
    assert not caught.value.transient


def test_a_command_that_does_not_end_is_given_up_with_its_children(tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    with pytest.raises(HostError, match=r"did not end within 0\.1 s") as caught:
        LocalHost().run(["sh", "-c", 'flock "$0" sleep 60 & wait', lock], timeout_s=0.1)
    assert caught.value.transient
    assert LocalHost().run(["flock", "--timeout=10", lock, "true"]).exit_code == 0


def test_the_environment_of_the_cluster_file_lies_over_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("SLURM_CONF", "mine")
    with open_host(Cluster(name="alpha", root=PurePosixPath("/x"), environment={"SLURM_CONF": "/a b"})) as alpha:
        assert alpha.name == "alpha"
        assert alpha.run(["sh", "-c", 'echo "$KEPT $SLURM_CONF"']).stdout == "1 /a b\n"
    assert ShellHost("sh").run(["sh", "-c", 'echo "$WORD"']).stdout == "a b\n"


@pytest.mark.parametrize("over", ["local", *SHELLS])
def test_the_site_s_programs_are_found_in_the_folder_that_the_cluster_file_names(over: str, tmp_path: Path) -> None:
    folder = tmp_path / "it's $HOME; a b"
    folder.mkdir()
    (folder / "squeue").write_text('#!/bin/sh\necho "$1 of the site"\nexit 3\n')
    (folder / "squeue").chmod(0o755)
    cluster = Cluster(name="alpha", root=PurePosixPath("/x"), slurm_bin=PurePosixPath(folder))
    with open_host(cluster) as here:
        host = here if over == "local" else ShellHost(over, programs=str(folder))
        done = host.run(["squeue", "a b"])
        assert (done.exit_code, done.stdout) == (3, "a b of the site\n")
        assert host.run(["sh", "-c", "squeue x"]).stdout == "x of the site\n"
        with pytest.raises(HostError, match="'sbatchh' is not a program there"):
            host.run(["sbatchh"])


@pytest.mark.parametrize("shell", SHELLS)
def test_what_start_up_files_print_is_not_the_commands_output(shell: str) -> None:
    noisy = ShellHost(shell, before="echo Welcome; echo Maintenance on Monday; ")
    assert noisy.run(["echo", "1234"]).stdout == "1234\n"
    assert noisy.run_bytes(["printf", r"\001"]) == b"\x01"


def test_a_login_shell_that_refuses_is_an_error_with_its_words() -> None:
    with pytest.raises(HostError, match=r"login shell there did not start 'id' \(exit 1\): account disabled"):
        ShellHost("sh", before="echo account disabled; exit 1; ").run(["id"])


def test_nologin_is_an_error() -> None:
    with pytest.raises(HostError, match="account is currently not available"):
        ShellHost("/usr/sbin/nologin").run(["id"])


# --- more than anybody asked for

ENDLESS = {
    "lines": "exec yes 0123456789",
    "bytes without a line": "exec cat /dev/zero",
    "lines on stderr": "exec yes x >&2",
    "on both": "yes x >&2 & exec yes y",
    "a child that outlives it": "yes x & exit 0",
}


@pytest.mark.slow
@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS.keys())
def test_a_command_that_prints_without_end_is_killed_at_once(host: Host, tmp_path: Path, script: str) -> None:
    lock, began = str(tmp_path / "lock"), time.monotonic()
    with pytest.raises(TooMuchOutput, match=rf"^{host.name}: flock .*: printed more than \d MiB on std.* was killed; "):
        host.run(["flock", lock, "sh", "-c", script], timeout_s=60, max_bytes=2**20)
    assert time.monotonic() - began < 20, "it was waited for"
    assert LocalHost().run(["flock", "--timeout=10", lock, "true"]).exit_code == 0, "it was not killed"


def test_on_this_machine_it_is_killed_also_where_it_has_stopped_printing(tmp_path: Path) -> None:
    lock = str(tmp_path / "lock")
    with pytest.raises(TooMuchOutput):
        LocalHost().run(["flock", lock, "sh", "-c", "head -c 1500000 /dev/zero; exec sleep 60"], max_bytes=2**20)
    assert LocalHost().run(["flock", "--timeout=10", lock, "true"]).exit_code == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_start_up_files_that_print_without_end_are_no_way_around_it(shell: str) -> None:
    with pytest.raises(TooMuchOutput, match=r"^shell: .*printed more than 1 MiB on stdout"):
        ShellHost(shell, before="yes Welcome; ").run(["squeue"], max_bytes=2**20)


def test_an_answer_of_just_the_limit_arrives_and_one_byte_more_does_not(host: Host) -> None:
    assert len(host.run_bytes(["head", "-c", "70000", "/dev/zero"], max_bytes=70000)) == 70000
    with pytest.raises(TooMuchOutput, match="printed more than 70000 bytes on stdout"):
        host.run_bytes(["head", "-c", "70001", "/dev/zero"], max_bytes=70000)


def test_the_command_of_a_message_is_one_printable_line_without_its_variables() -> None:
    argv = ("env", "-u", "SQUEUE_FORMAT", "-u", "X", "TZ=UTC0", "squeue", "--format=%i\x1e%T\n", "x" * 500)
    assert shown(argv).startswith("squeue '--format=%i?%T?' xxx")
    assert (len(shown(argv)), shown(("env",)), shown(("A=b", "ls"))) == (120, "env", "ls")


def test_what_a_message_repeats_of_a_command_is_short() -> None:
    with pytest.raises(CommandFailed) as caught:
        LocalHost().run_bytes(["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1"])
    assert len(str(caught.value)) < 5000


def tar_of(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w:") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for info, content in members:
            info.size = info.size or len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def sparse() -> bytes:
    """A file of 100 GB of holes in 1 KiB, as `tar --sparse` writes it."""
    info = tarfile.TarInfo("hole")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(10**11)}
    info.pax_headers |= {"GNU.sparse.name": "hole", "GNU.sparse.map": f"{10**11},0"}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    return stream.getvalue()


def leading_back(size: int) -> bytes:
    """Three files, of which the last one's size, below 0, puts the next one where an earlier one is."""
    first, last = tarfile.TarInfo("a").tobuf(), bytearray(tarfile.TarInfo("b").tobuf())
    last[124:136] = b"\xff" * 4 + struct.pack(">q", size)  # source: tar(5), GNU's numbers in base 256
    last[148:156] = b" " * 8
    last[148:156] = b"%06o\0 " % sum(last)
    return first * 2 + bytes(last) + bytes(1024)


def headers(kind: bytes) -> bytes:
    """What stands before a file to say more of it, and here of nothing."""
    info = tarfile.TarInfo("a")
    info.type = kind
    return info.tobuf(tarfile.GNU_FORMAT)


LYING = {  # made where they are needed: every process that runs tests reads this module
    "leading back": lambda: leading_back(-1024),
    "leading back to itself": lambda: leading_back(-512),
    "nothing but headers of headers": lambda: headers(b"L") * 5000,
    "nothing but extended headers": lambda: headers(b"x") * 5000,
    "no tar": lambda: b"x" * 4096,
    "gzip": lambda: tar_of((tarfile.TarInfo("a"), bytes(10**7)), mode="w:gz"),
    "xz": lambda: tar_of((tarfile.TarInfo("a"), bytes(10**7)), mode="w:xz"),
    "cut short": lambda: tar_of((tarfile.TarInfo("a"), bytes(5000)))[:2048],
    "holes": sparse,
}


@pytest.mark.parametrize("made", LYING.values(), ids=LYING.keys())
def test_a_stream_that_is_not_what_tar_there_makes_is_an_error_or_nothing(
    tmp_path: Path, made: Callable[[], bytes]
) -> None:
    stream = made()

    class Lying(LocalHost):
        """A machine that answers every command with one stream."""

        def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
            return Raw(0, stream, b"")

    folder = PurePosixPath(tmp_path)
    reads: list[Callable[[], Mapping[str, bytes]]] = [
        lambda: get(Lying("evil"), folder),
        lambda: pack(Lying("evil"), folder, [Entry("f", "hole", 1)]),
    ]
    for read in reads:
        try:
            assert read() == {}
        except HostError as error:
            assert re.match(rf"evil: {tmp_path}: the answer is no (tar stream: |list of files; )", str(error))


# --- files


def test_a_new_folder_is_written_whole_with_its_modes(host: Host, tmp_path: Path) -> None:
    target = PurePosixPath(tmp_path, "runs", "digits-0123")
    files = {
        "job.sbatch": File(b"#!/bin/bash\n", 0o755),
        "plan.json": File(b"{}"),
        "secrets/KEY": File(b"s3cret", 0o600),
        "empty": File(b""),
        "name with\nbreak é": File(b"x"),
        "n" * 200: File(bytes(range(256)) * 1000),
    }
    put(host, target, files)
    there = {
        str(path.relative_to(target)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in Path(target).rglob("*")
        if path.is_file()
    }
    assert there == {name: (file.content, file.mode) for name, file in files.items()}
    assert Path(target).stat().st_mode & 0o777 == 0o700
    assert Path(target, "secrets").stat().st_mode & 0o777 == 0o700
    assert names(Path(target.parent)) == ["digits-0123"]
    assert time.time() - Path(target, "plan.json").stat().st_mtime < 3600


def test_a_folder_that_exists_is_never_touched(host: Host, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(CommandFailed, match=r"write .*/run: exit 1: it exists already"):
        put(host, PurePosixPath(tmp_path, "run"), {"a": File(b"")})
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == []


def test_a_place_that_cannot_be_written_says_why_and_leaves_nothing(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandFailed, match=r"write .*mkdir: cannot create directory"):
        put(host, PurePosixPath(tmp_path, "file", "run"), {"a": File(b"")})


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "", "."])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no name below a folder"):
        put(LocalHost(), PurePosixPath(tmp_path, "run"), {name: File(b"")})


def test_a_transfer_that_is_cut_leaves_nothing_behind(tmp_path: Path) -> None:
    class CutHost(LocalHost):
        """A line that dies between two files, where tar itself sees nothing wrong."""

        def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
            whole = input if isinstance(input, bytes) else b"".join(input)
            if not whole:
                return super().execute(argv, whole, timeout_s, max_bytes)
            with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
                last = archive.getmembers()[-1].offset
            return super().execute(argv, whole[:last], timeout_s, max_bytes)

    with pytest.raises(CommandFailed, match="the transfer was cut short"):
        put(CutHost(), PurePosixPath(tmp_path, "runs", "a"), {"one": File(b"1"), "two": File(b"2")})
    snapshot = snapshot_of(tmp_path / "code")
    with pytest.raises(CommandFailed, match="the transfer was cut short"):
        send(CutHost(), tmp_path / "runs" / "tree", snapshot)
    assert names(tmp_path / "runs") == []


def test_what_was_put_comes_back(host: Host, tmp_path: Path) -> None:
    target = PurePosixPath(tmp_path, "run")
    files = {"a": b"1", "deep/er/b": bytes(range(256)), "line\nbreak": b"", "é": b"u", "n" * 150 + "/x": b"long"}
    put(host, target, {name: File(content) for name, content in files.items()})
    assert get(host, target) == files


def test_get_leaves_out_what_is_excluded_and_what_is_no_regular_file(host: Host, tmp_path: Path) -> None:
    files = {"1234/attempt-1/exit.json": b"{}", "1234/out/model": b"m", "secrets/KEY": b"s", "1234/x.log": b"l"}
    files["out"] = b"o"
    put(host, PurePosixPath(tmp_path, "run"), {name: File(content) for name, content in files.items()})
    (tmp_path / "run" / "link").symlink_to("/etc/passwd")
    os.link(tmp_path / "run" / "out", tmp_path / "run" / "same")
    os.mkfifo(tmp_path / "run" / "pipe")
    kept = get(host, PurePosixPath(tmp_path, "run"), exclude=["*/out", "secrets", "*.log"])
    assert kept == {"1234/attempt-1/exit.json": b"{}", "out": b"o", "same": b"o"}


def test_a_missing_folder_is_no_files(host: Host, tmp_path: Path) -> None:
    assert get(host, PurePosixPath(tmp_path, "none")) == {}
    (tmp_path / "empty").mkdir()
    assert get(host, PurePosixPath(tmp_path, "empty")) == {}


def test_a_file_that_is_too_large_takes_no_other_ones_place(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "job" / "facts"
    folder.mkdir(parents=True)
    for name, size in (("a", 60 * 2**20), ("b", 10), ("sparse", 2**40), ("c", 600), ("d", 500)):
        with (folder / name).open("wb") as file:
            file.truncate(size)
    found = get(host, PurePosixPath(tmp_path, "job"), max_bytes=1000, max_file_bytes=900)
    assert {name: len(content) for name, content in found.items() if not name.endswith(".error")} == {
        "facts/b": 10,
        "facts/d": 500,
    }
    assert sorted(name for name in found if name.endswith(".error")) == [
        "facts/a.error",
        "facts/c.error",
        "facts/sparse.error",
    ]
    assert found["facts/c.error"] == b"it was not read: it has 600 bytes, more than is read of one job"


def test_files_that_go_meanwhile_are_not_missed(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    for name in ("stays", " spaced  ", "-rf", "new\nline", "goes.tmp"):
        (folder / name).write_text("x")
    (tmp_path / "bin").mkdir()
    tar = tmp_path / "bin" / "tar"
    tar.write_text(f'#!/bin/sh\nrm -f {folder}/goes.tmp\nexec /usr/bin/tar "$@"\n')
    tar.chmod(0o755)
    host = LocalHost("alpha", {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})
    assert get(host, PurePosixPath(folder)) == dict.fromkeys(("stays", " spaced  ", "-rf", "new\nline"), b"x")


@pytest.mark.parametrize("where", ["job", "run"])
def test_a_job_folder_that_is_a_link_is_not_followed(tmp_path: Path, where: str) -> None:
    real = tmp_path / "real" / "1234"
    real.mkdir(parents=True)
    (real / "secret").write_text("s")
    (tmp_path / "run").mkdir() if where == "job" else (tmp_path / "run").symlink_to(tmp_path / "real")
    if where == "job":
        (tmp_path / "run" / "1234").symlink_to(real)
    with pytest.raises(CommandFailed, match="is a link, or in one, which is not followed"):
        get(LocalHost(), PurePosixPath(tmp_path, "run", "1234"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "nothing"])
def test_only_a_regular_file_is_read_from(host: Host, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "there"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "folder":
        path.mkdir()
    assert read_from(host, PurePosixPath(path), 0) == b""


@pytest.mark.slow
def test_files_that_are_written_meanwhile_do_not_disturb(tmp_path: Path) -> None:
    (tmp_path / "still").write_text("still")
    stop = threading.Event()

    def write() -> None:
        with (tmp_path / "log").open("ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"x" * 4096)
                file.truncate(0) if file.tell() > 2**24 else None

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            assert get(LocalHost(), PurePosixPath(tmp_path))["still"] == b"still"
    finally:
        stop.set()
        writer.join()


@pytest.mark.slow
def test_a_file_is_read_from_an_offset(host: Host, tmp_path: Path) -> None:
    path = PurePosixPath(tmp_path, "stdout.log")
    assert read_from(host, path, 0) == b""
    Path(path).write_bytes(b"0123\xff\n")
    assert read_from(host, path, 0) == b"0123\xff\n"
    assert read_from(host, path, 2, 3) == b"23\xff"
    assert read_from(host, path, 6) == b""
    assert read_from(host, path, 60) == b""


# --- code


@pytest.mark.slow
def test_a_snapshot_arrives_once_as_it_is_and_nobody_can_edit_it(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    (folder / "pkg").mkdir(parents=True)
    odd = ("pkg/line\nbreak", "pkg/é", "pkg/back\\slash", "windows\r", os.fsdecode(b"raw-\xff"), "-n")
    for name in ("a.py", "empty", *odd):
        (folder / name).write_text("" if name == "empty" else name, errors="surrogateescape")
    (folder / "a.py").chmod(0o755)
    for name in ("link", "link !", "pkg/up"):
        (folder / name).symlink_to("./a.py" if name != "pkg/up" else "../a.py")
    snapshot = take(folder)
    target = tmp_path / "root" / "code" / snapshot.tree
    assert send(host, target, snapshot)
    assert not send(host, target, snapshot)
    assert take(target).tree == snapshot.tree
    assert names(Path(target.parent)) == [snapshot.tree, f"{snapshot.tree}.contents"]
    for path in [target, *target.rglob("*")]:
        executable = path.is_dir() or path.name == "a.py"
        assert path.is_symlink() or stat.S_IMODE(path.stat().st_mode) == (0o500 if executable else 0o400), path
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700
    target.chmod(0o555)
    assert not send(host, target, snapshot)
    assert stat.S_IMODE(target.stat().st_mode) == 0o500, "a tree that others could read is closed when it is found"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["put", "put_tree"])
def test_what_arrives_is_the_users_alone_from_its_first_moment(tmp_path: Path, what: str) -> None:
    """The line stalls while files arrive; whoever looks then finds nothing that is open to others."""
    seen: dict[str, int] = {}
    large = b"b" * 2**17  # tar reads ahead some 10 KiB
    (tmp_path / "code").mkdir()
    for name in ("a", "b"):
        (tmp_path / "code" / name).write_bytes(large)
    snapshot = take(tmp_path / "code")
    target = tmp_path / "root" / "arriving"

    class StallingHost(LocalHost):
        def execute(self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int) -> Raw:
            whole = input if isinstance(input, bytes) else b"".join(input)
            return super().execute(argv, stalling(whole), timeout_s, max_bytes)

    def stalling(whole: bytes) -> Iterator[bytes]:
        yield whole[: 2**16]
        deadline = time.monotonic() + 60
        while not any(path.is_file() for path in target.parent.rglob("*")):
            assert time.monotonic() < deadline, "no file has begun to arrive"
            time.sleep(0.005)
        seen.update({path.name: path.stat().st_mode for path in target.parent.rglob("*")})
        yield whole[2**16 :]

    before = os.umask(0)
    try:
        if what == "put":
            put(StallingHost(), PurePosixPath(target), {"a": File(b"a"), "b": File(large)})
        else:
            send(StallingHost(), target, snapshot)
    finally:
        os.umask(before)
    assert seen
    after = {path.name: path.stat().st_mode for path in [target, *target.rglob("*")]}
    assert not [name for name, mode in {**seen, **after}.items() if mode & 0o077]


def test_what_runs_after_the_files_have_arrived_has_the_users_umask(tmp_path: Path) -> None:
    """sbatch does, and gives it to the job."""
    words = (str(tmp_path / "runs"), "run", "700", "1", "", "0", "", "", "0", "sh", "-c", "umask")
    before = os.umask(0o027)
    try:
        stream = as_tar({"job.sbatch": File(b"")}, 0o700)
        done = LocalHost().run(program("hand-over", *words), input=stream)
    finally:
        os.umask(before)
    assert done.stdout.splitlines() == ["0027", "tfslurm: sbatch ended with 0"]


def test_a_snapshot_that_is_there_is_not_read_again(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "code")
    send(LocalHost(), tmp_path / "tree", snapshot)
    (tmp_path / "code" / "m0.py").unlink()
    assert not send(LocalHost(), tmp_path / "tree", snapshot)


def test_a_code_folder_that_lost_files_is_named(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "code")
    send(LocalHost(), tmp_path / "tree", snapshot)
    (tmp_path / "tree").chmod(0o755)
    (tmp_path / "tree" / "m1.py").unlink()
    with pytest.raises(HostError, match="holds 2 of its 3 files; was it cleaned up"):
        send(LocalHost(), tmp_path / "tree", snapshot)


def test_the_list_of_a_code_folder_is_kept_beside_it(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "code")
    send(LocalHost(), tmp_path / "tree", snapshot)
    kept = (tmp_path / "tree.contents").read_bytes()
    assert sha256(kept).hexdigest() == snapshot.contents_sha256
    assert kept == tree_contents(LocalHost(), PurePosixPath(tmp_path, "tree"))


def test_bytes_that_change_on_the_way_are_noticed(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "code")
    stream = b"".join(snapshot.stream()).replace(b"value = 1", b"value = 2")
    with pytest.raises(CommandFailed, match="other bytes arrived than were sent"):
        put_tree(LocalHost(), PurePosixPath(tmp_path, "trees", "t"), files=3, bytes=99, stream=[stream])
    assert names(tmp_path / "trees") == []


def test_a_file_that_changes_while_it_is_sent_leaves_nothing(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "code")
    (tmp_path / "code" / "m1.py").write_text("value = 7\n")
    with pytest.raises(TfslurmError, match=r"m1\.py: changed while the snapshot was taken"):
        send(LocalHost(), tmp_path / "trees" / "t", snapshot)
    assert names(tmp_path / "trees") == []


@pytest.mark.slow
def test_two_clients_at_once_are_harmless(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "code", 200)
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def client() -> None:
        start.wait()
        try:
            send(LocalHost(), tmp_path / "trees" / snapshot.tree, snapshot)
        except BaseException as failure:
            failures.append(failure)

    clients = [threading.Thread(target=client) for _ in range(4)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert not failures
    assert names(tmp_path / "trees") == [snapshot.tree, f"{snapshot.tree}.contents"]
    assert take(tmp_path / "trees" / snapshot.tree).tree == snapshot.tree


def test_an_ordinary_user_can_move_and_clean_what_is_read_only(tmp_path: Path) -> None:
    snapshot = snapshot_of(tmp_path / "code")
    root = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        os.chown(root, 65534, 65534)
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

        class UserHost(LocalHost):
            def execute(
                self, argv: Sequence[str], input: bytes | Iterable[bytes], timeout_s: float, max_bytes: int
            ) -> Raw:
                return super().execute([*user, *argv], input, timeout_s, max_bytes)

        stream = b"".join(snapshot.stream()).replace(b"value = 1", b"value = 2")
        with pytest.raises(CommandFailed, match="other bytes arrived"):
            put_tree(UserHost(), PurePosixPath(root, "trees", "t"), files=3, bytes=99, stream=[stream])
        assert send(UserHost(), root / "trees" / "t", snapshot)
        assert not send(UserHost(), root / "trees" / "t", snapshot)
        assert names(root / "trees") == ["t", "t.contents"]
    finally:
        shutil.rmtree(root)


def test_several_threads_may_want_paramiko_at_once() -> None:
    script = (
        "from concurrent.futures import ThreadPoolExecutor; from tfslurm.host.match_exec import import_paramiko\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    for each in [pool.submit(import_paramiko) for _ in range(4)]: each.result()\n"
        "import sys; assert 'paramiko' in sys.modules and 'invoke' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# --- the folder of ssh's sockets


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("kind", ["another's", "open", "a link", "a file"])
def test_who_takes_the_name_in_tmp_keeps_nobody_from_a_login(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = 3_000_000_000 + os.getpid() % 1_000_000
    shared = Path(f"/tmp/tfslurm-{uid}")
    (tmp_path / ".ssh").mkdir(mode=0o700)
    os.chown(tmp_path / ".ssh", uid, uid)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("os.getuid", lambda: uid)
    monkeypatch.setattr("tfslurm.host.openssh.LONGEST_SOCKET", 200)  # pytest's folders have long names
    (tmp_path / ".ssh" / "tfslurm").mkdir(mode=0o700)
    os.chown(tmp_path / ".ssh" / "tfslurm", uid, uid)
    try:
        if kind == "a link":
            shared.symlink_to(tmp_path / ".ssh" / "tfslurm")
        elif kind == "a file":
            shared.touch()
        else:
            shared.mkdir(mode=0o700)
        if kind == "open":
            shared.chmod(0o770)
            os.chown(shared, uid, uid)
        assert runtime_folder("alpha") == tmp_path / ".ssh" / "tfslurm"
        (tmp_path / ".ssh" / "tfslurm").chmod(0o755)
        with pytest.raises(HostError, match=r"is not a folder of yours alone.*set XDG_RUNTIME_DIR"):
            runtime_folder("alpha")
    finally:
        shared.rmdir() if shared.is_dir() and not shared.is_symlink() else shared.unlink()


@pytest.mark.parametrize("variable", ["LOGNAME", "USER", "LNAME", "USERNAME"])
def test_the_user_is_who_runs_the_command_whatever_variables_say(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "somebody-else")
    asked = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert user_name() == Known(CLUSTER, "", None).user == asked

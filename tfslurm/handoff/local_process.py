"""The processes of local jobs: started, looked at, ended."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePath, PurePosixPath

from tfslurm.errors import HostError
from tfslurm.host import Host
from tfslurm.host.local import without_shell_options
from tfslurm.local_files import open_to_append
from tfslurm.run_folder import paths
from tfslurm.tracker import Place, TrackedJob
from tfslurm.workspace.config import LOCAL
from tfslurm.workspace.packaged_files import probe

LOCK = "run.lock"
JOB_ID = "TFSLURM_LOCAL_JOB_ID"
GRACE_S = 30.0
LOOK_S = 0.1


def attempt(folder: Path, job_id: str, secrets: Mapping[str, str], lock: int) -> subprocess.Popen[bytes]:
    """The running process of one more attempt of a local job, whose run folder is there; it holds the folder's lock.

    Raises:
        HostError: bash could not be started.
    """
    hidden = ("SLURM_", "SBATCH_", "SRUN_")
    own = without_shell_options(os.environ)
    environment = {key: value for key, value in own.items() if not key.startswith(hidden) and key not in secrets}
    environment[JOB_ID] = job_id
    try:
        with os.fdopen(open_to_append(folder / paths.batch_log(job_id)), "ab") as out:
            return subprocess.Popen(
                started(folder),
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock,),
            )
    except OSError as error:
        raise HostError(f"{error.filename or 'bash'}: the job cannot be started: {error.strerror}") from error


def started(folder: PurePath) -> tuple[str, str]:
    """The words of a local job's script."""
    return "bash", str(folder / paths.JOB_SCRIPT)


def held(folder: Path) -> int:
    """The run folder's lock, open: it is held until this process, and all that it starts with it, have ended.

    It names this machine, for a home on a network may be looked at from another one, where locks may not be seen.

    Raises:
        HostError: it cannot be written.
    """
    try:
        lock = open_to_append(folder / LOCK)
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not os.fstat(lock).st_size:
            os.write(lock, os.uname().nodename.encode())
    except OSError as error:
        raise HostError(f"{folder / LOCK}: the job cannot be started: {error.strerror}") from error
    return lock


def is_killed(run_dir: PurePosixPath) -> bool:
    """Whether a run of this machine has nothing left that runs; False where that cannot be known."""
    try:
        lock = os.open(run_dir / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if os.read(lock, 1024) != os.uname().nodename.encode():
            return False
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(lock)


def end_killed(job: TrackedJob, place: Place, host: Host) -> None:
    """Remove what a killed run left in its engine; what is not answered is left to `tfslurm reap`."""
    words = ("bash", "-s", "--", place.engine, "end", place.plan_id, job.job_id)
    with suppress(HostError):
        host.run(words, input=probe("reap", place.engine).encode())


def end_job(folder: PurePosixPath, job_id: str, grace_s: float = GRACE_S) -> bool:
    """End a local job, whoever started it, as scancel would: its script first; whether anything of it was alive.

    None of its processes lives after it. What they may have left in the engine is not looked at.

    Raises:
        HostError: one does not end.
    """
    began, told = time.monotonic(), set[int]()
    while found := to_end(folder, job_id):
        past_s = time.monotonic() - began
        if past_s > 2 * grace_s:
            raise HostError(f"{LOCAL}:{job_id}: process {found[0]} does not end, although it was killed")
        is_late = past_s > grace_s
        for pid in found:
            with suppress(ProcessLookupError):
                if is_late or pid not in told:
                    os.kill(pid, signal.SIGKILL if is_late else signal.SIGTERM)
        told.update(found)
        time.sleep(LOOK_S)
    return bool(told)


def to_end(folder: PurePosixPath, job_id: str) -> list[int]:
    """The processes of a local job that are to be told: its script, which ends the others; without it all of them.

    A process id may be another's by now: one is the job's if it is this user's, was started with the job's id, and
    holds the lock of its run folder.
    """
    try:
        lock = Path(folder / LOCK).lstat()
    except OSError:
        return []
    variable = f"{JOB_ID}={job_id}".encode()
    there = [int(process.name) for process in Path("/proc").iterdir() if process.name.isdecimal()]
    found = [pid for pid in there if is_of_job(pid, variable, lock)]
    return [pid for pid in found if is_script(pid, folder)] or found


def is_of_job(pid: int, variable: bytes, lock: os.stat_result) -> bool:
    """Whether a living process of this user was started with this variable, and holds this lock."""
    process = Path(f"/proc/{pid}")
    try:
        if process.stat().st_uid != os.geteuid() or variable not in (process / "environ").read_bytes().split(b"\0"):
            return False
        return any(is_file(name, lock) for name in (process / "fd").iterdir())
    except OSError:  # it has ended, or nobody may look at it
        return False


def is_file(name: Path, file: os.stat_result) -> bool:
    """Whether a name leads to this file."""
    try:
        return os.path.samestat(name.stat(), file)
    except OSError:
        return False


def is_script(pid: int, folder: PurePosixPath) -> bool:
    """Whether a process is the one that was started as a local job, and none that it has made."""
    words = (*started(folder), "")
    try:
        return os.getsid(pid) == pid and Path(f"/proc/{pid}/cmdline").read_bytes() == os.fsencode("\0".join(words))
    except OSError:
        return False


def stop(process: subprocess.Popen[bytes], grace_s: float = GRACE_S) -> None:
    """End a local job as scancel would: TERM, then KILL after the grace time."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

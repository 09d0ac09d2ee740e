"""The processes of local jobs: started, looked at, ended."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from tfslurm.errors import HostError
from tfslurm.host import Host
from tfslurm.host.local import without_shell_options
from tfslurm.local_files import open_to_append
from tfslurm.run_folder import paths
from tfslurm.tracker import Place, TrackedJob
from tfslurm.workspace.packaged_files import probe

LOCK = "run.lock"


def attempt(folder: Path, job_id: str, secrets: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """The running process of one more attempt of a local job, whose run folder is there.

    Raises:
        HostError: bash could not be started.
    """
    hidden = ("SLURM_", "SBATCH_", "SRUN_")
    own = without_shell_options(os.environ)
    environment = {key: value for key, value in own.items() if not key.startswith(hidden) and key not in secrets}
    environment["TFSLURM_LOCAL_JOB_ID"] = job_id
    try:
        lock = held(folder)
        with os.fdopen(open_to_append(folder / paths.batch_log(job_id)), "ab") as out:
            return subprocess.Popen(
                ["bash", str(folder / paths.JOB_SCRIPT)],
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


def held(folder: Path) -> int:
    """The run folder's lock, open: it is held until this process, and all that it starts with it, have ended.

    It names this machine, for a home on a network may be looked at from another one, where locks may not be seen.
    """
    lock = open_to_append(folder / LOCK)
    if not os.fstat(lock).st_size:
        os.write(lock, os.uname().nodename.encode())
    fcntl.flock(lock, fcntl.LOCK_SH)
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


def stop(process: subprocess.Popen[bytes], grace_s: float = 30) -> None:
    """End a local job as scancel would: TERM, then KILL after the grace time."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

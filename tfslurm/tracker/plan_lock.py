"""Claim a plan for one process: a lock on a file, which the kernel releases when the process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from tfslurm.local_files import open_to_append


def claimed(path: Path, wait: bool) -> IO[str] | None:
    """The file, ours until it is closed; None where it is another's and is not waited for."""
    while True:
        file = os.fdopen(open_to_append(path), "a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            return None
        except FileNotFoundError:
            pass  # whoever had it has removed it: another is made
        except BaseException:
            file.close()
            raise
        file.close()

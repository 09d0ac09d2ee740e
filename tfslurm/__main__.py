"""`python -m tfslurm` and the program `tfslurm`: the command line, which Ctrl-C ends without a word of Python's.

While the command line is imported there is nothing to tidy up yet: Ctrl-C ends the process at once. For `python -m`
Python puts the current folder first on its search path, where a stranger's click.py or yaml.py may lie. It is taken off
before anything but this package is imported. What Python imports before that is out of reach: in a folder that you do
not know, type `tfslurm`, which never has it there.
"""

import sys

if __name__ == "__main__" and not getattr(sys.flags, "safe_path", sys.flags.isolated):
    del sys.path[0]

import os
import signal
from types import FrameType


def leave(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """End at once with the exit code of an interrupted command."""
    os.write(2, b"interrupted\n")
    os._exit(130)


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored: `tfslurm … &`
        if is_heard:
            signal.signal(signal.SIGINT, leave)
        from tfslurm.cli import main as command_line

        if is_heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command_line()
    except KeyboardInterrupt:  # between the lines above, or a second one while the first was told
        leave()


if __name__ == "__main__":
    main()

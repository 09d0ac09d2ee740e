"""`python -m tfslurm` and the program `tfslurm`: the command line, which Ctrl-C ends without a word of Python's.

While the command line is imported there is nothing to tidy up yet: Ctrl-C ends the process at once.

The current folder may be a stranger's. `python -m` and a PYTHONPATH with a relative or empty part put it on Python's
search path, where a stranger's click.py or yaml.py may lie; it is taken off before anything but this package is
imported. What Python imports before that is out of reach: in a folder that you do not know, type `tfslurm`, with no
such PYTHONPATH. What is relative in PATH, HOME and their like does not count either.
"""

import os
import sys

if __name__ == "__main__" and not getattr(sys.flags, "safe_path", sys.flags.isolated):
    del sys.path[0]
if any(SEARCHED := os.environ.get("PYTHONPATH", "").split(os.pathsep)):
    NEARBY = {os.path.abspath(part) for part in SEARCHED if not part.startswith("/")}  # noqa: PTH100 - not loaded yet
    sys.path[:] = [part for part in sys.path if part not in NEARBY]

import gc
import signal
from collections.abc import MutableMapping
from types import FrameType

PLACES = ("HOME", "SHELL", "BASH_ENV", "ENV", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
"Variables that say where the user's own files are, or which shell and start-up file are run."


def settle(environment: MutableMapping[str, str]) -> None:
    """Take out of an environment what would name another place in each current folder.

    A HOME that is not absolute is the user's own; a part of PATH that is not is left out.
    """
    for name in PLACES:
        if not environment.get(name, "/").startswith("/"):
            del environment[name]
    if "HOME" not in environment and (home := os.path.expanduser("~")).startswith("/"):  # noqa: PTH111 - may be unknown
        environment["HOME"] = home
    parts = environment.get("PATH", os.defpath).split(os.pathsep)
    environment["PATH"] = os.pathsep.join(part for part in parts if part.startswith("/")) or os.defpath


def leave(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """End at once with the exit code of an interrupted command."""
    os.write(2, b"interrupted\n")
    os._exit(130)


def ask_again(swallowed: "sys.UnraisableHookArgs") -> None:
    """Bring back a Ctrl-C that came while a callback ran (`__del__`, a weak reference's), in which Python drops it."""
    if not isinstance(swallowed.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(swallowed)
        return
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.01)  # not at once: it would be raised in here


SELDOM = 100_000
"New objects between two searches for unreachable ones: a command of one job makes some 75,000; one search takes 11 ms."


def main() -> None:
    """Run the command line and exit with its code."""
    gc.set_threshold(SELDOM)
    try:
        try:
            run()
        finally:
            gc.freeze()  # Python's end searches all modules for unreachable objects, whose memory is given back anyway
    except KeyboardInterrupt:  # between the lines above, or a second one while the first was reported
        leave()


def run() -> None:
    """Run the command line, and hear Ctrl-C from its beginning on, unless it is ignored here: `tfslurm … &`."""
    is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heard:
        signal.signal(signal.SIGINT, leave)
        sys.unraisablehook = ask_again
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever starts tfslurm may ignore it: no exit code would come
    settle(os.environ)
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # to look for them reads the files of all packages installed
    from tfslurm.cli import main as command_line

    if is_heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command_line()


if __name__ == "__main__":
    main()

"""Does TensorFlow list as many GPUs as were granted? Run in the job's own container, before the program.

    gpu_check.py GRANTED

Prints one line: ``ok: …``, ``failed: …`` or ``unknown: …``; what an import prints goes to standard error. Ends with 3,
and prints nothing, where this Python has no TensorFlow. Standard library only, Python 3.6 and later. Listing takes no
memory of a GPU.
"""

# ruff: noqa: UP006, UP035 - an image's Python may be as old as 3.6
import importlib.util
import os
import signal
import sys
from typing import Any, List, Tuple

PATIENCE_S = 180  # an import that hangs ends the check
NO_TENSORFLOW = 3


def main(granted: int) -> int:
    """Look, say what was seen; the exit code."""
    if importlib.util.find_spec("tensorflow") is None:
        return NO_TENSORFLOW
    answer = os.dup(1)
    os.dup2(2, 1)
    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(PATIENCE_S)
    status, words = look(granted)
    signal.alarm(0)
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        out.write(f"{status}: {' '.join(words.split())[:600]}\n")
    return 0


def too_slow(number: int, frame: object) -> None:
    """Ends an import that hangs in Python; in C it is left to the job's own time limit."""
    raise TimeoutError(f"no answer in {PATIENCE_S} s")


def look(granted: int) -> Tuple[str, str]:
    """The verdict and its reason; what cannot be asked is unknown, never a pass."""
    try:
        import tensorflow as tf

        listed = devices(tf)
        version = tf.__version__
    except BaseException as error:
        return "unknown", f"TensorFlow cannot be asked: {type(error).__name__}: {error}"
    words = f"TensorFlow {version} lists {len(listed)} of {granted} granted GPU{'s' if granted != 1 else ''}"
    return ("ok" if len(listed) == granted else "failed"), words


def devices(tf: Any) -> List[Any]:
    """The GPUs that TensorFlow would use: tf.config since 2.1, tf.config.experimental since 1.14."""
    config = tf.config
    ask = getattr(config, "list_physical_devices", None) or config.experimental.list_physical_devices
    return list(ask("GPU"))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

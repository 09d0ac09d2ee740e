"""Which line of what a program printed tells why it failed, and what a reader is told to do about it."""

from __future__ import annotations

import pytest

from tfslurm.retrieval.telling import LONGEST, fix_for, telling_line

IN_GRAPH = """\
2026-05-01 12:00:00.123456: I tensorflow/core/util/port.cc:113] oneDNN custom operations are on.
Traceback (most recent call last):
  File "/workspace/train.py", line 31, in <module>
    model.fit(x, y)
  File "/usr/lib/python3/dist-packages/keras/src/utils/traceback_utils.py", line 122, in error_handler
    raise e.with_traceback(filtered_tb) from None
tensorflow.python.framework.errors_impl.InvalidArgumentError: Graph execution error:

Detected at node compile_loss/sparse defined at (most recent call last):
  File "/workspace/train.py", line 31, in <module>

Received a label value of 10 which is outside the valid range of [0, 10).
\t [[{{node compile_loss/sparse}}]] [Op:__inference_one_step_on_iterator_1000]
2026-05-01 12:00:01.123456: W tensorflow/core/kernels/x.cc:1] Local rendezvous is aborting with status: CANCELLED
"""
AT_EXIT = """\
Traceback (most recent call last):
  File "t.py", line 1, in <module>
    main()
ValueError: could not broadcast
Exception ignored in: <function Pool.__del__ at 0x7f>
Traceback (most recent call last):
  File "pool.py", line 1, in __del__
AttributeError: 'NoneType' object has no attribute 'put'
"""
TWICE = """\
Traceback (most recent call last):
  File "t.py", line 1, in <module>
KeyError: 'lr'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "t.py", line 3, in <module>
lab.errors.Unusable: no lr in config
/usr/lib/python3.11/tempfile.py:934: ResourceWarning: Implicitly cleaning up <TemporaryDirectory '/tmp/x'>
"""
ABORTED = (
    "terminate called after throwing an instance of 'dnnl::error'\n  what():  could not create a primitive\nAborted\n"
)
OLD_ABSL = "W0000 00:00:1715 gpu.cc:1] no GPU\nF0000 00:00:1715000000.1   42 hlo.cc:7] Check failed: shape.ok()\n"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "Traceback (most recent call last):\n  File\nModuleNotFoundError: No module named 'x'",
            "ModuleNotFoundError: …",
        ),
        (IN_GRAPH, "InvalidArgumentError: Received a label value of 10 which is outside the valid range of [0, 10)."),
        (AT_EXIT, "ValueError: could not broadcast"),
        (TWICE, "Unusable: no lr in config"),
        (ABORTED, "could not create a primitive"),
        (OLD_ABSL, "Check failed: shape.ok()"),
        (
            "2026-05-01 12:00:00.1: F tensorflow/a.cc:42] Check failed: x == y\n*** Begin stack trace ***",
            "Check failed: x == y",
        ),
        ("  File deep\nkeras.src.errors.ShapeError: cut off above", "ShapeError: cut off above"),
        (
            "[rank1]: Traceback (most recent call last):\n[rank1]:   File\n[rank1]: RuntimeError: bad",
            "RuntimeError: bad",
        ),
        ("  | Traceback (most recent call last):\n  |   File\n  | OSError: inner", "OSError: inner"),
        (
            "usage: t.py [-h]\nt.py: error: unrecognized arguments: --lrr 0.1",
            "t.py: error: unrecognized arguments: --lrr 0.1",
        ),
        ("Epoch 1/2\nSegmentation fault (core dumped)", "Segmentation fault (core dumped)"),
        ("loss: nan\nstopping: loss is nan", "stopping: loss is nan"),
        ("WARNING: deprecated\n\n", ""),
        ("", ""),
    ],
)
def test_the_line_that_tells_is_found_among_what_libraries_say(said: str, line: str) -> None:
    found = telling_line(said.split("\n"))
    assert found == line if "…" not in line else found.startswith(line[:-1])


def test_no_line_is_longer_than_a_message_may_be() -> None:
    assert len(telling_line([f"ValueError: {'x' * 5000}"])) == LONGEST


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("ModuleNotFoundError: No module named 'pandas'", "an image that has it"),
        ("ImportError: cannot import name 'Adam' from 'keras'", "no such Python module"),
        ("ImportError: libGL.so.1: cannot open shared object file: No such file or directory", "lacks that library"),
        ("OSError: [Errno 30] Read-only file system: 'model.h5'", "`outputs`"),
        ("OSError: [Errno 28] No space left on device", "/dev/shm"),
        ("ResourceExhaustedError: OOM when allocating tensor with shape[4096]", "the GPU's memory"),
        ("MemoryError", "more `memory`"),
        ("python: can't open file '//train.py': [Errno 2] No such file or directory", "/workspace (`code: .`)"),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/data/x.npz'", "`mounts`"),
        ("PermissionError: [Errno 13] Permission denied: '/opt/model'", "the program runs as you"),
        ("sh: 1: pyhton: not found", "correct `command`"),
        ("bash: line 1: nvcc: command not found", "not in the image"),
        ("urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>", "`network`"),
        ("train.py: error: unrecognized arguments: --lrr", "correct `command`"),
        ("ValueError: bad shape", ""),
    ],
)
def test_what_to_do_is_told_where_it_is_no_matter_of_the_program_alone(line: str, fix: str) -> None:
    assert fix in fix_for(line)
    assert bool(fix) == bool(fix_for(line))

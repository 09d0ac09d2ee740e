"""job_templates/inside/gpu_check.py beside a stand-in for TensorFlow, which has no GPU to list here.

The stand-in is a module of the real one's shape; the real TensorFlow, which lists none, is asked on the test bed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parent.parent / "job_templates" / "inside" / "gpu_check.py"
SHAPE = "__version__ = '2.18.0'\nclass config:\n    @staticmethod\n    def list_physical_devices(kind):\n"

OLDER = SHAPE.replace("2.18.0", "2.0.0").replace("config:\n", "config:\n  class experimental:\n")


def checked(tmp_path: Path, module: str | None, granted: int = 2, check: Path = CHECK) -> tuple[int, str]:
    """The exit code and what was said, with such a tensorflow.py; -S: whatever is installed here is not in the way."""
    if module is not None:
        (tmp_path / "tensorflow.py").write_text(module)
    argv: list[str | Path] = [sys.executable, "-S", check, str(granted)]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (f"{SHAPE}        return [kind, kind]\n", "ok: TensorFlow 2.18.0 lists 2 of 2 granted GPUs\n"),
        (f"{SHAPE}        return []\n", "failed: TensorFlow 2.18.0 lists 0 of 2 granted GPUs\n"),
        (f"{SHAPE}        return [kind] * 3\n", "failed: TensorFlow 2.18.0 lists 3 of 2 granted GPUs\n"),
        (
            f"{OLDER}        return [kind] * 2\n",
            "ok: TensorFlow 2.0.0 lists 2 of 2 granted GPUs\n",
        ),
        (
            "raise ImportError('libfoo.so:\\n not found')",
            "unknown: TensorFlow cannot be asked: ImportError: libfoo.so: not found\n",
        ),
        ("raise SystemExit(3)", "unknown: TensorFlow cannot be asked: SystemExit: 3\n"),
        ("", "unknown: TensorFlow cannot be asked: AttributeError: module 'tensorflow' has no attribute 'config'\n"),
    ],
)  # fmt: skip
def test_the_number_that_tensorflow_lists_is_compared_with_what_was_granted(
    module: str, said: str, tmp_path: Path
) -> None:
    assert checked(tmp_path, module) == (0, said)


def test_a_python_without_tensorflow_says_so_by_its_exit_code_alone(tmp_path: Path) -> None:
    assert checked(tmp_path, None) == (3, "")


def test_tensorflow_is_asked_for_gpus_and_nothing_else(tmp_path: Path) -> None:
    module = f"{SHAPE}        assert kind == 'GPU', kind\n        return [kind]\n"
    assert checked(tmp_path, module, granted=1) == (0, "ok: TensorFlow 2.18.0 lists 1 of 1 granted GPU\n")


def test_an_import_that_hangs_is_ended_and_told(tmp_path: Path) -> None:
    """The patience is shortened in a copy of the script; the signal that ends the waiting is the real one."""
    short = tmp_path / "gpu_check.py"
    text = CHECK.read_text()
    assert "PATIENCE_S = 180 " in text
    short.write_text(text.replace("PATIENCE_S = 180 ", "PATIENCE_S = 1 "))
    module = "import signal\nsignal.pause()\nsignal.pause()\n"
    said = "unknown: TensorFlow cannot be asked: TimeoutError: no answer in 1 s\n"
    assert checked(tmp_path, module, granted=1, check=short) == (0, said)


def test_what_an_import_prints_is_no_answer(tmp_path: Path) -> None:
    module = f"import os\nprint('ok: forged')\nos.write(1, b'ok: forged\\n')\n{SHAPE}        return []\n"
    assert checked(tmp_path, module) == (0, "failed: TensorFlow 2.18.0 lists 0 of 2 granted GPUs\n")

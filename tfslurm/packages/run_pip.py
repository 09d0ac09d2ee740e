"""Run pip: ``python run_pip.py WORDS…`` does what ``python -m pip WORDS…`` does, but for two things.

No module is taken from the current folder, which may be a stranger's: `-m` would look there for `pip` first.

If TFSLURM_PIP_MARKERS has lines NAME=VALUE, they are the values of the environment markers (PEP 508). pip has no option
for these, and takes those of the Python that it runs in. Ends with 71 where this pip cannot be told them. With
`--no-deps`, which asks for no package that a marker names, it goes on.

It imports nothing of tfslurm, because the Python that has pip may not have tfslurm. Python 3.7 and later.
"""

import sys

if __name__ == "__main__":  # nor from the folder of this file
    sys.path[:] = [each for each in sys.path if each != __file__.rpartition("/")[0]]


import os
from importlib import import_module
from runpy import run_module
from typing import Any

VARIABLE = "TFSLURM_PIP_MARKERS"
OTHERWISE = 71


def main() -> None:
    """Run pip; this process ends with its exit code."""
    told = os.environ.pop(VARIABLE, "")
    if told and not takes(dict(line.split("=", 1) for line in told.splitlines())) and "--no-deps" not in sys.argv:
        raise SystemExit(OTHERWISE)
    sys.argv[0] = "pip"
    run_module("pip", run_name="__main__", alter_sys=True)


def takes(values: "dict[str, str]") -> bool:
    """Have pip's own copy of `packaging` evaluate markers with these values; whether it does."""
    try:
        markers: Any = import_module("pip._vendor.packaging.markers")
        markers.default_environment = lambda: dict(values)
        text = " and ".join(f"{name} == {value!r}" for name, value in sorted(values.items()))
        return bool(markers.Marker(text).evaluate() and not markers.Marker("python_version == '2.7'").evaluate())
    except (ImportError, AttributeError, TypeError, ValueError):
        return False


if __name__ == "__main__":
    main()

"""The guard of tests/conftest.py: a cluster's programs are noted when a unit test starts them, and never run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROGRAMS, refuse_started


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_a_cluster_is_a_stand_in_that_notes_its_start(name: str, real_programs: Path) -> None:
    assert shutil.which(name) == str(real_programs / name)
    done = subprocess.run(["sh", "-c", f"{name} --version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (127, f"{name}: not in a unit test\n")
    with pytest.raises(pytest.fail.Exception, match=f"a unit test started .*: {name} --version"):
        refuse_started(real_programs)
    refuse_started(real_programs)

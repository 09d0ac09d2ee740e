"""The packages of a real job in its record and its forms, and the same packages in a rerun.

Slurm, docker, Python, uv and pip are real; the wheels are made by the test, and a folder of them is the index.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from tests.made_wheels import wheel

from .desk import Desk, ids
from .python_image import REFERENCE, push


def test_a_rerun_has_the_packages_of_the_record_or_says_that_they_are_gone(desk: Desk) -> None:
    push()
    index = desk.folder / "wheels"
    os.chown(wheel("answers", "1.5", {"answers.py": f"ANSWER = '{desk.token}'\n"}).put(index), *ids())
    index.chmod(0o755)
    env = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    env["XDG_CACHE_HOME"] = str(desk.folder / "cache")
    program = "import answers; open('/out/answer', 'w').write(answers.ANSWER)"
    file = desk.experiment("asks", ["python3", "-c", program], image=REFERENCE, packages=["answers"])
    done = desk.tfslurm("submit", file, "--cluster", "alpha", "--wait", env=env, timeout_s=240)
    (job,) = re.findall(r"alpha:[0-9]+", done.stdout.splitlines()[0])
    record = desk.record(job)
    assert record["environment"]["layer_packages"] == [{"name": "answers", "version": "1.5"}]
    assert record["verified"]["packages"]["status"] == "ok" and not record["warnings"], record["warnings"]
    verified = desk.tfslurm("verify", job)
    contents = record["environment"]["layer"]["contents_sha256"]
    assert f"unchanged      packages: sha256 {contents}" in verified.stdout
    again = desk.tfslurm("rerun", job, "--wait", env=env, timeout_s=240)
    assert again.returncode == 0, again.stderr
    assert "results      bit-identical" in again.stdout and "1 added package" in again.stdout
    shutil.rmtree(index)
    shutil.rmtree(desk.folder / "cache")
    packages = desk.root("alpha") / "packages"
    subprocess.run(["chmod", "-R", "u+w", packages], check=True)
    shutil.rmtree(packages)
    gone = desk.tfslurm("rerun", job, "--wait", env=env, timeout_s=240)
    assert gone.returncode == 1
    assert f"{job}: answers-1.5-py3-none-any.whl is needed to install the packages" in gone.stderr
    assert desk.tfslurm("verify", job).returncode == 1

"""The check for real GPUs on the test bed: real engines and node scripts, stand-ins for nvidia-smi and the hook."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from .bed import BIN, DOCKER_HOST, SYSTEM_PATH
from .gpus import inventory

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def test_each_engine_runs_a_job_of_this_machines_own_files_that_sees_its_one_gpu(tmp_path: Path) -> None:
    env = {"PATH": f"{BIN}:{SYSTEM_PATH}", "DOCKER_HOST": DOCKER_HOST}
    argv = [sys.executable, "-m", "tests.gpu", "--raw", str(tmp_path / "raw"), "--json"]
    done = subprocess.run(argv, cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1, done.stderr  # the devices have no driver
    said = json.loads(done.stdout)
    assert said["stand_in"] is True
    assert [gpu["uuid"] for gpu in said["gpus"]] == [gpu.uuid for gpu in inventory()]
    wrong = {(row["step"], row["found"]) for row in said["rows"] if row["verdict"] in ("differs", "failed")}
    assert wrong == {("machine", "No such device or address")}
    first, verdicts = inventory()[0].uuid, {(row["step"], row["what"]): row["found"] for row in said["rows"]}
    for step in ("job by docker", "job by podman"):
        assert verdicts[step, "verdict of entry.sh in the container"] == "ok"
        assert verdicts[step, "GPUs that its program saw"] == first
    assert (tmp_path / "raw" / "docker-job-attempt-1_facts_task-0_container-inspect.json").exists()

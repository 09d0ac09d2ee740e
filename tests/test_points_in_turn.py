"""A task that runs several points one after another: the loop of bash, with a script that only writes its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.node_side import packed

# The point's part is what a real one does at its end. `codes` says which code each ends with; the place `hangs` waits.
SCRIPT = r"""
set -euo pipefail
run_dir={run} own_dir=$run_dir points=5 points_per_job=3 checkpoint_signal={signal}
source {node_sh}
if (($# == 0)); then echo $$ >"$run_dir/pid"; fi
point::in_turn "$@"
folder=$run_dir/17_${{SLURM_ARRAY_TASK_ID}}.$TFSLURM_POINT
mkdir --parents "$folder/attempt-$ATTEMPT"
echo "attempt-$ATTEMPT" >"$folder/latest"
echo "$TFSLURM_POINT" >>"$run_dir/ran"
cause=''
trap 'cause=stopped' TERM
trap 'cause=requeued' URG
if [[ $TFSLURM_POINT == "$HANGS" ]]; then
    touch "$run_dir/hangs"
    until [[ -n $cause ]]; do sleep 0.02 || :; done
fi
trap '' TERM URG
read -r -a codes <<<"$CODES"
code=${{codes[TFSLURM_POINT]}}
echo "says $TFSLURM_POINT"
if [[ $code == none ]]; then kill -9 $$; fi
end=$folder/attempt-$ATTEMPT/exit.json
printf '{{"exit_code": %s, "signal": null, "cause": "%s"}}\n' "$code" "${{cause:-program}}" >"$end"
exit "$code"
"""


class Task:
    """Task 0, or another, of an array of five points, three in each."""

    def __init__(self, run: Path, signal: str = "") -> None:
        self.run = run
        self.script = run / "job.sbatch"
        self.script.write_text(SCRIPT.format(run=run, node_sh=packed(points=True) / "node.sh", signal=signal))

    def start(
        self,
        task: int = 0,
        *,
        attempt: int = 1,
        codes: str = "0 0 0 0 0",
        hangs: str = "",
        under: Sequence[str] = ("bash",),
    ) -> subprocess.Popen[bytes]:
        own = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": str(task), "ATTEMPT": str(attempt)}
        told = {"CODES": codes, "HANGS": hangs, "TFSLURM_POINT": "4"}  # the user's own variable means nothing
        (self.run / "ran").unlink(missing_ok=True)
        return subprocess.Popen([*under, self.script], env={**os.environ, **own, **told}, start_new_session=True)

    def code(self, process: subprocess.Popen[bytes]) -> int:
        return process.wait(20)

    def ran(self) -> list[int]:
        return [int(line) for line in (self.run / "ran").read_text().split()] if (self.run / "ran").exists() else []

    def hangs(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + 20
        while not (self.run / "hangs").exists():
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.02)
        (self.run / "hangs").unlink()


@pytest.mark.parametrize(("task", "places"), [(0, [0, 1, 2]), (1, [3, 4])])
def test_each_point_of_a_task_runs_once_and_says_what_it_says_in_its_own_file(
    tmp_path: Path, task: int, places: list[int]
) -> None:
    one = Task(tmp_path)
    assert one.code(one.start(task)) == 0
    assert one.ran() == places
    assert [(tmp_path / f"slurm-17_{task}.{place}.out").read_text() for place in places] == [
        f"says {place}\n" for place in places
    ]


@pytest.mark.parametrize(("codes", "code"), [("0 7 9 0 0", 7), ("78 0 0 0 0", 78)])
def test_a_point_that_fails_keeps_no_other_from_its_turn(tmp_path: Path, codes: str, code: int) -> None:
    one = Task(tmp_path)
    assert one.code(one.start(codes=codes)) == code
    assert one.ran() == [0, 1, 2]


def test_after_a_point_whose_script_was_killed_no_other_begins_for_it_may_have_left_something(tmp_path: Path) -> None:
    one = Task(tmp_path)
    assert one.code(one.start(codes="0 none 0 0 0")) == 137
    assert one.ran() == [0, 1]


def test_what_stops_the_job_stops_its_point_and_no_other_begins(tmp_path: Path) -> None:
    one = Task(tmp_path)
    process = one.start(hangs="1", codes="0 143 0 0 0")
    one.hangs(process)
    process.send_signal(signal.SIGTERM)  # to the script alone: it passes it on
    assert one.code(process) == 143
    assert one.ran() == [0, 1]
    assert json.loads((tmp_path / "17_0.1" / "attempt-1" / "exit.json").read_text())["cause"] == "stopped"


def test_a_signal_to_all_processes_is_no_second_one(tmp_path: Path) -> None:
    one = Task(tmp_path)
    process = one.start(hangs="0", codes="5 0 0 0 0")
    one.hangs(process)
    os.killpg(process.pid, signal.SIGTERM)
    assert one.code(process) == 5
    assert one.ran() == [0]


def test_a_job_that_is_queued_again_goes_on_with_the_points_that_had_not_ended(tmp_path: Path) -> None:
    one = Task(tmp_path, signal="USR1")
    process = one.start(hangs="1", codes="4 0 0 0 0")
    one.hangs(process)
    process.send_signal(signal.SIGURG)
    assert one.code(process) == 0, "its code is that of the point which had the job queued again"
    assert one.ran() == [0, 1]
    assert one.code(one.start(attempt=2)) == 4
    assert one.ran() == [1, 2]
    assert one.code(one.start(attempt=3)) == 4
    assert one.ran() == []


@pytest.mark.slow
def test_a_script_whose_slurmstepd_is_lost_goes_so_that_its_point_notices(tmp_path: Path) -> None:
    one = Task(tmp_path)
    process = one.start(hangs="0", under=["bash", "-c", 'bash "$1" & wait', "bash"])
    one.hangs(process)
    script = int((tmp_path / "pid").read_text())
    assert Path(f"/proc/{script}").exists()
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while Path(f"/proc/{script}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)

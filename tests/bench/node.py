"""The node side: what the guards and facts cost over a bare `srun docker run`, in one allocation, image present."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from statistics import median

from tests.bench.measure import Row
from tests.bench.processes import USER, VENV, prepare
from tests.cluster.bed import BED, BedError
from tests.cluster.install import give_files
from tests.cluster.users import run_as

IMAGE = "127.0.0.1:5000/tfslurm/small:1"
EXPERIMENT = f"""\
name: bench-node
image: {IMAGE}
command: ["true"]
outputs: /out
resources: {{gpus: 1, cpus: 2, memory: 500M, time: "00:10:00"}}
"""
# Every side in turn, inside one allocation; the run folder of a round is removed outside the measured time.
ROUNDS = """\
set -euo pipefail
gpu=$(srun nvidia-smi -L | sed -n 's/.*UUID: \\(.*\\))/\\1/p')
docker pull --quiet "$image" >/dev/null
for ((round = 0; round <= rounds; round++)); do
  times=$EPOCHREALTIME
  srun docker run --rm --init --gpus "\\"device=$gpu\\"" "$image" true
  times+=" $EPOCHREALTIME"
  for script in "${scripts[@]}"; do
    begun=$EPOCHREALTIME
    bash "$script"
    times+=" $begun $EPOCHREALTIME"
    rm -rf "${script%/*}/$SLURM_JOB_ID"
  done
  echo "$times"
done
"""


def rows(rounds: int) -> list[Row]:
    """One row: the whole batch script beside a bare run, medians over the rounds but the first."""
    bare, ours = times(rounds, [VENV / "bin" / "tfslurm"])
    return [Row("the batch script on a node, image present", ours, "`srun docker run --init --gpus …`", bare, 0.2, "s")]


def times(rounds: int, programs: list[Path]) -> list[float]:
    """The seconds of a bare run, then of the batch script of each program."""
    prepare()
    work = give_files(USER) / "bench"
    run_as(USER, ["mkdir", "-p", work])
    scripts = " ".join(shlex.quote(str(planned(work, program))) for program in programs)
    (work / "rounds.sh").write_text(f"image={IMAGE} rounds={rounds} scripts=({scripts})\n{ROUNDS}")
    ask: list[str | Path] = [
        "salloc",
        "--quiet",
        "--partition=gpu",
        "--gres=gpu:1",
        "--cpus-per-task=2",
        "--mem=500M",
        "--time=10",
    ]
    done = run_as(USER, [*ask, "bash", work / "rounds.sh"], "alpha", cwd=work, timeout_s=600)
    if done.returncode:
        raise BedError(f"the rounds on a node ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    moments = [[*map(float, line.split())] for line in done.stdout.splitlines()[-rounds:]]
    return [median([row[at + 1] - row[at] for row in moments]) for at in range(0, 2 + 2 * len(programs), 2)]


def planned(work: Path, program: Path) -> Path:
    """A batch script as `submit` would send it, with its run folder, for a job of the small image."""
    (work / "node.yaml").write_text(EXPERIMENT)
    argv: list[str | Path] = [program, "submit", "node.yaml", "--cluster", "alpha", "--again", "--wait", "--json"]
    done = run_as(USER, argv, "alpha", cwd=work)
    if done.returncode:
        raise BedError(f"the small job failed: {done.stderr.strip()[-600:]}")
    plan_id = json.loads(done.stdout)[0]["plan_id"]
    found = sorted((BED / "scratch" / "alpha" / USER).glob(f"**/bench-node-{plan_id}/job.sbatch"))
    if len(found) != 1:
        raise BedError(f"no run folder of plan {plan_id}")
    return found[0]

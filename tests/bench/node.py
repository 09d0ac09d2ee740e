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
# Both sides in turn, inside one allocation; the run folder of a round is removed outside the measured time.
ROUNDS = """\
set -euo pipefail
gpu=$(srun nvidia-smi -L | sed -n 's/.*UUID: \\(.*\\))/\\1/p')
docker pull --quiet "$image" >/dev/null
for ((round = 0; round <= rounds; round++)); do
  t0=$EPOCHREALTIME
  srun docker run --rm --init --gpus "\\"device=$gpu\\"" "$image" true
  t1=$EPOCHREALTIME
  bash "$script"
  t2=$EPOCHREALTIME
  rm -rf "$run_dir/$SLURM_JOB_ID"
  echo "$t0 $t1 $t2"
done
"""


def rows(rounds: int) -> list[Row]:
    """One row: the whole batch script beside a bare run, medians over the rounds but the first."""
    prepare()
    work = give_files(USER) / "bench"
    run_as(USER, ["mkdir", "-p", work])
    script = planned(work)
    settings = {"image": IMAGE, "rounds": str(rounds), "script": str(script), "run_dir": str(script.parent)}
    assignments = "\n".join(f"{key}={shlex.quote(value)}" for key, value in settings.items())
    (work / "rounds.sh").write_text(f"{assignments}\n{ROUNDS}")
    ask = ["salloc", "--quiet", "--partition=gpu", "--gres=gpu:1", "--cpus-per-task=2", "--mem=500M", "--time=10"]
    done = run_as(USER, [*ask, "bash", work / "rounds.sh"], "alpha", cwd=work, timeout_s=600)
    if done.returncode:
        raise BedError(f"bench: the rounds on a node ended with {done.returncode}: {done.stderr.strip()[-600:]}")
    times = [tuple(map(float, line.split())) for line in done.stdout.splitlines()[-rounds:]]
    bare = median([t1 - t0 for t0, t1, _ in times])
    ours = median([t2 - t1 for _, t1, t2 in times])
    return [Row("the batch script on a node, image present", ours, "`srun docker run --init --gpus …`", bare, 0.2, "s")]


def planned(work: Path) -> Path:
    """A batch script as `submit` would send it, with its run folder, for a job of the small image."""
    (work / "node.yaml").write_text(EXPERIMENT)
    program = str(VENV / "bin" / "tfslurm")
    done = run_as(USER, [program, "submit", "node.yaml", "--cluster", "alpha", "--wait", "--json"], "alpha", cwd=work)
    if done.returncode:
        raise BedError(f"bench: the small job failed: {done.stderr.strip()[-600:]}")
    plan_id = json.loads(done.stdout)[0]["plan_id"]
    found = sorted((BED / "scratch" / "alpha" / USER).glob(f"**/bench-node-{plan_id}/job.sbatch"))
    if len(found) != 1:
        raise BedError(f"bench: no run folder of plan {plan_id}")
    return found[0]

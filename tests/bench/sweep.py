"""Sweeps: thousands of points submitted at once, here and over ssh, and one of them found again on a node."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.bench.measure import ROUND_TRIP_S, Row, turns
from tests.bench.processes import USER, VENV, command, prepare
from tests.bench.ssh import TRIPS, port, queue_held, reach
from tests.cluster.bed import BedError
from tests.cluster.desk import Desk, a_desk
from tests.cluster.line import Line
from tests.cluster.users import run_as
from tfslurm.sweeps.points import point_of
from tfslurm.sweeps.points_file import Entry, encode

SUBMITIT = """\
import submitit
def work(n): return n
executor = submitit.AutoExecutor(folder="bench-submitit")
executor.update_parameters(slurm_partition="gpu", timeout_min=5, gpus_per_node=1, slurm_array_parallelism=1000)
assert len(executor.map_array(work, range(1000))) == 1000
"""
SIMPLE_SLURM = """\
from simple_slurm import Slurm
for n in range(1000):
    Slurm(partition="gpu", gres="gpu:1", output="/dev/null").sbatch(f"true {n}", verbose=False)
"""
MEMORY = """\
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(json.dumps([code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""
POINT = 'source "$1"; [ -z "${2-}" ] || point::read "$2" 10000 9999'


def rows(rounds: int) -> list[Row]:
    """What submits points, what it needs in memory, and what a node does to find one."""
    prepare()
    with a_desk() as made, queue_held():
        desk = replace(made, program=VENV / "bin" / "tfslurm")
        files = {count: points_file(desk, count) for count in (1, 1000, 10_000)}
        here = beside_peers(desk, rounds, files)
        reach(desk, port())
        return [*here, *over_ssh(desk, rounds, files), on_a_node(desk, rounds)]


def points_file(desk: Desk, count: int) -> Path:
    """An experiment of so many points; one is a job without a sweep."""
    sweep = {"sweep": {"grid": {"n": {"range": [count]}}}} if count > 1 else {}
    words = ["true", "{{ n }}"] if count > 1 else ["true"]
    return desk.experiment(f"points-{count}", words, resources={"gpus": 1}, **sweep)


def beside_peers(desk: Desk, rounds: int, files: dict[int, Path]) -> list[Row]:
    """On a login node: a thousand points beside submitit's and simple_slurm's; ten thousand beside a thousand."""
    desk.write("submitit.py.txt", SUBMITIT)
    desk.write("simple_slurm.py.txt", SIMPLE_SLURM)
    python = str(VENV / "bin" / "python")
    found = turns(
        rounds,
        {
            "1,000": partial(submit, desk, files[1000]),
            "submitit": command(desk.folder, python, "submitit.py.txt"),
            "10,000": partial(submit, desk, files[10_000]),
        },
        emptied,
    )
    loop = turns(1, {"loop": command(desk.folder, python, "simple_slurm.py.txt")}, emptied)["loop"]
    emptied()
    ours = found["1,000"]
    what = "`tfslurm submit` of a sweep of 1,000 points"
    return [
        Row(what, ours, "submitit, map_array of 1,000", found["submitit"], 2.0),
        Row("the same", ours, "simple_slurm in a loop, 1,000 jobs", loop),
        Row("`tfslurm submit` of a sweep of 10,000 points", found["10,000"], what, ours, 6.0),
        Row("the same, its memory", memory(desk, files[10_000]), "", 0.0, 200.0, "MB"),
    ]


def submit(desk: Desk, file: Path, cluster: str | None = "alpha") -> int:
    """One submission, started anew."""
    return desk.tfslurm("submit", file, "--cluster", "alpha", "--again", cluster=cluster).returncode


def emptied() -> None:
    """Nothing of the user's is queued."""
    run_as(USER, ["scancel", "--user", USER], "alpha")


def memory(desk: Desk, file: Path) -> float:
    """The most memory that the submission had resident, in MB."""
    used = peak_mb(desk, "submit", file, "--cluster", "alpha", "--again")
    emptied()
    return used


def peak_mb(desk: Desk, *words: str | Path) -> float:
    """The most memory that a command of tfslurm had resident, in MB.

    Raises:
        BedError: it failed.
    """
    watch = desk.write("memory.py.txt", MEMORY)
    argv = [VENV / "bin" / "python", watch, desk.program, *words]
    done = run_as(USER, argv, "alpha", env=desk.environment("alpha"), cwd=desk.folder)
    code, kib = json.loads(done.stdout)
    if code:
        raise BedError(f"`tfslurm {words[0]}` failed: {done.stderr.strip()[-400:]}")
    return float(kib) * 1024 / 1e6


def over_ssh(desk: Desk, rounds: int, files: dict[int, Path]) -> list[Row]:
    """From a machine without Slurm: a thousand points beside one job, and what they need more of round trips."""
    both = {str(count): partial(submit, desk, files[count], None) for count in (1, 1000)}
    near = turns(rounds, both, emptied)
    taken = {}
    for speed, delay_s in (("fast", 0.0), ("slow", ROUND_TRIP_S / 2)):
        with Line(port(), delay_s=delay_s) as line:
            reach(desk, line.port)
            taken[speed] = turns(rounds, both, emptied)
    one, many = (taken["slow"][count] - taken["fast"][count] for count in ("1", "1000"))
    what = "`tfslurm submit` of 1,000 points over loopback ssh"
    late = "on a line with 50 ms, longer than without"
    return [
        Row(what, near["1000"], "one job, likewise", near["1"], 2.0),
        Row(f"the same, {late}", many, "one job, likewise", one, 2.0, TRIPS),
    ]


def on_a_node(desk: Desk, rounds: int) -> Row:
    """bash that finds the last of ten thousand points, beside bash that finds none."""
    made = [point_of({"lr": 0.1, "seed": number}) for number in range(10_000)]
    points = [Entry(point.id, point.text, {}, ("python", "train.py", "--seed", str(n))) for n, point in enumerate(made)]
    file = desk.write("points", "")
    file.write_bytes(encode(points))
    script = VENV.glob("lib/python*/site-packages/tfslurm/job_templates/parts/roles/points.sh")
    argv = ("bash", "-c", POINT, "bash", str(next(script)))
    found = turns(rounds, {"read": command(desk.folder, *argv, str(file)), "none": command(desk.folder, *argv)})
    return Row("point 9,999 of 10,000 read on a node", found["read"], "bash alone", found["none"], 0.02, "s")

"""The names of files and folders below ROOT. Pure. Run folders and jobs' folders are named, and checked, in `plan`.

ROOT/code/TREE, ROOT/code/TREE.contents, ROOT/images/DIGEST.json
ROOT/packages/KEY                a layer of packages: wheels/FILE as sent, layer/site and layer/layer.json made of them
ROOT/inputs/lists/SHA256         the list of the files of a mounted folder, whose own sha256 is its name
ROOT/inputs/known/DEVICE-INODE   what is known of a mounted folder's or file's hashes
ROOT/runs/NAME-PLANID            run_folder: what was sent, and what came of sending it
    JOB                          job_folder: latest, the outputs, one folder for each attempt
        attempt-N                how it began and ended, sums of the outputs, what was mounted
            inputs/PLACE.list    the list of a mounted folder, where it is short
            facts/task-RANK      what each task saw, and how it ended
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

# of a run folder
JOB_SCRIPT = "job.sbatch"
PLAN = "plan.json"
POINTS = "points.jsonl"
PACKED_POINTS = "points"
"The same for the tasks of an array."
SBATCH_ANSWER = "sbatch.answer"

# of a job's folder
OUTPUTS = "out"

# of an attempt's
BEGIN = "begin.json"
END = "exit.json"
"Of a task too."
OUTPUT_SUMS = "outputs.sha256"
OUTPUT_SIZES = "outputs.sizes"
INPUTS = "inputs.json"
INPUT_LISTS = "inputs"

# of a task's
KEPT = "kept.json"
LOG_SUMS = "logs.sha256"

ATTEMPT = re.compile(r"attempt-([0-9]{1,6})/")
TASK = re.compile(r"facts/task-([0-9]{1,6})/")
LOG = re.compile(r"(stdout|stderr)(?:\.[0-9]{1,6})?\.log")
"What a program printed."


def runs(root: PurePosixPath) -> PurePosixPath:
    """The folder of all run folders of a cluster."""
    return root / "runs"


def code_list(code: PurePosixPath) -> PurePosixPath:
    """The list of the files of a tree of code as they arrived, beside the tree; older trees have none."""
    return code.with_name(f"{code.name}.contents")


def input_list(root: PurePosixPath, tree_sha256: str) -> PurePosixPath:
    """The list of a mounted folder's files on its cluster, by the hash that a record has of it."""
    return root / "inputs" / "lists" / tree_sha256


def packages(root: PurePosixPath, key: str) -> PurePosixPath:
    """The folder of a layer of packages on its cluster, by its key."""
    return root / "packages" / key


def secret(name: str) -> str:
    """A secret's file in the run folder."""
    return f"secrets/{name}"


def batch_log(job_id: str) -> str:
    """The file in the run folder with what the batch script of a job said."""
    return f"slurm-{job_id}.out"


def attempt(number: int) -> str:
    """An attempt's folder in its job's."""
    return f"attempt-{number}"


def logs(rank: int) -> tuple[str, str]:
    """The two logs of a task in its attempt's folder."""
    if not rank:
        return "stdout.log", "stderr.log"
    return "stdout.RANK.log".replace("RANK", str(rank)), "stderr.RANK.log".replace("RANK", str(rank))


def task(rank: int) -> str:
    """A task's folder in its attempt's."""
    return f"facts/task-{rank}"


def attempts_in(files: Iterable[str]) -> list[int]:
    """The numbers of the attempts that have a file among these, in order; their paths begin in the job's folder."""
    return numbers_in(files, ATTEMPT)


def tasks_in(files: Iterable[str]) -> list[int]:
    """The same of the tasks of an attempt, by rank."""
    return numbers_in(files, TASK)


def numbers_in(files: Iterable[str], folder: re.Pattern[str]) -> list[int]:
    """The numbers in names that begin as a folder's does, in order."""
    return sorted({int(found[1]) for name in files if (found := folder.match(name))})

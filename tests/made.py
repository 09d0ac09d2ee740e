"""Small complete values for tests: an experiment, a cluster, a pin and the plan made of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from tfslurm.cluster import Cluster
from tfslurm.image import Pin
from tfslurm.job_plan import CodeState, JobPlan, make_plan
from tfslurm.spec import Experiment, Mount, Placeholder, Resources, Word
from tfslurm.submission.sweep_arrays import points_of
from tfslurm.sweeps.points import point_of
from tfslurm.sweeps.points_file import Entry
from tfslurm.tracker import TrackedSweep, Tracker
from tfslurm.workspace.session import Session

DIGEST = "sha256:" + "a1" * 32
CONFIG = "sha256:" + "b2" * 32
NOW = "2026-11-23T07:50:01.123456Z"

PIN = Pin(
    reference="tensorflow/tensorflow:2.16.1-gpu",
    registry="docker.io",
    repository="tensorflow/tensorflow",
    tag="2.16.1-gpu",
    digest=DIGEST,
    digest_kind="manifest",
    pin_kind="registry",
    platform="linux/amd64",
    manifest_digest=DIGEST,
    config_digest=CONFIG,
    size_bytes=214_000_000,
    media_type="application/vnd.docker.distribution.manifest.v2+json",
    created="2024-03-08T12:00:00Z",
    served_by="127.0.0.1:5000",
    pinned_at=NOW,
    entrypoint=(),
    environment={"CUDA_VERSION": "12.3.0"},
)
CLUSTER = Cluster(
    name="alpha",
    root=PurePosixPath("/scratch/alice/tfslurm"),
    mirrors={"docker.io": ("127.0.0.1:5000",)},
    slurm={"partition": "gpu"},
    mounts_allow=(PurePosixPath("/data"),),
)
EXPERIMENT = Experiment(
    name="digits",
    image="tensorflow/tensorflow:2.16.1-gpu",
    command=(
        Word(("python",)),
        Word(("train.py",)),
        Word(("--lr=", Placeholder("lr"))),
        Word(("--out",)),
        Word(("/out",)),
    ),
    mounts=(Mount("/data/digits", "/data"),),
    outputs="/out",
    env={"SEED": Word(("7",))},
    resources=Resources(gpus=1, cpus=4, memory_mib=16384, time_s=7200),
)
CODE = CodeState(tree="4b825dc642cb6eb9a060e54bf8d69288fbee4904", writable=False, files=2, size_bytes=900)

# Words that a shell, Slurm or a template could take for something else.
HOSTILE = (
    *("plain", "two words", "", " ", "  lead", "trail  ", "it's", 'say "hi"', "'", '"', "'\"'", "\\", "\\\\", "end\\"),
    *(
        "a\\nb",
        "line\nbreak",
        "\n",
        "ends in newline\n",
        "\n\n",
        "tab\there",
        "\t",
        "cr\rhere",
        "dos\r\nline",
        "\x01\x1b\x7f",
    ),
    *("$HOME", "${HOME}", "$(touch /tmp/never)", "`touch /tmp/never`", "$'x'", "!history", "exp#3", "# comment"),
    *(
        "#SBATCH --nodes=9",
        "a;b",
        "a|b&c>d<e",
        "*",
        "[a-z]?*",
        "~",
        "~root",
        "{a,b}",
        "{{ lr }}",
        "{% raw %}",
        "{# note #}",
    ),
    *("-n", "--", "--rm", "=", "a=b", "é", "日本語", "🧪", "\u2028", "café\u0301", "EOF", ")", "(", "x" * 100_000),
)


def plan(experiment: Experiment = EXPERIMENT, cluster: Cluster = CLUSTER, **changes: Any) -> JobPlan:
    """The plan of EXPERIMENT on CLUSTER; ``changes`` replace arguments of make_plan."""
    arguments: dict[str, Any] = {
        "options": {"partition": "gpu", "gres": "gpu:1", "no-requeue": ""},
        "code": CODE,
        "parameters": {"lr": "0.1"},
        "user": "alice",
        "planned_at": NOW,
        "spec_file": "exp.yaml",
        "spec_text": "name: digits\n",
        "tfslurm_version": "0.1.0",
    }
    arguments |= changes
    return make_plan(experiment, cluster, arguments.pop("pin", PIN), **arguments)


def experiment(**changes: Any) -> Experiment:
    """EXPERIMENT with some fields replaced."""
    return replace(EXPERIMENT, **changes)


def session(tracker: Tracker, agree: bool = False) -> Session:
    """A command's session with this tracker, which says on stderr what a command would."""
    made = Session(lambda *lines: print(*lines, sep="\n", file=sys.stderr), agree=lambda question: agree)
    made.tracker = tracker
    return made


SWEPT = experiment(sweep={"grid": {"lr": [0.1, 0.01, 0.001]}, "max_parallel": 5})
SWEEP = TrackedSweep("digits-0a1b2c", "asked", "digits", NOW, "", {}, told=False)


def entries(count: int = 3) -> tuple[Entry, ...]:
    """So many points of a sweep."""
    points = [point_of({"lr": number}) for number in range(count)]
    return tuple(Entry(point.id, point.text, {}, ("python", str(place))) for place, point in enumerate(points))


def array(some: Sequence[Entry], **changes: Any) -> JobPlan:
    """The plan of the array of these points; ``changes`` replace fields of its points."""
    return plan(SWEPT, parameters={}, points=replace(points_of(some, SWEPT, SWEEP.sweep_id), **changes))

"""What the points of a sweep measured, and where: read from any number of run folders with one command a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfslurm.errors import HostError
from tfslurm.host import Host
from tfslurm.host.files import in_bash, one_line
from tfslurm.plan import JobPlan
from tfslurm.record.folder import Folder
from tfslurm.record.task import read_driver, read_gpus
from tfslurm.sweep.confounding import Row
from tfslurm.tracker import PlacedPoint

METRICS = "metrics.json"
FACTS = ("gpus.txt", "nvidia-smi-query.csv", "nvidia-smi-L.txt", "nvidia-driver-proc.txt", "nvidia-driver-module.txt")
LARGEST = 2**20

# On stdin, for each job, its folder ended by NUL. Out comes for each what its outputs' metrics.json holds, then each of
# the files ($2 …) of its last attempt's first task, each ended by NUL. No program is started: there may be many jobs.
RESULTS = one_line(r"""export LC_ALL=C; most=$1; shift;
give() { text=; [ ! -f "$1" ] || IFS= read -r -d '' -n "$most" text <"$1" || :; printf '%s\0' "$text"; };
while IFS= read -r -d '' job; do last=0;
for one in "$job"/attempt-*; do n=${one##*/attempt-}; case $n in ''|*[!0-9]*) continue ;; esac;
[ "$n" -le "$last" ] || last=$n; done;
give "$job/out/metrics.json"; for name; do give "$job/attempt-$last/facts/task-0/$name"; done; done""")


@dataclass(frozen=True, slots=True)
class Result:
    """What is known of one point; None: not observed (yet). ``why`` its metrics could not be read; '' where not."""

    point: str
    parameters: Mapping[str, Any]
    job: str | None
    cluster: str | None
    state: str
    gpu: str | None
    driver: str | None
    digest: str
    seconds: int | None
    metrics: Mapping[str, Any]
    why: str = ""

    @property
    def row(self) -> Row:
        """It as what parameters may be confounded in."""
        return Row(self.parameters, {"cluster": self.cluster, "GPU model": self.gpu, "driver": self.driver})


def read_results(points: Sequence[PlacedPoint], plans: Mapping[str, JobPlan], host: Host) -> list[Result]:
    """What points measured whose jobs are on one machine, in their order.

    Raises:
        HostError: the machine does not answer, or not for all of them.
    """
    folders = [str(plans[point.plan_id].run_dir / point.job.job_id) for point in points if point.job]
    asked = b"".join(folder.encode("utf-8", "surrogateescape") + b"\0" for folder in folders)
    argv = in_bash(RESULTS, str(LARGEST), *FACTS)
    said = host.run_bytes(argv, input=asked, timeout_s=60 + len(folders) / 20).split(b"\0")
    width = 1 + len(FACTS)
    if len(said) != width * len(folders) + 1:
        raise HostError(f"{host.name}: the results could not be read to their end", transient=True)
    texts = [said[start : start + width] for start in range(0, width * len(folders), width)]
    return [result_of(point, plans[point.plan_id], text) for point, text in zip(points, texts, strict=True)]


def result_of(point: PlacedPoint, plan: JobPlan, texts: Sequence[bytes]) -> Result:
    """What one point's files say."""
    folder = Folder({name: text for name, text in zip(FACTS, texts[1:], strict=True) if text}, "", "")
    metrics, why = metrics_in(texts[0])
    gpus = read_gpus(folder) or ()
    names = sorted({gpu.name for gpu in gpus if gpu.name})
    job = point.job
    return Result(
        point=point.entry.id,
        parameters=json.loads(point.entry.text),
        job=job.key if job else None,
        cluster=job.cluster if job else None,
        state=job.state if job else "NOT SENT",
        gpu=", ".join(names) or None,
        driver=read_driver(folder)[0],
        digest=plan.pin.digest,
        seconds=job.status.get("elapsed_s") if job else None,
        metrics=metrics,
        why=why,
    )


def metrics_in(text: bytes) -> tuple[dict[str, Any], str]:
    """The numbers, texts, true and false in a metrics.json, nested keys joined by dots; and why there are none."""
    if not text:
        return {}, ""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        return {}, f"{METRICS} cannot be read: {error}"
    if not isinstance(found, dict):
        return {}, f"{METRICS} is no JSON object"
    return dict(flat(found)), ""


def flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """The scalars of nested objects by their dotted names; lists are left out."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += flat(value, f"{before}{key}.")
        elif not isinstance(value, list):
            found.append((f"{before}{key}", value))
    return found

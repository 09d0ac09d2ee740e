"""Experiment x cluster x pinned image -> JobPlan: the very object that is shown, rendered and submitted.

Pure: text and values in, values out. ``now`` and everything that was observed are arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from tfslurm.cluster import Cluster, Limits
from tfslurm.document.canonical import canonical
from tfslurm.errors import InputError
from tfslurm.image import Pin, missing_variables, oldest_driver, quoted, quoted_list, sources
from tfslurm.spec import Checkpoint, Experiment, Mount, Resources, fill
from tfslurm.sweep.arrays import Array, job_ids

SCHEMA = "tfslurm.plan/1"
WARNING = "URG"  # what Slurm sends before the end; node.sh turns it into the experiment's own signal, and says why
LOADER_VARIABLES = ("CUDA_", "LD_", "NVIDIA_", "PATH", "PYTHON", "TF_", "XLA_")  # the beginnings of their names


@dataclass(frozen=True, slots=True)
class CodeState:
    """The code that a job runs: the git tree id of what was on disk, and where it came from (None: not in git)."""

    tree: str
    writable: bool
    files: int
    size_bytes: int
    remote: str | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None


@dataclass(frozen=True, slots=True)
class Points:
    """The points of a sweep that one job array runs in order; ``sha256`` is of the file with them all.

    A task runs ``points_per_job`` of them, one after the other. ``max_parallel`` tasks run at once; 0: as many as the
    cluster lets.
    """

    sweep_id: str
    count: int
    sha256: str
    max_parallel: int = 0
    points_per_job: int = 1

    @property
    def option(self) -> str:
        """The value of ``--array``."""
        return Array(0, self.count, self.points_per_job).option(self.max_parallel)


@dataclass(frozen=True, slots=True)
class JobPlan:
    """Everything one Slurm job, or job array, will be told, with the digest already resolved.

    Of an array (``points`` is not None) ``command`` is as it was written, ``env`` has what is the same for all tasks,
    and ``parameters`` is empty: each task reads its own words from the file of points.

    ``plan_sha256`` covers what is asked (two equal plans have equal hashes); ``plan_id`` also covers the moment, so
    every submission has its own. Paths are paths on the cluster unless a field says container.
    """

    name: str
    user: str
    cluster: str
    root: str
    engine: str
    pin: Pin
    image_sources: tuple[str, ...]
    command: tuple[str, ...]
    env: Mapping[str, str]
    mounts: tuple[Mount, ...]
    mounts_allow: tuple[str, ...]
    outputs: str | None
    secrets: tuple[str, ...]
    resources: Resources
    network: str
    code: CodeState | None
    options: Mapping[str, str]
    template: str
    checkpoint: Checkpoint | None
    parameters: Mapping[str, Any]
    spec_file: str
    spec_sha256: str
    planned_at: str
    tfslurm_version: str
    template_sha256: str = ""
    gpu_check: str = "cached"
    cgroup_parent: str = "auto"
    prepull: bool = False
    limits: Limits = field(default_factory=Limits)
    points: Points | None = None
    schema: str = SCHEMA
    plan_sha256: str = ""
    plan_id: str = ""

    @property
    def run_dir(self) -> PurePosixPath:
        """The folder of this submission on the cluster."""
        return run_folder(self.root, self.name, self.plan_id)

    @property
    def code_dir(self) -> PurePosixPath | None:
        """The folder of the code snapshot on the cluster; None where the experiment brings no code."""
        return PurePosixPath(self.root) / "code" / self.code.tree if self.code else None

    @property
    def images_dir(self) -> PurePosixPath:
        """Where the facts of probed images are kept on the cluster."""
        return PurePosixPath(self.root) / "images"

    @property
    def gpus_per_task(self) -> int:
        """The GPUs that each of a node's tasks has to itself; 0 where every task sees all of the node's.

        That is so for one task, for fewer GPUs than tasks, and where `slurm: {gpu-bind: …}` says something else.
        """
        gpus, tasks = self.resources.gpus, self.resources.tasks_per_node
        return 0 if tasks == 1 or "gpu-bind" in self.options else gpus // tasks

    @property
    def gpu_check_key(self) -> str:
        """12 hex of what beside the image can change which GPUs TensorFlow finds: variables, mounts, what lies in them.

        Only where one of the variables is set can the code take part: its check runs outside of it else.
        """
        env = {key: value for key, value in self.env.items() if key.startswith(LOADER_VARIABLES)}
        code = (self.code.tree if env else "any") if self.code else None
        mounts = [plain(asdict(mount)) for mount in self.mounts]
        found = {"env": env, "mounts": mounts, "outputs": self.outputs, "code": code}
        return hashlib.sha256(canonical(found)).hexdigest()[:12]

    @property
    def loader_variables(self) -> tuple[str, ...]:
        """The beginnings of the names of the variables in ``gpu_check_key``: the check sees no others of ``env``."""
        return LOADER_VARIABLES

    @property
    def minimum_driver(self) -> str:
        """The oldest NVIDIA driver that can run the image's CUDA; '' where there is no GPU or the image names none."""
        return oldest_driver({**self.pin.environment, **self.env}) if self.resources.gpus else ""

    @property
    def minimum_driver_for(self) -> str:
        """What asks for it: ``CUDA 12.3.0``."""
        return f"CUDA {self.pin.environment.get('CUDA_VERSION') or 'of its NVIDIA_REQUIRE_CUDA'}"

    @property
    def image_claims(self) -> Mapping[str, Any]:
        """What the lock file says of the image and the node compares with the one it has, as Go's ``%+q`` writes it."""
        pin = self.pin
        return {
            "platform": "/".join(pin.platform.split("/")[:2]),
            "entrypoint": quoted_list(pin.entrypoint),
            "environment": tuple(quoted(f"{name}={value}") for name, value in pin.environment.items()),
            "missing": missing_variables(pin),
        }

    @property
    def job_name(self) -> str:
        """The name in Slurm's queue, which finds the job again if its id was never written down."""
        return f"{self.name}-{self.plan_id}"

    @property
    def comment(self) -> str:
        """The token in ``--comment``: kept by the controller and, where the site stores comments, by slurmdbd."""
        return f"tfslurm:{self.plan_id}"

    def jobs(self, job_id: str) -> tuple[str, ...]:
        """The ids of all its jobs under the id that sbatch gave: ``1234``, or those of an array's points."""
        points = self.points
        return job_ids(job_id, points.count, points.points_per_job) if points else (job_id,)

    @property
    def directives(self) -> Mapping[str, str]:
        """The sbatch options in the order they are written; an empty value is a flag."""
        own = {
            "job-name": self.job_name,
            "comment": self.comment,
            "chdir": str(self.run_dir),
            "output": f"{str(self.run_dir).replace('%', '%%')}/slurm-{'%A_%a' if self.points else '%j'}.out",
            "open-mode": "append",
            **({"array": self.points.option} if self.points else {}),
        }
        return {**own, **self.options}


def run_folder(root: str, name: str, plan_id: str) -> PurePosixPath:
    """The folder of one submission on its cluster."""
    return PurePosixPath(root) / "runs" / f"{name}-{plan_id}"


def slurm_options(experiment: Experiment, cluster: Cluster) -> dict[str, str | int | bool]:
    """What sbatch is asked for: the cluster's defaults, the experiment's options, then its resources and checkpoint."""
    asked = {**cluster.slurm, **experiment.slurm}
    options: dict[str, str | int | bool] = {key.replace("_", "-"): value for key, value in asked.items()}
    resources = experiment.resources
    options["nodes"] = resources.nodes
    options["ntasks-per-node"] = resources.tasks_per_node
    options["cpus-per-task"] = -(-resources.cpus // resources.tasks_per_node)
    if resources.gpus:
        kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
        options["gres"] = f"gpu:{kind}{resources.gpus}"
    if resources.memory_mib:
        options["mem"] = f"{resources.memory_mib}M"
    if resources.time_s:
        options["time"] = slurm_time(resources.time_s)
    checkpoint = experiment.checkpoint
    if checkpoint:
        options["signal"] = f"{WARNING}@{checkpoint.before_end_s}"
    options["requeue" if checkpoint and checkpoint.requeue else "no-requeue"] = True
    return options


def slurm_time(seconds: int) -> str:
    """A duration as ``D-HH:MM:SS``, which Slurm reads without ambiguity. Source: sbatch(1), --time."""
    days, rest = divmod(seconds, 86400)
    return f"{days}-{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"


def make_plan(
    experiment: Experiment,
    cluster: Cluster,
    pin: Pin,
    *,
    options: Mapping[str, str],
    code: CodeState | None,
    parameters: Mapping[str, Any],
    user: str,
    planned_at: str,
    spec_file: str,
    spec_text: str,
    tfslurm_version: str,
    template_sha256: str = "",
    points: Points | None = None,
) -> JobPlan:
    """The plan of one job, or of an array. ``options`` are slurm_options as Slurm's vocabulary checked and formatted
    them.

    Raises:
        InputError: a mount that the cluster's file does not allow, or a placeholder without a value.
    """
    refuse_mounts(experiment, cluster)
    command, env = as_written(experiment) if points else fill(experiment, parameters)
    plan = JobPlan(
        name=experiment.name,
        user=user,
        cluster=cluster.name,
        root=str(cluster.root),
        engine=cluster.engine,
        cgroup_parent=cluster.cgroup_parent,
        limits=cluster.limits,
        pin=pin,
        image_sources=sources(pin, cluster.mirrors),
        command=(*pin.entrypoint, *command),
        env=env,
        mounts=experiment.mounts,
        mounts_allow=tuple(str(path) for path in cluster.mounts_allow),
        outputs=experiment.outputs,
        secrets=experiment.secrets,
        resources=experiment.resources,
        network=experiment.network,
        gpu_check=gpu_check(experiment) if points else experiment.gpu_check,
        prepull=experiment.prepull,
        code=code,
        options=options,
        template=experiment.template or "",
        template_sha256=template_sha256,
        checkpoint=experiment.checkpoint,
        parameters=parameters,
        spec_file=spec_file,
        spec_sha256=hashlib.sha256(spec_text.encode()).hexdigest(),
        planned_at=planned_at,
        tfslurm_version=tfslurm_version,
        points=points,
    )
    return identify(plan)


def as_written(experiment: Experiment) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command with its placeholders, for a reader, and the variables that have none."""
    env = {name: str(word) for name, word in experiment.env.items() if not word.names}
    return tuple(str(word) for word in experiment.command), env


def gpu_check(experiment: Experiment) -> str:
    """How the tasks of an array see whether TensorFlow finds their GPUs: each by itself, where their variables differ
    in what can change it."""
    differ = [name for name, word in experiment.env.items() if word.names and name.startswith(LOADER_VARIABLES)]
    return "always" if differ and experiment.gpu_check == "cached" else experiment.gpu_check


def identify(plan: JobPlan) -> JobPlan:
    """The same plan with its two names: the hash of what is asked, and the id of this submission."""
    moment = {"plan_id", "plan_sha256", "planned_at", "spec_file"}
    asked = {key: value for key, value in to_json(plan).items() if key not in moment}
    if plan.points is None:
        del asked["points"]
    else:
        del asked["points"]["sweep_id"]  # it holds the moment too
    plan_sha256 = hashlib.sha256(canonical(asked)).hexdigest()
    plan_id = hashlib.sha256(f"{plan_sha256} {plan.planned_at}".encode()).hexdigest()[:12]
    return replace(plan, plan_sha256=plan_sha256, plan_id=plan_id)


def planned_again(plan: JobPlan, now: str) -> JobPlan:
    """The same job as another submission."""
    return identify(replace(plan, planned_at=now))


def refuse_mounts(experiment: Experiment, cluster: Cluster) -> None:
    """Nothing, if every mount's source lies under a folder that the cluster's file allows.

    Raises:
        InputError: every mount outside them, with its line.
    """
    allowed = ", ".join(str(path) for path in cluster.mounts_allow) or "nothing"
    problems = [
        experiment.problem(
            ("mounts", index, "source"),
            f"{mount.source!r} is outside what cluster {cluster.name} allows ({allowed})",
            f"mount a path under those, or add it to `mounts: {{allow: […]}}` in the file of cluster {cluster.name}",
        )
        for index, mount in enumerate(experiment.mounts)
        if not cluster.allows(PurePosixPath(mount.source))
    ]
    if problems:
        raise InputError(problems)


def to_json(plan: JobPlan) -> dict[str, Any]:
    """The plan as plain values, in the order of its fields; ``from_json`` reads it back."""
    return {key: plain(value) for key, value in asdict(plan).items()}


def plain(value: object) -> Any:
    """The same value built of dict, list, str, int, float, bool and None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, PurePosixPath) else value


def from_json(values: Mapping[str, Any]) -> JobPlan:
    """The plan that ``to_json`` wrote.

    Raises:
        ValueError, KeyError, TypeError: the values are not a plan of this schema.
    """
    if values["schema"] != SCHEMA:
        raise ValueError(f"schema {values['schema']!r} is not {SCHEMA!r}")
    lists = ("image_sources", "command", "mounts_allow", "secrets")
    pin = dict(values["pin"])
    return JobPlan(
        **{
            **values,
            **{key: tuple(values[key]) for key in lists},
            "pin": Pin(**{**pin, "entrypoint": tuple(pin["entrypoint"])}),
            "mounts": tuple(Mount(**mount) for mount in values["mounts"]),
            "resources": Resources(**values["resources"]),
            "code": CodeState(**values["code"]) if values["code"] else None,
            "checkpoint": Checkpoint(**values["checkpoint"]) if values["checkpoint"] else None,
            "limits": Limits(**values.get("limits", {})),
            "points": Points(**values["points"]) if values.get("points") else None,
        }
    )

"""Join experiment, cluster and pinned image into the JobPlan that is shown, rendered and submitted.

Pure: text and values in, values out. ``now`` and everything that was observed are arguments.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tfslurm.cluster import Cluster, Limits
from tfslurm.cluster.mounts import on_cluster, refuse_mounts
from tfslurm.document.canonical import canonical
from tfslurm.document.typed import build
from tfslurm.errors import InputError, RecordError
from tfslurm.image import Pin, oldest_driver, sources
from tfslurm.job_plan.contents import BESIDE, MOMENT, NEW, OF_SWEEP
from tfslurm.job_plan.contents import CodeState as CodeState
from tfslurm.job_plan.contents import DerivedFrom as DerivedFrom
from tfslurm.job_plan.contents import Points as Points
from tfslurm.job_plan.folders import FOLDER, UNTRUE
from tfslurm.job_plan.layer import refuse_covered
from tfslurm.job_plan.variables import LOADER_VARIABLES, OWN_VARIABLES, gpu_check
from tfslurm.spec import Checkpoint, Experiment, Mount, Reproduce, Resources, fill_one
from tfslurm.sweeps.arrays import job_ids

if TYPE_CHECKING:
    from tfslurm.image import BuildLock, PackageLock, ScanEvidence

SCHEMA = "tfslurm.plan/1"
TREE = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True)
class JobPlan:
    """Everything one Slurm job, or job array, will be told, with the digest already resolved.

    Of an array (``points`` is not None) ``command`` is as it was written, ``env`` has what is the same for all tasks,
    and ``parameters`` is empty: each task reads its own words from the file of points.

    ``plan_sha256`` covers what is asked (two equal plans have equal hashes); ``plan_id`` also covers the moment, so
    every submission has its own. Paths are paths on the cluster unless a field says container. ``roots`` are the
    folders of tfslurm's beside ``root`` that no mount may reach. ``spec_text`` is exp.yaml's, ``template_text`` that of
    the experiment's own template. These and ``shared_parents`` are '' in a plan of an older tfslurm. ``chain_head`` is
    the hash of the last record in the chain of the tracker that made the plan; '': it had none. ``derived_from`` is the
    run that this one repeats. ``image_archive`` is the sha256 of the archive in ``images_dir`` that the image is loaded
    from; '': it is pulled. ``packages`` are the wheels that are added to the image; None: there are none. ``scan`` is
    what was known against the image then, where a rule asks for that. ``build``: how tfslurm made the image.
    ``keep_on_failure_s``: how long the container of a program that failed is kept; 0: not at all.
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
    engine_environment: Mapping[str, str] = field(default_factory=dict)
    points: Points | None = None
    plugin_options: Mapping[str, str] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    shared_parents: str = ""
    read_group: str = ""
    spec_text: str = ""
    template_text: str = ""
    reproduce: Reproduce | None = None
    chain_head: str = ""
    derived_from: DerivedFrom | None = None
    image_archive: str = ""
    packages: PackageLock | None = None
    scan: ScanEvidence | None = None
    build: BuildLock | None = None
    keep_on_failure_s: int = 0
    schema: str = SCHEMA
    plan_sha256: str = ""
    plan_id: str = ""

    @cached_property
    def run_dir(self) -> PurePosixPath:
        """The folder of this submission on the cluster."""
        return run_folder(self.root, self.name, self.plan_id)

    @cached_property
    def code_dir(self) -> PurePosixPath | None:
        """The folder of the code snapshot on the cluster; None where the experiment brings no code.

        Raises:
            RecordError: the tree's id is none, and could lead elsewhere.
        """
        if self.code and not TREE.fullmatch(self.code.tree):
            raise RecordError(f"plan {self.job_name[:80]!r}: its code {self.code.tree[:80]!r} is not the id of a tree")
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
        decisive = [key for key in self.env if key.startswith(LOADER_VARIABLES) and key not in OWN_VARIABLES]
        env = {key: self.env[key] for key in decisive}
        code = (self.code.tree if env else "any") if self.code else None
        mounts = [mount_json(replace(mount, hash=False)) for mount in self.mounts]
        found = {"env": env, "mounts": mounts, "outputs": self.outputs, "code": code}
        found |= {"packages": self.packages.key} if self.packages else {}
        return hashlib.sha256(canonical(found, "plan")).hexdigest()[:12]

    @property
    def loader_variables(self) -> tuple[str, ...]:
        """The beginnings of the names of those in ``gpu_check_key``: the check sees no others of ``env``."""
        return LOADER_VARIABLES

    @property
    def driver_environment(self) -> Mapping[str, str]:
        """The variables that NVIDIA's hook reads: the image's, and of ``env`` those in the container's own."""
        return {**self.pin.environment, **{key: value for key, value in self.env.items() if key.startswith("NVIDIA_")}}

    @property
    def minimum_driver_for(self) -> str:
        """The CUDA that needs it: ``CUDA 12.3.0``."""
        return f"CUDA {self.pin.environment.get('CUDA_VERSION') or 'of its NVIDIA_REQUIRE_CUDA'}"

    @property
    def job_name(self) -> str:
        """The name in Slurm's queue, which finds the job again if its id was never written down."""
        return f"{self.name}-{self.plan_id}"

    @property
    def comment(self) -> str:
        """The token in ``--comment``: kept by the controller and, where the site stores comments, by slurmdbd.

        The chain's head behind it is thereby written down where only the site and, with sacctmgr, the user write.
        """
        return ":".join(filter(None, ("tfslurm", self.plan_id, self.chain_head)))

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
        return {**own, **self.asked_options}

    @property
    def asked_options(self) -> Mapping[str, str]:
        """The options that experiment, cluster and resources ask for, those of the site's plugins last."""
        return {**self.options, **self.plugin_options}

    @property
    def minimum_driver(self) -> str:
        """The oldest NVIDIA driver that can run the image's CUDA; '' where there is no GPU or the image names none."""
        return oldest_driver(self.driver_environment) if self.resources.gpus else ""


def run_folder(root: str, name: str, plan_id: str) -> PurePosixPath:
    """The folder of one submission on its cluster: ROOT/runs/NAME-PLANID, and nothing else is ever made of these.

    Raises:
        RecordError: one of them is not what it must be, and could lead elsewhere.
    """
    folder = f"{name}-{plan_id}"
    base = PurePosixPath(root) if isinstance(root, str) else PurePosixPath()
    if not FOLDER.fullmatch(folder) or len(base.parts) < 2 or not base.is_absolute() or ".." in base.parts:
        raise RecordError(f"{str(root)[:80]!r}, {folder[:80]!r}: these do not name a run folder; {UNTRUE}")
    return base / "runs" / folder


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
    template_text: str = "",
    chain_head: str = "",
    derived_from: DerivedFrom | None = None,
    image_archive: str = "",
    packages: PackageLock | None = None,
    scan: ScanEvidence | None = None,
    points: Points | None = None,
    plugin_options: Mapping[str, str] | None = None,
    roots: Sequence[str] = (),
    keep_on_failure_s: int = 0,
) -> JobPlan:
    """The plan of one job, or of an array. ``options`` are slurm_options as Slurm's vocabulary checked and formatted
    them, ``plugin_options`` those that it does not know.

    Raises:
        InputError: a mount that the cluster's file does not allow, or a placeholder without a value.
    """
    refuse_unfit(experiment, cluster, pin.entrypoint, packages)
    command, env = as_written(experiment) if points else fill_one(experiment, parameters)
    return identify(
        JobPlan(
            user=user,
            pin=pin,
            image_sources=sources(pin, cluster.mirrors),
            command=(*pin.entrypoint, *command),
            env={**own_variables(experiment), **env},
            **of_experiment(experiment),
            **of_cluster(cluster),
            mounts=tuple(on_cluster(mount, cluster) for mount in experiment.mounts),
            gpu_check=gpu_check(experiment) if points else experiment.gpu_check,
            code=code,
            options=options,
            plugin_options=plugin_options or {},
            template=experiment.template or "",
            template_sha256=template_sha256,
            parameters=parameters,
            spec_file=spec_file,
            spec_sha256=hashlib.sha256(spec_text.encode()).hexdigest(),
            planned_at=planned_at,
            tfslurm_version=tfslurm_version,
            points=points,
            roots=tuple(roots),
            spec_text=spec_text,
            template_text=template_text,
            chain_head=chain_head,
            derived_from=derived_from,
            image_archive=image_archive,
            packages=packages if packages and packages.wheels else None,
            scan=scan,
            keep_on_failure_s=keep_on_failure_s,
        )
    )


def of_experiment(experiment: Experiment) -> dict[str, Any]:
    """The fields of a plan that stand in the experiment's file as they are."""
    names = ("name", "outputs", "secrets", "resources", "network", "prepull", "checkpoint", "reproduce")
    return {name: getattr(experiment, name) for name in names}


def of_cluster(cluster: Cluster) -> dict[str, Any]:
    """The fields of a plan that its cluster's file says."""
    return {
        "cluster": cluster.name,
        "root": str(cluster.root),
        "engine": cluster.engine,
        "cgroup_parent": cluster.cgroup_parent,
        "limits": cluster.limits,
        "engine_environment": dict(cluster.engine_environment),
        "mounts_allow": tuple(str(path) for path in cluster.mounts_allow),
        "shared_parents": cluster.shared_parents,
        "read_group": cluster.read_group,
    }


def as_written(experiment: Experiment) -> tuple[tuple[str, ...], dict[str, str]]:
    """The command with its placeholders, for a reader, and the variables that have none."""
    env = {name: str(word) for name, word in experiment.env.items() if not word.names}
    return tuple(str(word) for word in experiment.command), env


def own_variables(experiment: Experiment) -> dict[str, str]:
    """The variables that tfslurm gives a program which does not set them itself; '' is a value too."""
    own = (*experiment.env, *experiment.secrets)
    return {name: value for name, value in OWN_VARIABLES.items() if name not in own}


def identify(plan: JobPlan) -> JobPlan:
    """The same plan with its two names: the hash of what is asked, and the id of this submission."""
    plan_sha256, plan_id = identity(to_json(plan))
    return replace(plan, plan_sha256=plan_sha256, plan_id=plan_id)


def identity(values: Mapping[str, Any]) -> tuple[str, str]:
    """The hash of what a plan in plain values asks, and the id of its submission.

    A plan that an older version wrote has the identity that it had then: what it does not say is not part of it.
    """
    asked = {key: value for key, value in values.items() if key not in (*MOMENT, *BESIDE)}
    beside = {key: values[key] for key in BESIDE if key in values}
    if asked.get("code"):  # the tree's id says the same as its list's hash
        asked["code"] = {key: value for key, value in asked["code"].items() if key != "contents_sha256"}
        beside |= {key: value for key, value in values["code"].items() if key == "contents_sha256"}
    if asked.get("packages"):  # the same wheels, wherever they came from
        asked["packages"] = asked["packages"]["sha256"]
        beside["packages"] = values["packages"]
    points = asked.pop("points", None)
    if points is not None:  # its sweep's id holds the moment too
        asked["points"] = {key: value for key, value in points.items() if key not in OF_SWEEP}
        beside |= {key: value for key, value in points.items() if key == "of_sweep"}
    plan_sha256 = hashlib.sha256(canonical(asked, "plan")).hexdigest()
    submission = f"{plan_sha256} {values['planned_at']}".encode() + (canonical(beside, "plan") if beside else b"")
    return plan_sha256, hashlib.sha256(submission).hexdigest()[:12]


def mount_json(mount: Mount) -> dict[str, Any]:
    """A mount as plain values; ``run`` only where it has that name, ``hash`` only where it is asked for."""
    return {key: value for key, value in asdict(mount).items() if value is not None and (value or key != "hash")}


def refuse_unfit(
    experiment: Experiment, cluster: Cluster, entrypoint: Sequence[str], packages: PackageLock | None = None
) -> None:
    """Refuse mounts that the cluster does not allow, and a value that is part of a program behind the entrypoint.

    Raises:
        InputError: every mount that it does not; every word in which a value would be (`sh -c`).
    """
    from tfslurm.spec.program_text import refuse_program_text

    if experiment.mounts:
        refuse_mounts(experiment, cluster)
    if packages:
        refuse_covered(experiment)
    refusals = refuse_program_text([word.parts for word in experiment.command], entrypoint)
    if refusals:
        after = f" (the image's entrypoint is {' '.join(entrypoint)})"
        raise InputError([experiment.problem(("command", *each.at), each.why + after, each.fix) for each in refusals])


def to_json(plan: JobPlan) -> dict[str, Any]:
    """The plan as values that JSON has, in the order of its fields; ``from_json`` reads them back.

    A list is a tuple here, and is written as a list. What an older version did not know and is empty is left out.
    """
    values = {**asdict(plan), "mounts": [mount_json(mount) for mount in plan.mounts]}
    if plan.points and not plan.points.of_sweep:
        del values["points"]["of_sweep"]
    return {key: each for key, each in values.items() if each or key not in NEW}


def from_json(values: Mapping[str, Any]) -> JobPlan:
    """The plan that ``to_json`` wrote; fields that an older version did not know have their defaults.

    Raises:
        ValueError, KeyError, TypeError: the values are not a plan of this schema; a key of a newer one is refused.
    """
    if values["schema"] != SCHEMA:
        raise ValueError(f"schema {str(values['schema'])[:40]!r} is not {SCHEMA!r}")
    global BuildLock, PackageLock, ScanEvidence  # noqa: PLW0603 - what a plan is read with, few commands read one
    from tfslurm.image import BuildLock, PackageLock, ScanEvidence

    return build(JobPlan, values)

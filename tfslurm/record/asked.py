"""All that a plan asked, as a rerun needs it, and the settings that decide about equality to the bit. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tfslurm.image import lock_text
from tfslurm.image.scan_rule import ScanEvidence
from tfslurm.job_plan import JobPlan
from tfslurm.record.folder import Folder
from tfslurm.record.model import Asked, Attempt, Determinism, Template

OLDER = "an older tfslurm made the plan, without this text"
# A name that is one of these, or begins with one that ends in _.
DECISIVE = ("TF_", "XLA_FLAGS", "PYTHONHASHSEED", "NVIDIA_TF32_OVERRIDE", "ONEDNN_", "OMP_")
FOUND = ("report_sha256", "sbom_sha256", "tool", "database_version", "database_updated_at", "scanned_at", "counts")
"The facts of a scan."
SEED = re.compile(r"(?:.*[._])?seed", re.IGNORECASE)


def read_asked(plan: JobPlan, root: Folder) -> Asked:
    """All that the plan knew and that no other part of the record says."""
    resources = asdict(plan.resources)
    shm_mib = resources.pop("shm_mib")
    if not plan.spec_text:
        root.note("asked.spec", OLDER)
    if plan.template and not plan.template_text:
        root.note("asked.template.text", OLDER)
    if not plan.template_sha256:
        root.note("asked.template.sha256", OLDER)
    return Asked(
        resources=resources,
        network=plan.network,
        options=plan.asked_options,
        checkpoint=plan.checkpoint,
        template=Template(plan.template or None, plan.template_sha256 or None, plan.template_text or None),
        entrypoint=plan.pin.entrypoint,
        secrets=plan.secrets,
        gpu_check=plan.gpu_check,
        prepull=plan.prepull,
        shm=f"{shm_mib}M" if shm_mib else None,
        outputs=plan.outputs,
        spec=plan.spec_text or None,
        lock=lock_text(plan.pin, plan.packages, plan.build),
        reproduce=plan.reproduce,
        scan=read_scan(plan, root),
        build=plan.build,
    )


def read_scan(plan: JobPlan, root: Folder) -> ScanEvidence | None:
    """What was known against the image when the job was submitted; None where no rule asked for that."""
    scan = plan.scan
    for name in FOUND:
        if scan and getattr(scan, name) is None:
            root.note(f"asked.scan.{name}", scan.why or "the scan does not say")
    return scan


def read_determinism(
    env: Mapping[str, str], parameters: Mapping[str, Any], plan: JobPlan, attempts: Sequence[Attempt], root: Folder
) -> Determinism:
    """``env`` are the experiment's variables, which stand over the image's; a secret's value is in neither."""
    variables = {**plan.pin.environment, **env}
    counts = {task.cpus_schedulable for attempt in attempts[-1:] for task in attempt.tasks} or {None}
    if counts == {None}:
        root.note("determinism.cpus_schedulable", "it is not known of any task of the last attempt")
    elif len(counts) > 1:
        root.note(
            "determinism.cpus_schedulable", "the tasks of the last attempt do not have as many, or it is not known"
        )
    return Determinism(
        variables={name: variables[name] for name in sorted(variables) if is_decisive(name)},
        seeds={name: value for name, value in parameters.items() if SEED.fullmatch(name)},
        cpus_schedulable=counts.pop() if len(counts) == 1 else None,
    )


def is_decisive(name: str) -> bool:
    """Whether a variable is one of DECISIVE."""
    return any(name == each or (each.endswith("_") and name.startswith(each)) for each in DECISIVE)

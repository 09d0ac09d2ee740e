"""Does each link of the chain hold: image, GPUs, driver, code, packages. Pure.

Each verdict looks at every task that reached a node. One that fails makes it ``failed``; one that could not be looked
at makes it ``unknown``; only if all hold is it ``ok``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tfslurm.image import driver_verdict
from tfslurm.job_plan import JobPlan
from tfslurm.record import facts
from tfslurm.record.engines import container_answer, image_answer
from tfslurm.record.folder import Folder
from tfslurm.record.model import Verdict, Verified
from tfslurm.record.task_model import TaskFacts

NO_CODE = Verdict("ok", "the job brought no code")
NO_GPU = Verdict("ok", "the job asked for no GPU")
OLD = ", by its own word in a folder that the program could write"


@dataclass(frozen=True, slots=True)
class Observed:
    """One task: its facts in the record, and the raw files behind them."""

    attempt: int
    task: TaskFacts
    files: Folder

    @property
    def where(self) -> str:
        """Such as ``attempt 1, rank 0``."""
        return f"attempt {self.attempt}, rank {self.task.rank}"


def verify(plan: JobPlan, observed: Sequence[Observed]) -> Verified:
    """The verdicts on one job."""
    return Verified(
        image=overall(observed, lambda one: image_holds(plan, one)),
        gpus=overall(observed, lambda one: gpus_hold(plan, one)),
        driver=overall(observed, lambda one: driver_holds(plan, one)),
        tensorflow_gpu=overall(observed, lambda one: tensorflow_holds(plan, one)),
        code=overall(observed, lambda one: code_holds(plan, one)),
        packages=overall(observed, lambda one: packages_hold(plan, one)) if plan.packages else None,
    )


def overall(observed: Sequence[Observed], check: Callable[[Observed], Verdict]) -> Verdict:
    """The worst verdict of all tasks, with the task that it is of."""
    if not observed:
        return Verdict("unknown", "no task of the job left an observation")
    verdicts = [(one.where, check(one)) for one in observed]
    for status in ("failed", "unknown"):
        for where, verdict in verdicts:
            if verdict.status == status:
                return Verdict(status, f"{where}: {verdict.reason}" if len(verdicts) > 1 else verdict.reason)
    reasons: dict[str, list[str]] = {}
    for where, verdict in verdicts:
        reasons.setdefault(verdict.reason, []).append(where)
    if len(reasons) == 1:
        return verdicts[-1][1]
    return Verdict("ok", "; ".join(f"{', '.join(places)}: {reason}" for reason, places in reasons.items()))


def image_holds(plan: JobPlan, one: Observed) -> Verdict:
    """Is the image on the node the pinned one, and was the container made from it?"""
    files, pin = one.files.quiet(), plan.pin
    image = files.fact("image", "image-inspect.json", names_of)
    if image is None:
        return not_started(one, "image") or Verdict("unknown", files.why("image"))
    image_id, digests = image
    level = matched_level(plan, digests, image_id)
    if level and one.task.image_pulled == f"pulled from the archive sha256:{plan.image_archive}":
        level += f", loaded from the archive sha256:{plan.image_archive}"
    if level is None:
        has = ", ".join([*digests, image_id])
        return Verdict("failed", f"the image on the node is {has}, not {pin.digest}")
    if pin.config_digest and image_id not in (pin.digest, pin.manifest_digest, pin.config_digest):
        return Verdict("failed", f"the image on the node has the id {image_id}; the lock file says {pin.config_digest}")
    made_from = files.fact("container", "container-inspect.json", lambda raw: container_answer(raw).image_id)
    if made_from is None:
        return not_started(one, "image") or Verdict("unknown", files.why("container"))
    if made_from != image_id:
        return Verdict("failed", f"the container was made from {made_from}, not from {image_id}")
    return Verdict("ok", f"the node has {level}, and the container was made from it")


def names_of(raw: bytes) -> tuple[str, tuple[str, ...]]:
    """An image's id on the node, and the digests by which the node knows it."""
    image = image_answer(raw)
    return image.id, image.digests


def matched_level(plan: JobPlan, digests: Sequence[str], image_id: str) -> str | None:
    """The pin's digest by which the node has the image, in words; None: it has none that the plan allows."""
    pin = plan.pin
    if pin.pin_kind == "image-id":
        return "this digest as its id" if image_id == pin.digest else None
    names = {digest: name for name, _, digest in (known.rpartition("@") for known in reversed(digests))}
    if pin.digest in names:
        return f"this digest as {names[pin.digest]}"
    sent = any(source.endswith(f"@{pin.manifest_digest}") for source in plan.image_sources)
    if pin.digest_kind == "index" and sent and pin.manifest_digest in names:
        manifest = pin.manifest_digest
        return f"the manifest that this index names for {pin.platform}, {manifest}, as {names[manifest]}"
    if plan.image_archive and image_id == pin.config_digest:
        return f"the image whose id is the digest of the config that the pinned manifest names, {image_id}"
    return None


def gpus_hold(plan: JobPlan, one: Observed) -> Verdict:
    """Did the container see exactly the GPUs that Slurm gave to the task?"""
    if not plan.resources.gpus and not one.task.gpus:
        return NO_GPU
    if one.task.gpus is None:
        return not_started(one, "gpus") or Verdict("unknown", "the GPUs that the task was given could not be told")
    files = one.files.quiet()
    given = {gpu.uuid for gpu in one.task.gpus}
    if why := cut_off(one):
        return not_started(one, "gpus") or Verdict("unknown", why)
    check = files.fact("check", "container/gpu-check.txt", facts.parse_check)
    inside = files.fact("inside", "container/nvidia-smi-L.txt", facts.parse_list)
    if inside is not None and {uuid for uuid, _ in inside} != given:
        seen = ", ".join(uuid for uuid, _ in inside) or "none"
        return Verdict("failed", f"the container saw {seen}; the task was given {', '.join(sorted(given)) or 'none'}")
    if check and check[0] == "failed":
        return Verdict("failed", check[1])
    if len(given) > plan.resources.gpus:
        return Verdict("failed", f"the task has {len(given)} GPUs; the job asked for {plan.resources.gpus} per node")
    if inside is None:
        why = check[1] if check and check[1] else files.why("inside")
        return not_started(one, "gpus") or Verdict("unknown", why)
    return Verdict("ok", f"the container saw exactly {', '.join(sorted(given))}{weakness_of(one)}")


def cut_off(one: Observed) -> str:
    """The reason to believe nothing that the container reported; '' if its report is whole, or the run folder older.

    ``report.txt`` is node.sh's own word: ``whole``, or what was missing. Older folders have none.
    """
    said = " ".join((one.files.text("report.txt") or "whole").split())
    return "" if said == "whole" else f"the check in the container did not report to its end: {said}"


def weakness_of(one: Observed) -> str:
    """The remark that weakens an ``ok`` which the program itself could have written: in older run folders it could."""
    return OLD if one.files.raw("report.txt") is None else ""


def driver_holds(plan: JobPlan, one: Observed) -> Verdict:
    """Do all sources name one driver, and is it new enough for the CUDA in the image?"""
    if not plan.resources.gpus and not one.task.gpus:
        return NO_GPU
    version = one.task.driver_version
    if version is None:
        return Verdict("unknown", "no driver was found on the node")
    files = one.files.quiet()
    loaded = {
        "/proc/driver/nvidia/version": files.fact("proc", "nvidia-driver-proc.txt", facts.parse_driver),
        "/sys/module/nvidia/version": files.fact("module", "nvidia-driver-module.txt", facts.parse_version),
    }
    for source, said in loaded.items():
        if said is not None and said != version:
            return Verdict("failed", f"{one.task.driver_source} says {version}, {source} says {said}")
    verdict = driver_verdict(plan.pin.environment, version)
    statuses = {"full": "ok", "minor-version compatible": "ok", "too old": "failed"}
    return Verdict(statuses.get(verdict.status, "unknown"), verdict.reason)


def tensorflow_holds(plan: JobPlan, one: Observed) -> Verdict:
    """Does TensorFlow itself list the GPUs? Said by a check in the container, or by an earlier one that still holds.

    ``ok: TensorFlow 2.16.1 lists 1 of 1 granted GPU (cached: observed 2026-… by job 145, alpha1, driver …)``
    """
    if not plan.resources.gpus and not one.task.gpus:
        return NO_GPU
    files = one.files.quiet()
    if why := cut_off(one):
        return not_started(one, "tensorflow") or Verdict("unknown", why)
    if files.raw("container/tensorflow-gpu.txt") is None:
        if plan.gpu_check == "off":
            return Verdict("unknown", "not checked: gpu_check is off")
        return not_started(one, "tensorflow") or Verdict("unknown", "not checked")
    check = files.fact("check", "container/tensorflow-gpu.txt", facts.parse_check)
    if check is None:
        return Verdict("unknown", files.why("check"))
    return Verdict(check[0], (check[1] or "TensorFlow saw them") + (weakness_of(one) if check[0] == "ok" else ""))


def code_holds(plan: JobPlan, one: Observed) -> Verdict:
    """Was the code on the node what was sent, file by file, just before the program started?

    ``ok: every file is what was sent`` is the node's own word; it ends a task where a file is another.
    """
    if plan.code is None:
        return NO_CODE
    files = one.files.quiet()
    if files.raw("code-check.txt") is None:
        return not_started(one, "code") or Verdict("unknown", "not verified on the node: an older tfslurm ran the job")
    check = files.fact("check", "code-check.txt", facts.parse_check)
    return Verdict(*check) if check else not_started(one, "code") or Verdict("unknown", files.why("check"))


def packages_hold(plan: JobPlan, one: Observed) -> Verdict:
    """Was the layer that was mounted the one that was installed of the locked wheels, file by file?

    The node installs them by their hashes, keeps the sum of all that came of it, and compares before each use.
    """
    assert plan.packages is not None  # noqa: S101 - the caller has looked
    files = one.files.quiet()
    if files.raw("packages-check.txt") is None:
        return not_started(one, "packages") or Verdict("unknown", "not verified on the node")
    check = files.fact("check", "packages-check.txt", facts.parse_check)
    if check is None:
        return not_started(one, "packages") or Verdict("unknown", files.why("check"))
    how = "installed by this job" if files.text("packages-installed.txt") != "present" else "installed before"
    named = f"{check[1]}; {len(plan.packages.wheels)} wheels, {how}"
    return Verdict(check[0], named if check[0] == "ok" else check[1])


def not_started(one: Observed, link: str) -> Verdict | None:
    """The verdict where the node did not start the program: failed if it was for this link, else not known.

    ``tfslurm: alpha1: image: tensorflow/tensorflow:2.16.1 is not obtainable as sha256:…; …`` is a node's refusal.
    """
    words = " ".join((one.files.text("refused.txt") or "").split()).removeprefix("tfslurm: ")
    if not words:
        return None
    _, what, *_ = [*words.split(": ", 2), ""]
    if what != link:
        return Verdict("unknown", "the program was not started")
    return Verdict("failed", f"the program was not started: {words}")

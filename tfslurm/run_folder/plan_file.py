"""Read a run folder's own plan and points, believed only as far as they can be checked. Pure.

A run folder may have come from anywhere: out of an archive, from a copy, from another user of a shared folder. So each
value of its plan must be one that a user could have written, and the plan must be the one that its hash and the
folder's name are of, for this cluster, root and user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple
from datetime import datetime
from hashlib import sha256
from math import inf
from pathlib import PurePosixPath
from typing import Any, get_args

from tfslurm.cluster import Cluster, Engine
from tfslurm.document.bounded_json import read_json
from tfslurm.errors import InputError, RecordError
from tfslurm.image import parse_reference
from tfslurm.image.build_lock import refuse_untrue
from tfslurm.image.packages import package_mistakes, packages_to_json
from tfslurm.image.pin import pin_mistakes, pin_to_json
from tfslurm.image.scan_rule import ANSWERS, LONGEST_TEXT
from tfslurm.job_plan import TREE, JobPlan, from_json, identity
from tfslurm.job_plan.folders import JOB_ID
from tfslurm.job_plan.holding import LONGEST_KEPT_S
from tfslurm.job_plan.options import ask_of, own_options
from tfslurm.slurm import check_options, is_job_id
from tfslurm.slurm.options import check_plugin_options
from tfslurm.spec import names, places
from tfslurm.sweeps.arrays import place_in_array
from tfslurm.sweeps.points import point_of
from tfslurm.sweeps.points_file import Entry, encode

MOST_POINTS = 1_000_000
LONGEST_POINT = 2**23  # bytes; Linux gives a program 6 MiB of words, and the tracker reads 64 MiB of one point
MOST_LISTED = 10_000  # entries of one list of a plan
WORDS: Mapping[str, tuple[str, ...]] = {
    "engine": get_args(Engine),
    "cgroup_parent": ("auto", "off", "require"),
    "network": ("bridge", "host", "none"),
    "gpu_check": ("off", "cached", "always"),
    "shared_parents": ("", "refuse", "accept"),
}
FORMS: Mapping[str, re.Pattern[str]] = {
    "planned_at": re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z"),
    "tfslurm_version": re.compile(r"[0-9A-Za-z.+-]{1,64}"),
    "spec_sha256": re.compile(r"[0-9a-f]{64}"),
    "template_sha256": re.compile(r"(?:[0-9a-f]{64})?"),
    "chain_head": re.compile(r"(?:[0-9a-f]{64})?"),
    "image_archive": re.compile(r"(?:[0-9a-f]{64})?"),
    "read_group": re.compile(r"(?:[a-z_][a-z0-9_.-]{0,63})?", re.IGNORECASE),
}
SHA256 = FORMS["spec_sha256"]
RECORD_ID = re.compile(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LONGEST_NAME = 4096  # of the run that is repeated: a crate's is a path
OWN_WORDS = ("TFSLURM_PARAMS",)
"The variables of a plan that tfslurm itself adds."
GPU_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SIGNALS = ("USR1", "USR2", "TERM", "INT", "HUP")
RANGES: Mapping[str, tuple[int, int]] = {
    "gpus": (0, 1024),
    "cpus": (1, 65536),
    "memory_mib": (0, 2**40),
    "time_s": (1, 2**31),
    "nodes": (1, 100_000),
    "tasks_per_node": (1, 4096),
    "shm_mib": (1, 2**40),
    "before_end_s": (1, 65535),
    "max_requeues": (0, 10_000),
    "count": (1, MOST_POINTS),
    "max_parallel": (0, MOST_POINTS),
    "points_per_job": (1, MOST_POINTS),
    "files": (0, 2**40),
    "size_bytes": (0, 2**60),
    "pids": (64, 2**22),
    "log_mib": (0, 2**20),
    "layer_mib": (0, 2**24),
    "keep_on_failure_s": (0, LONGEST_KEPT_S),
}


def read_plan(folder: str, text: bytes, cluster: Cluster, user: str) -> JobPlan:
    """The plan that a run folder of a cluster holds; ``folder`` is its name, ``user`` who looks.

    Raises:
        RecordError: what in it does not hold.
    """
    plan = checked_plan(text)
    agree = {
        "name": (f"{plan.name}-{plan.plan_id}", folder),
        "cluster": (plan.cluster, cluster.name),
        "root": (PurePosixPath(plan.root), cluster.root),
        "user": (plan.user, user),
    }
    for key, (says, wanted) in agree.items():
        if says != wanted:
            raise RecordError(f"plan.json: {key} is {str(says)[:80]!r}, and here it must be {str(wanted)[:80]!r}")
    return plan


def checked_plan(text: bytes) -> JobPlan:
    """The plan that a text is, wherever it was found: each value is one that a user could have written.

    Raises:
        RecordError: what in it does not hold, or it was changed.
    """
    try:
        values = read_json(text)
        plan = from_json(values)
        refuse_values(plan)
        refuse_options(plan)
        plan_sha256, plan_id = identity(values)
    except (ValueError, KeyError, TypeError, RecursionError, InputError, RecordError) as error:
        raise RecordError(f"plan.json: {shown(error)}") from error
    if (plan.plan_sha256, plan.plan_id) != (plan_sha256, plan_id):
        raise RecordError("plan.json: it was changed after it was submitted: it does not have the hash that it names")
    return plan


def read_points(plan: JobPlan, text: bytes) -> tuple[Entry, ...]:
    """The points that a plan runs, from points.jsonl; they must be those that the plan has the hash of.

    Raises:
        RecordError: they are not.
    """
    assert plan.points is not None  # noqa: S101 - the caller has looked
    count = text.count(b"\n")
    if count != plan.points.count or not text.endswith(b"\n"):
        raise RecordError(f"points.jsonl: has {count} points, and its plan {plan.points.count}")
    try:
        entries = tuple(map(entry_of, text[:-1].split(b"\n")))
        is_same = sha256(encode(entries)).hexdigest() == plan.points.sha256
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecordError(f"points.jsonl: {shown(error)}") from error
    if not is_same:
        raise RecordError("points.jsonl: these are not the points that its plan was made for")
    return entries


def point_values(entry: Entry) -> dict[str, Any]:
    """A point as a record takes it: over the parameters, the command and the variables of its plan."""
    return {"parameters": read_json(entry.text), "command": list(entry.argv), "env": dict(entry.env)}


def is_job_of(plan: JobPlan, job_id: str) -> bool:
    """Whether a job of this plan can have the id: a task's has a place among the plan's points."""
    array, _, task = job_id.partition("_")
    if not JOB_ID.fullmatch(job_id) or not is_job_id(array):
        return False
    if plan.points is None:
        return not task
    place, packed = place_in_array(job_id), plan.points.points_per_job
    if place is None or place >= plan.points.count:
        return False
    return job_id == (f"{array}_{place}" if packed == 1 else f"{array}_{place // packed}.{place}")


def entry_of(line: bytes) -> Entry:
    """One line of points.jsonl."""
    if len(line) > LONGEST_POINT:
        raise ValueError(f"a point has {len(line)} bytes: no program takes so many words")
    values = read_json(line)
    if any(type(value) not in (str, int, float, bool) for value in values["parameters"].values()):
        raise ValueError("a parameter is not a text, a number, true or false")
    argv, env = values["command"], values["env"]
    if not isinstance(argv, list) or not all(isinstance(word, str) for word in (*argv, *env.values())):
        raise ValueError("a word is no text")
    for name in env:
        names.variable(name)
    point = point_of(values["parameters"])
    if point.id != values["id"]:
        raise ValueError(f"the point {values['id']!r} has other parameters than its id is of")
    return Entry(point.id, point.text, env, tuple(argv))


def shown(error: Exception) -> str:
    """Why, in one short line."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    why = f"{str(error.args[0])[:80]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(why.split())[:300] or type(error).__name__


def refuse_values(plan: JobPlan) -> None:
    """Refuse a plan with a value that no user could have written.

    Raises:
        ValueError, InputError: the first that is not.
    """
    names.name(plan.name)
    names.name(plan.cluster)
    places.absolute(plan.root)
    for key, known in WORDS.items():
        if getattr(plan, key) not in known:
            raise ValueError(f"{key} is {getattr(plan, key)[:40]!r}, not one of {', '.join(known)}")
    for key, form in FORMS.items():
        if not form.fullmatch(getattr(plan, key)):
            raise ValueError(f"{key} is {getattr(plan, key)[:40]!r}, which no plan has")
    datetime.fromisoformat(plan.planned_at[:19])
    for part in (plan, plan.resources, plan.checkpoint, plan.points, plan.code, plan.limits):
        refuse_numbers(part)
    for key in ("spec", "template"):
        text = getattr(plan, f"{key}_text")
        if text and sha256(text.encode()).hexdigest() != getattr(plan, f"{key}_sha256"):
            raise ValueError(f"{key}_text is not the text that {key}_sha256 is of")
    refuse_parts(plan)
    refuse_image(plan)
    refuse_packages(plan)
    refuse_words(plan)
    if plan.outputs is not None:
        places.target(plan.outputs)
    refuse_reproduce(plan)
    refuse_origin(plan)
    refuse_scan(plan)
    for mount in plan.mounts:
        places.folder(mount.source)
        places.target(mount.target)
        if mount.hash and not mount.read_only:
            raise ValueError(f"{mount.target[:80]!r} is mounted writable, and its files are to be hashed")
    for allowed in plan.mounts_allow:
        places.source(allowed)
    for folder in plan.roots:
        places.absolute(folder)
    if plan.template:
        names.template_file(plan.template)


def refuse_numbers(part: object) -> None:
    """Refuse a part of the plan with a number that exp.yaml would refuse."""
    for key, (least, most) in RANGES.items():
        number = getattr(part, key, None)
        if number is not None and not least <= number <= most:
            raise ValueError(f"{key} is {str(number)[:40]}, not {least} to {most}")


def refuse_parts(plan: JobPlan) -> None:
    """The texts of the parts that have numbers."""
    if plan.resources.gpu_type is not None and not GPU_TYPE.fullmatch(plan.resources.gpu_type):
        raise ValueError(f"gpu_type is {plan.resources.gpu_type[:40]!r}, not a kind of GPU")
    if plan.checkpoint and plan.checkpoint.signal not in SIGNALS:
        raise ValueError(f"signal is {plan.checkpoint.signal[:40]!r}, not one of {', '.join(SIGNALS)}")
    if plan.code and not TREE.fullmatch(plan.code.tree):
        raise ValueError(f"code.tree is {plan.code.tree[:40]!r}, not the id of a tree")
    if plan.code and plan.code.contents_sha256 and not SHA256.fullmatch(plan.code.contents_sha256):
        raise ValueError("code.contents_sha256 is not a SHA-256")
    if plan.points and not re.fullmatch(rf"{re.escape(plan.name)}-[0-9a-f]{{6}}", plan.points.sweep_id):
        raise ValueError(f"sweep_id is {plan.points.sweep_id[:80]!r}, not {plan.name}-… with 6 hexadecimal digits")
    if plan.points and not SHA256.fullmatch(plan.points.sha256):
        raise ValueError("points.sha256 is not a SHA-256")


def refuse_reproduce(plan: JobPlan) -> None:
    """What another run is compared by."""
    if plan.reproduce is None:
        return
    if plan.reproduce.metric is not None:
        names.metric(plan.reproduce.metric)
    if not 0 <= (plan.reproduce.tolerance or 0) < inf:
        raise ValueError("reproduce.tolerance is below 0")
    for file in plan.reproduce.files[:MOST_LISTED]:
        names.output_file(file)
    for by in plan.reproduce.compare[:MOST_LISTED]:
        names.output_file(by.files)
        names.code_file(by.script or "none")
        if not (0 <= by.absolute < inf and 0 <= by.relative < inf):
            raise ValueError("reproduce.compare has a tolerance below 0")


def refuse_origin(plan: JobPlan) -> None:
    """The run that it repeats."""
    origin = plan.derived_from
    if origin is None:
        return
    if not 0 < len(origin.job) <= LONGEST_NAME or len(origin.set) > MOST_LISTED:
        raise ValueError("derived_from names no run")
    for value, form in ((origin.record_sha256, SHA256), (origin.record_id, RECORD_ID)):
        if value is not None and not form.fullmatch(value):
            raise ValueError(f"derived_from: {value[:80]!r} names no record")


def refuse_scan(plan: JobPlan) -> None:
    """What was known against the image."""
    scan = plan.scan
    if scan is None:
        return
    lists = (scan.rules, scan.ignored, scan.counts or ())
    if scan.answer not in ANSWERS or any(len(each) > MOST_LISTED for each in lists):
        raise ValueError("scan is none that a rule was judged by")
    for found in (scan.report_sha256, scan.sbom_sha256):
        if found is not None and not SHA256.fullmatch(found):
            raise ValueError("scan names no SHA-256")
    listed = [text for rule in scan.rules for text in astuple(rule)]
    listed += [text for each in scan.ignored for text in astuple(each)]
    for text in (scan.why, scan.tool, scan.database_updated_at, scan.scanned_at, *(scan.counts or ()), *listed):
        if isinstance(text, str) and (len(text) > LONGEST_TEXT or not text.isprintable()):
            raise ValueError("scan has a text that it cannot have")


def refuse_image(plan: JobPlan) -> None:
    """The pin, and the places that the image may be pulled from: by the pinned digests and no other."""
    if mistakes := pin_mistakes(pin_to_json(plan.pin)):
        raise ValueError(f"pin.{mistakes[0].field}: {mistakes[0].why}")
    if plan.image_archive and (plan.pin.pin_kind == "image-id" or not plan.pin.config_digest):
        raise ValueError("image_archive needs the digest of the image's config, and its pin has none")
    if plan.build:
        refuse_untrue(plan.build)
        if plan.build.digest != plan.pin.digest:
            raise ValueError("build is not that of the pinned image")
    for source in plan.image_sources:
        name, _, digest = source.rpartition("@")
        if digest not in (plan.pin.digest, plan.pin.manifest_digest) or not digest:
            raise ValueError(f"{source[:120]!r} is not the pinned image")
        if name:
            parse_reference(source)


def refuse_packages(plan: JobPlan) -> None:
    """The wheels that are added to the image: those of the pinned image, and as their hash says."""
    if plan.packages is None:
        return
    if mistakes := package_mistakes(packages_to_json(plan.packages)):
        raise ValueError(f"packages.{mistakes[0].field}: {mistakes[0].why}")
    if plan.packages.image != plan.pin.digest or not plan.packages.wheels:
        raise ValueError("packages are not those of the pinned image")


def refuse_words(plan: JobPlan) -> None:
    """The command, the variables, the secrets' names and the parameters."""
    lists = (
        plan.command,
        plan.env,
        plan.secrets,
        plan.parameters,
        plan.mounts,
        plan.mounts_allow,
        plan.image_sources,
        plan.roots,
    )
    if any(len(each) > MOST_LISTED for each in lists):
        raise ValueError(f"one of its lists has more than {MOST_LISTED} entries")
    for name in (*plan.env, *plan.secrets):
        if name not in OWN_WORDS:
            names.variable(name)
    for word in (*plan.command, *plan.env.values(), plan.spec_file):
        if "\0" in word:
            raise ValueError("a word holds NUL, which no argument can")
    for name, value in plan.parameters.items():
        if type(value) not in (str, int, float, bool):
            raise ValueError(f"the parameter {name[:40]!r} is not a text, a number, true or false")


def refuse_options(plan: JobPlan) -> None:
    """Refuse sbatch options that differ from the resources, or that no user may write.

    Raises:
        ValueError, InputError: the first option that does not hold.
    """
    own = check_options(own_options(plan.resources, plan.checkpoint, ask_of(plan.options)))
    others: dict[str, str | int | bool] = {}
    for key, value in plan.options.items():
        if key in own:
            if value != own[key]:
                raise ValueError(f"the option {key} is {value[:80]!r}, and its resources say {own[key]!r}")
            continue
        names.option(key)
        others[key] = names.option_value(value) if value else True
    if dict(check_options(others)) != {key: plan.options[key] for key in others}:
        raise ValueError("its options are not in the form that sbatch is given them in")
    for key, value in plan.plugin_options.items():
        names.plugin_option(key)
        names.option_value(value or True)
    check_plugin_options(plan.plugin_options)

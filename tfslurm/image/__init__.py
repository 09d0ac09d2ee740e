"""The names of images: references, pins and lock files, and the driver that an image's CUDA needs.

A tag is a name that moves; a digest is the sha256 of bytes and cannot. There are three kinds, and they never compare
equal: ``index`` (one document for all platforms), ``manifest`` (one platform) and ``config`` (docker's image id on a
graph driver). ``name@digest`` accepts the first two. Source: OCI image specification, image-index.md, manifest.md.
"""

import importlib
from typing import TYPE_CHECKING, Any

from tfslurm.image.driver import Verdict, driver_verdict, oldest_driver
from tfslurm.image.libraries import lacking
from tfslurm.image.lock import LOCK_SCHEMA, Lock, lock_text, parse_lock, read_lock
from tfslurm.image.lock_check import (
    Claims,
    claims,
    false_claims,
    missing_variables,
    quoted,
    quoted_list,
    without_claims,
)
from tfslurm.image.pin import PLATFORM, Pin, kept_environment, mirror_names, moved, pin_from_json, pin_to_json, sources
from tfslurm.image.reference import Reference, check_digest, parse_reference, refuse_moving

if TYPE_CHECKING:
    from tfslurm.image.build_lock import BuildLock
    from tfslurm.image.packages import PackageLock, Wheel
    from tfslurm.image.scan_rule import ScanEvidence

SELDOM = {"BuildLock": "build_lock", "PackageLock": "packages", "ScanEvidence": "scan_rule", "Wheel": "packages"}
"What few jobs need -> its module, which is imported when the name is looked up."

__all__ = [
    "LOCK_SCHEMA",
    "PLATFORM",
    "BuildLock",
    "Claims",
    "Lock",
    "PackageLock",
    "Pin",
    "Reference",
    "ScanEvidence",
    "Verdict",
    "Wheel",
    "check_digest",
    "claims",
    "driver_verdict",
    "false_claims",
    "kept_environment",
    "lacking",
    "lock_text",
    "mirror_names",
    "missing_variables",
    "moved",
    "oldest_driver",
    "parse_lock",
    "parse_reference",
    "pin_from_json",
    "pin_to_json",
    "quoted",
    "quoted_list",
    "read_lock",
    "refuse_moving",
    "sources",
    "without_claims",
]


def __getattr__(name: str) -> Any:
    if name not in SELDOM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{SELDOM[name]}"), name)

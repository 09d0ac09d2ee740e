"""The code and the points of a plan, the run that it repeats, and which keys count for what. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tfslurm.sweeps.arrays import Array

MOMENT = ("plan_id", "plan_sha256", "planned_at", "spec_file")  # what two plans that ask for the same may differ in
# Absent from the plans of an older version, and where they are empty.
NEW = (
    *("plugin_options", "engine_environment", "reproduce", "chain_head", "derived_from", "image_archive", "packages"),
    *("scan", "build", "keep_on_failure_s"),
)
# No part of what is asked, but of the submission: what guards it, the texts whose hashes are asked, how it is compared.
BESIDE = (
    *("roots", "shared_parents", "read_group", "spec_text", "template_text", "reproduce", "chain_head"),
    *("image_archive", "scan", "build", "keep_on_failure_s"),
)
OF_SWEEP = ("sweep_id", "of_sweep")  # what is not asked of the points of an array, but is of the sweep around it


@dataclass(frozen=True, slots=True)
class CodeState:
    """The code that a job runs: the git tree id of what was on disk, and where it came from (None: not in git).

    ``contents_sha256`` is of the list by which a node verifies the tree; '' in a plan of an older tfslurm.
    """

    tree: str
    writable: bool
    files: int
    size_bytes: int
    remote: str | None = None
    commit: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    contents_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Points:
    """The points of a sweep that one job array runs in order; ``sha256`` is of the file with them all.

    A task runs ``points_per_job`` of them, one after the other. ``max_parallel`` tasks run at once; 0: as many as the
    cluster lets. ``of_sweep`` is how many points the whole sweep had then; 0: these are all, or an older plan.
    """

    sweep_id: str
    count: int
    sha256: str
    max_parallel: int = 0
    points_per_job: int = 1
    of_sweep: int = 0

    @property
    def option(self) -> str:
        """The value of ``--array``."""
        return Array(0, self.count, self.points_per_job).option(self.max_parallel)


@dataclass(frozen=True, slots=True)
class DerivedFrom:
    """The run that a job repeats, by its name and its record; ``set`` are the settings that make it a variation.

    ``job`` is a sweep's or a crate's name where several runs are repeated: then no one record is meant.
    """

    job: str
    record_sha256: str | None = None
    record_id: str | None = None
    set: Mapping[str, str] = field(default_factory=dict)

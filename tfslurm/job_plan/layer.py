"""The layer of packages in the container. Pure."""

from __future__ import annotations

from tfslurm.errors import InputError
from tfslurm.spec import Experiment
from tfslurm.spec.places import inside

LAYER_TARGET = "/opt/tfslurm/packages"
"Where the layer is mounted."


def refuse_covered(experiment: Experiment) -> None:
    """Refuse a mount, or outputs, at the place of the packages.

    Raises:
        InputError: each, with its line.
    """
    places: dict[tuple[str | int, ...], str] = {("outputs",): experiment.outputs or "/out"}
    places |= {("mounts", place, "target"): mount.target for place, mount in enumerate(experiment.mounts)}
    problems = [
        experiment.problem(at, f"{target!r} would cover the packages ({LAYER_TARGET})", "name another folder")
        for at, target in places.items()
        if inside(target, LAYER_TARGET) or inside(LAYER_TARGET, target)
    ]
    if problems:
        raise InputError(problems)

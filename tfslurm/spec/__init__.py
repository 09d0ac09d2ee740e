"""Read an experiment file: check every key, and find every problem at once, with its line.

Pure: text in, values out. ``parsing`` reads a text, and loads pydantic and yaml; to import this loads neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from tfslurm.spec.experiment import (
    KEYS,
    MAX_POINTS,
    Build,
    Checkpoint,
    Code,
    Comparer,
    Experiment,
    Ignored,
    Mount,
    Option,
    Placeholder,
    Reproduce,
    Resources,
    Scan,
    Word,
)
from tfslurm.spec.words import fill, fill_one

if TYPE_CHECKING:
    from tfslurm.spec.axes import Sweep

__all__ = [
    "KEYS",
    "MAX_POINTS",
    "Build",
    "Checkpoint",
    "Code",
    "Comparer",
    "Experiment",
    "Ignored",
    "Mount",
    "Option",
    "Placeholder",
    "Reproduce",
    "Resources",
    "Scan",
    "Word",
    "experiment_schema",
    "fill",
    "fill_one",
    "nearest_setting",
    "read_sweep",
]


def experiment_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an experiment file, for editors and other tools."""
    from tfslurm.spec.parsing import schema

    return deepcopy(schema())


def nearest_setting(name: str, parameters: Iterable[str]) -> str:
    """``did you mean `resources.gpus`? ``: the key of an experiment file, or the parameter, that looks like a name."""
    from tfslurm.spec.overrides import nearest_setting
    from tfslurm.spec.parsing import schema

    return nearest_setting(name, parameters, schema())


def read_sweep(value: Mapping[str, object] | None) -> Sweep:
    """The typed `sweep`, with its defaults, of the plain value that a checked experiment holds."""
    from tfslurm.spec.axes import Sweep

    return Sweep.model_validate(value or {})

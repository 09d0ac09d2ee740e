"""Read an experiment file: check every key, and find every problem at once, with its line.

Pure: text in, values out. pydantic and yaml are loaded when a text is read, not when this is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from tfslurm.document import Document
from tfslurm.errors import Problem
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

Check = Callable[[Document], Iterable[Problem]]

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
    "parse_experiment",
    "read_sweep",
]


def parse_experiment(
    text: str,
    file: str,
    overrides: Mapping[str, str] | None = None,
    checks: Sequence[Check] = (),
) -> Experiment:
    """The experiment that a text describes; ``overrides`` are ``--set``'s dotted keys and their new values.

    ``checks`` look at the plain values too, for what other rooms know, and what they find is told with the rest.

    ``file`` names the text in messages. An override is read as YAML where its key takes what that gives (``2``,
    ``true``, ``[a, b]``), else as text.

    Raises:
        InputError: every problem of the text and of the overrides.
    """
    from tfslurm.spec.parsing import parse

    return parse(text, file, overrides or {}, checks)


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

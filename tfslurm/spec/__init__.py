"""Experiment file text -> Experiment: every key checked, every problem at once, with its line.

Pure: text in, values out. pydantic and yaml are loaded when a text is read, not when this is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfslurm.spec.experiment import Checkpoint, Code, Experiment, Mount, Option, Path, Placeholder, Resources, Word

__all__ = [
    "Checkpoint",
    "Code",
    "Experiment",
    "Mount",
    "Option",
    "Path",
    "Placeholder",
    "Resources",
    "Word",
    "experiment_schema",
    "fill",
    "parse_experiment",
]


def parse_experiment(text: str, file: str, overrides: Mapping[str, str] | None = None) -> Experiment:
    """The experiment that a text describes; ``overrides`` are ``--set``'s dotted keys and their new values.

    Raises:
        InputError: every problem of the text and of the overrides.
    """
    raise NotImplementedError


def experiment_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an experiment file, for editors and other tools."""
    raise NotImplementedError


def fill(experiment: Experiment, parameters: Mapping[str, Any]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The exact argv and environment with the parameters put in: a value never becomes a second word.

    Text goes in as it is; numbers, true and false as JSON writes them.

    Raises:
        InputError: names without a value, each with its line and the nearest name.
    """
    raise NotImplementedError

"""Experiment file text -> Experiment: every key checked, every problem at once, with its line.

Pure: text in, values out. pydantic and yaml are loaded when a text is read, not when this is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfslurm.spec.experiment import (
    Checkpoint,
    Code,
    Experiment,
    Mount,
    Option,
    Placeholder,
    Resources,
    Word,
)
from tfslurm.spec.words import fill

__all__ = [
    "Checkpoint",
    "Code",
    "Experiment",
    "Mount",
    "Option",
    "Placeholder",
    "Resources",
    "Word",
    "experiment_schema",
    "fill",
    "parse_experiment",
]


def parse_experiment(text: str, file: str, overrides: Mapping[str, str] | None = None) -> Experiment:
    """The experiment that a text describes; ``overrides`` are ``--set``'s dotted keys and their new values.

    ``file`` names the text in messages. An override is read as YAML where its key takes what that gives (``2``,
    ``true``, ``[a, b]``), else as text.

    Raises:
        InputError: every problem of the text and of the overrides.
    """
    from tfslurm.spec.parsing import parse

    return parse(text, file, overrides or {})


def experiment_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of an experiment file, for editors and other tools."""
    from tfslurm.spec.parsing import schema

    return schema()

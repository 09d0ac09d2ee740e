"""The states that Slurm gives a job, and its reasons for not starting one, in plain words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

STATES: Mapping[str, bool] = {}  # state -> is it final


def parse_state(text: str) -> str:
    raise NotImplementedError


def is_final(state: str) -> bool:
    raise NotImplementedError


def state_from_exit(exit_code: int, signal: int | None) -> str:
    raise NotImplementedError


REASONS: Mapping[str, str] = {}


def explain_reason(reason: str) -> str:
    raise NotImplementedError

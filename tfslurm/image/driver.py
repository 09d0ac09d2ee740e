"""What an image's CUDA asks of the NVIDIA driver on a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """``full`` | ``minor-version compatible`` | ``too old`` | ``unknown``, and the reason in plain words."""

    status: str
    reason: str


def driver_verdict(environment: Mapping[str, str], driver_version: str) -> Verdict:
    """How the driver of a node suits the CUDA of an image."""
    raise NotImplementedError

"""The part of a stand-in for a login node that nobody may need: it has no lines to carry anything over."""

from __future__ import annotations

from typing import Any


class NoLines:
    """Refuses what needs more than one command and its output."""

    def attach(self, argv: object, **options: Any) -> int:
        raise AssertionError(argv)

    def open_pipe(self, argv: object, mark: bytes) -> Any:
        raise AssertionError(argv)

    def forward(self, target: object, **options: Any) -> Any:
        raise AssertionError(target)

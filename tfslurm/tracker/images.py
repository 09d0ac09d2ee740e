"""What was found inside images, by their digests: told before a job of one is queued again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfslurm.tracker.index import Tracker

KEPT = ("tensorflow", "cuda", "cudnn", "cuda_present", "cudnn_present")
"""Of a record's ``environment``."""


def note_image(tracker: Tracker, digest: str, environment: Mapping[str, Any]) -> None:
    """Write down the libraries that a record has of an image, if it has any."""
    kept = {key: environment.get(key) for key in KEPT}
    if not (kept["cuda_present"] or kept["cudnn_present"]) or tracker.image(digest) == kept:
        return
    with tracker.change() as db:
        db.execute("INSERT OR REPLACE INTO images VALUES (?, ?)", (digest, json.dumps(kept)))

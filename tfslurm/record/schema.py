"""The versions of the record. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEMA = "tfslurm.record/2"
FIRST = "tfslurm.record/1"  # is read, and stays what it was: without the keys that NEW says are of this schema
NEW: Mapping[str, Any] = {"since": SCHEMA}
WHERE_THERE: Mapping[str, Any] = {"absent": None}
"Of a field that a record has only where there is something: its key is absent else."

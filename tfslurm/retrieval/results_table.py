"""The results of a sweep as one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tfslurm.retrieval.results import Result

MOST_CELLS = 5_000_000
FEWEST_COLUMNS = 50
PLACE = ("cluster", "gpu", "driver", "digest", "seconds", "state", "job")


def table_of(gathered: Sequence[Result]) -> list[dict[str, Any]]:
    """A row for each point: its id, its parameters, its metrics, its place; a metric may have a parameter's name."""
    parameters = list(dict.fromkeys(name for result in gathered for name in result.parameters))
    metrics = metric_names(gathered)[: most_columns(gathered)]
    own = ("point", *PLACE)
    names = {name: f"metric.{name}" if name in parameters or name in own else name for name in metrics}
    return [
        {
            "point": result.point,
            **{f"parameter.{name}" if name in own else name: result.parameters.get(name) for name in parameters},
            **{names[name]: result.metrics.get(name) for name in metrics},
            **{key: getattr(result, key) for key in PLACE},
        }
        for result in gathered
    ]


def metric_names(gathered: Sequence[Result]) -> list[str]:
    """The names of all metrics, each once."""
    return list(dict.fromkeys(name for result in gathered for name in result.metrics))


def most_columns(gathered: Sequence[Result]) -> int:
    """The most metrics that a table of so many points has room for: each program names its own."""
    return max(FEWEST_COLUMNS, MOST_CELLS // max(1, len(gathered)))

"""The results of a sweep as one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tfslurm.retrieval.results import Result

MOST_CELLS = 5_000_000
FEWEST_COLUMNS = 50
SHOWN = 5
PLACE = ("cluster", "gpu", "driver", "digest", "seconds", "state", "job")
WHAT_RAN = ("code", "command")
"Of what is the same for all points of a sweep, unless it was changed before a `resume`; the image is in PLACE."


def differing(gathered: Sequence[Result]) -> tuple[str, ...]:
    """What of WHAT_RAN is not the same for all points."""
    return tuple(key for key in WHAT_RAN if len({getattr(result, key) for result in gathered}) > 1)


def mixed(gathered: Sequence[Result]) -> Iterator[str]:
    """A line for each thing that ran of which there are several: a comparison of points compares these too."""
    for key, name in {"code": "code", "digest": "image", "command": "command"}.items():
        counts = Counter(getattr(result, key) or "none" for result in gathered)
        if len(counts) > 1:
            each = "; ".join(f"{count} of {len(gathered)} {value}" for value, count in counts.most_common(SHOWN))
            more = f"; and {len(counts) - SHOWN} others" if len(counts) > SHOWN else ""
            yield f"the points did not all run the same {name}: {each}{more}"


def table_of(gathered: Sequence[Result]) -> list[dict[str, Any]]:
    """A row for each point: its id, its parameters, its metrics, its place; a metric may have a parameter's name.

    What ran has a column where it is not the same for all.
    """
    parameters = list(dict.fromkeys(name for result in gathered for name in result.parameters))
    metrics = metric_names(gathered)[: most_columns(gathered)]
    last = (*PLACE, *differing(gathered))
    own = ("point", *last)
    names = {name: f"metric.{name}" if name in parameters or name in own else name for name in metrics}
    return [
        {
            "point": result.point,
            **{f"parameter.{name}" if name in own else name: result.parameters.get(name) for name in parameters},
            **{names[name]: result.metrics.get(name) for name in metrics},
            **{key: getattr(result, key) for key in last},
        }
        for result in gathered
    ]


def metric_names(gathered: Sequence[Result]) -> list[str]:
    """The names of all metrics, each once."""
    return list(dict.fromkeys(name for result in gathered for name in result.metrics))


def most_columns(gathered: Sequence[Result]) -> int:
    """The most metrics that a table of so many points has room for: each program names its own."""
    return max(FEWEST_COLUMNS, MOST_CELLS // max(1, len(gathered)))

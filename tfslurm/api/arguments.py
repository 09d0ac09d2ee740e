"""The arguments of `plan` and `submit` in Python, as `--set` and `--cluster` take them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path
from typing import cast

from tfslurm.document import nearest
from tfslurm.errors import refuse
from tfslurm.spec import KEYS
from tfslurm.submission.prepare import Asked, read_with
from tfslurm.workspace.config import Known, choose_clusters
from tfslurm.workspace.session import Session

Value = str | int | float | bool


def asked_for(
    session: Session,
    experiment: str | Path,
    cluster: str | Sequence[str],
    settings: Mapping[str, Value | Sequence[Value]],
    parameters: Mapping[str, Value | Sequence[Value]],
    *,
    sweeps: bool,
) -> tuple[Asked, list[Known]]:
    """The experiment with the given values, and the clusters it may go to.

    Raises:
        InputError: a setting is no key of exp.yaml, a parameter is one, or a file or a value is wrong.
    """
    asked = read_with(Path(experiment), texts_of(settings, parameters), sweeps=sweeps)
    names = [cluster] if isinstance(cluster, str) else list(cluster)
    return asked, choose_clusters(names, asked.experiment.clusters, session.say)


def texts_of(
    settings: Mapping[str, Value | Sequence[Value]], parameters: Mapping[str, Value | Sequence[Value]]
) -> dict[str, str]:
    """The values as `--set` takes them.

    Raises:
        InputError: a setting is no key of exp.yaml, a parameter is one, or a value is none.
    """
    for name in settings:
        if name.partition(".")[0] not in KEYS:
            fix = f"{nearest(name, KEYS)}a value of {{{{ {name} }}}} is an argument of its own: {name}=VALUE"
            raise refuse(f"settings {name!r}", "is not a key of exp.yaml", fix)
    for name in parameters:
        if name.partition(".")[0] in KEYS:
            raise refuse(f"argument {name}", "is a key of exp.yaml", f"write settings={{{name!r}: VALUE}}")
    return {name: as_text(name, value) for name, value in {**settings, **parameters}.items()}


def only(experiment: str | Path, chosen: Sequence[Known]) -> Known:
    """The one cluster that a job goes to.

    Raises:
        InputError: there are several.
    """
    if len(chosen) > 1:
        raise refuse(str(experiment), "is one job, and several clusters could run it", "name one with cluster=")
    return chosen[0]


def as_text(name: str, value: object) -> str:
    """A value as `--set` takes it: a text is one value whatever it holds; values of a sequence keep their types.

    Raises:
        InputError: it is neither a text, a number, true or false, nor a sequence of these; or an empty one.
    """
    is_axis = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
    values = [plain(each) for each in (cast("Iterable[object]", value) if is_axis else [value])]
    if not values or None in values:
        raise refuse(f"{name}={repr(value)[:80]}", "is no value", "give a text, a number, true or false, or a list")
    first = values[0]
    would_split = name.partition(".")[0] not in KEYS and isinstance(first, str) and ("," in first or first[:1] == "[")
    if is_axis or would_split:
        return json.dumps(values, ensure_ascii=False)
    return str(first).lower() if isinstance(first, bool) else str(first)


def plain(value: object) -> Value | None:
    """A value without a library's own type, such as NumPy's; None for what is no value."""
    if isinstance(value, str | bool | int):
        return value
    if isinstance(value, Integral):
        return int(value)
    number = float(value) if isinstance(value, Real | Decimal) else math.nan
    return number if math.isfinite(number) else None

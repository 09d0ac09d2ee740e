"""`tfslurm plan` of an experiment with a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from tfslurm.cli.console import emit
from tfslurm.document import Refused
from tfslurm.errors import refuse
from tfslurm.spec import fill
from tfslurm.submit.prepare import Asked
from tfslurm.sweep import sweep_of
from tfslurm.sweep.given import values_given, with_given
from tfslurm.sweep.spread import Rule, spread
from tfslurm.sweep.summary import summary, to_json


def show_sweep(asked: Asked, clusters: Sequence[str], as_json: bool) -> None:
    """Print the points and where they would go; no cluster is asked."""
    given: Mapping[str, Any] = asked.experiment.sweep or {}
    for name, text in asked.parameters.items():
        try:
            given = with_given(given, {name: values_given(text)})
        except Refused as refused:
            raise refuse(f"--set {name}", refused.why, refused.fix) from refused
    experiment = replace(asked.experiment, sweep=given)
    sweep = sweep_of(experiment)
    fill(experiment, sweep.points[0].parameters)
    how = given.get("spread", "idle")
    placed = None
    if how != "idle" or len(clusters) == 1:
        rules = [Rule(rule["values"], rule["cluster"]) for rule in given.get("where") or ()]
        # one cluster takes every point, whatever the file says of others
        placed = spread(sweep.points, clusters, "even" if len(clusters) == 1 else how, where=rules)
    if as_json:
        emit(to_json(experiment.name, sweep, placed))
    else:
        lines = summary(experiment.name, sweep, placed, clusters)
        click.echo("\n".join(f"{head:8} {text}" for head, text in lines))

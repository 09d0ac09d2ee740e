"""The forms of standards that `tfslurm provenance` writes of one record or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tfslurm import __version__
from tfslurm.cli.console import json_text
from tfslurm.record import Record


def in_toto(records: Sequence[Record]) -> str:
    """A Statement; of several records, one on each line."""
    from tfslurm.export.in_toto import in_toto_json

    return in_toto_json(records, __version__)


def prov(records: Sequence[Record]) -> str:
    """A document; of several records, one bundle for each."""
    from tfslurm.export.prov import prov_json

    return prov_json(records, __version__)


def mlperf(records: Sequence[Record]) -> str:
    """The description of the system; a list where the records ran on several."""
    from tfslurm.export.mlperf import system_descriptions

    found = system_descriptions(records)
    return json_text(found[0] if len(found) == 1 else found)


STANDARDS: Mapping[str, Callable[[Sequence[Record]], str]] = {"in-toto": in_toto, "prov": prov, "mlperf": mlperf}

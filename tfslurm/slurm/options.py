"""sbatch's long options: names checked, values formatted, by simple_slurm's own parser. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def check_options(
    options: Mapping[str, str | int | bool], *, file: str = "", lines: Mapping[str, int] | None = None
) -> Mapping[str, str]:
    """Option names with dashes -> value text, '' for a flag; False options are left out. Raises InputError."""
    raise NotImplementedError

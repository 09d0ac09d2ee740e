"""Values of images as cells of a table and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfslurm.images.compare import ImageDiff
    from tfslurm.images.inspect import Inspection

SHORT = 19
"Characters of a digest that tell it from others in a table."
WIDEST = 60
"Characters of a cell."
LONGEST = 160
"Characters of a line about a variable, a label or a layer."


def jsonable(found: Inspection | ImageDiff) -> dict[str, Any]:
    """The fields, each list of named values as objects."""
    return {
        name: [each._asdict() if hasattr(each, "_asdict") else each for each in value]
        if isinstance(value, tuple)
        else value
        for name, value in found._asdict().items()
    }


def cut(text: str, most: int = WIDEST) -> str:
    """A text that fits, in one line; --json has the whole."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"

"""The shape of ``sweep``: axes that are crossed, zipped or drawn, what is left out, and how points are spread."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema

from tfslurm.document import Refused, show
from tfslurm.spec import names
from tfslurm.spec.experiment import MAX_POINTS

_AXIS = re.compile(r"[A-Za-z_]\w*(\.\w+)*", re.ASCII)
_DRAWS = ("uniform", "log_uniform", "int", "choice", "normal", "loguniform", "randint", "quniform")
_DISTRIBUTIONS = {"uniform": 2, "log_uniform": 2, "int": 2, "choice": 0}  # how many numbers each takes; 0: any values
_SCALAR = {"type": ["string", "number", "boolean"]}
_RANGE = {
    "type": "object",
    "properties": {"range": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3}},
    "required": ["range"],
    "additionalProperties": False,
}


def axis_name(text: str) -> str:
    """The text, if it can be written as ``{{ name }}``."""
    if _AXIS.fullmatch(text):
        return text
    raise Refused(f"{show(text)} cannot be a parameter", "use letters, digits, _ and dots; begin with a letter")


def scalar(value: object) -> str | int | float | bool:
    """The value, if it is one text, number, true or false."""
    if isinstance(value, str | int | float | bool):
        return value
    fix = "write a text, a number, true or false"
    if isinstance(value, list | dict):
        fix += f"; a list as the text that the program reads, in quotes: {show(str(value))}"
    raise Refused(f"{show(value)} cannot be a parameter's value", fix)


def values(value: object) -> object:
    """A list of values with at least one, or ``{range: [first, end, step]}``."""
    if isinstance(value, list) and value:
        refusals = []
        for index, item in enumerate(value):
            try:
                scalar(item)
            except Refused as refused:
                refusals.append(Refused(refused.why, refused.fix, (index,)))
        if refusals:
            raise Refused.together(refusals)
        return value
    if isinstance(value, dict) and set(value) == {"range"} and _numbers(value["range"], 1, 3):
        return value
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in _DRAWS:
        raise Refused(f"{show(value)} is a draw, not an axis", "write it under `random`, with samples and seed")
    raise Refused(f"{show(value)} is not an axis", "write a list such as [0.1, 0.01], or {range: [0, 10]}")


def drawn(value: object) -> dict[str, Any]:
    """Distributions by parameter, with ``samples`` and ``seed`` beside them."""
    if not isinstance(value, dict):
        raise Refused(f"{show(value)} is not a mapping", "write {dropout: {uniform: [0.1, 0.5]}, samples: 20}")
    refusals = [refused for key, item in value.items() if (refused := _not_drawn(key, item))]
    if "samples" not in value:
        refusals.append(Refused("`samples` is missing", "add how many points to draw, such as `samples: 20`"))
    if refusals:
        raise Refused.together(refusals)
    return value


def _not_drawn(key: str, item: object) -> Refused | None:
    if key in ("samples", "seed"):
        whole = isinstance(item, int) and not isinstance(item, bool) and item >= (key == "samples")
        return None if whole else Refused(f"{show(item)} is not a whole number", "write one such as 20", (key,))
    if not _AXIS.fullmatch(key):
        return Refused(f"{show(key)} cannot be a parameter", "use letters, digits, _ and dots", (key,))
    if isinstance(item, dict) and len(item) == 1 and (kind := next(iter(item))) in _DISTRIBUTIONS:
        count = _DISTRIBUTIONS[kind]
        if _numbers(item[kind], count, count) if count else _choices(item[kind]):
            return None
    accepted = ", ".join(_DISTRIBUTIONS)
    return Refused(f"{show(item)} is not a distribution", f"write one of {accepted}: {{uniform: [0.1, 0.5]}}", (key,))


def _choices(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str | int | float) for item in value)


def _numbers(value: object, least: int, most: int) -> bool:
    if not isinstance(value, list) or not least <= len(value) <= most:
        return False
    return all(isinstance(item, int | float) and not isinstance(item, bool) for item in value)


def spread_over(value: object) -> object:
    """One of the ways to spread points, or weights by cluster."""
    weights = isinstance(value, dict) and all(
        isinstance(weight, int) and weight is not True and weight > 0 for weight in value.values()
    )
    if value in ("idle", "even", "blocked") or (weights and value):
        return value
    raise Refused(f"{show(value)} is no way to spread points", "write idle, even, blocked or {alpha: 3, beta: 1}")


def results_glob(text: str) -> str:
    """The text, if it names files below ``outputs``."""
    parts = text.split("/")
    if text and text.isprintable() and not {"", ".", ".."} & set(parts):
        return text
    raise Refused(f"{show(text)} names no files in outputs", "write a path or a glob, such as fold*/metrics.json")


Axis = Annotated[str, AfterValidator(axis_name)]
Scalar = Annotated[Any, PlainValidator(scalar), WithJsonSchema(_SCALAR)]
Values = Annotated[
    Any,
    PlainValidator(values),
    WithJsonSchema({"anyOf": [{"type": "array", "items": _SCALAR, "minItems": 1}, _RANGE]}),
]
Drawn = Annotated[
    Any,
    PlainValidator(drawn),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {
                "samples": {"type": "integer", "minimum": 1, "description": "How many points are drawn."},
                "seed": {"type": "integer", "minimum": 0, "description": "Makes the draw repeatable."},
            },
            "required": ["samples"],
            "additionalProperties": {
                "type": "object",
                "properties": {kind: {"type": "array"} for kind in _DISTRIBUTIONS},
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
            },
        }
    ),
]


class Block(BaseModel):
    """Axes that are crossed with each other, and the points to leave out and to add."""

    model_config = ConfigDict(strict=True, extra="forbid", title="Block")

    grid: dict[Axis, Values] | None = Field(
        None, description="Axes that are crossed: every combination is a point.", examples=[{"lr": [0.1, 0.01]}]
    )
    zip: list[dict[Axis, Values]] | None = Field(
        None,
        description="Groups of axes of equal length that advance together.",
        examples=[[{"depth": [2, 4], "width": [64, 128]}]],
    )
    random: Drawn | None = Field(
        None,
        description="Parameters drawn from distributions, `samples` times; crossed with the rest.",
        examples=[{"dropout": {"uniform": [0.1, 0.5]}, "samples": 20, "seed": 7}],
    )
    exclude: list[dict[Axis, Scalar]] | None = Field(
        None, description="Points with all of these values are left out.", examples=[[{"lr": 0.1, "depth": 4}]]
    )
    include: list[dict[Axis, Scalar]] | None = Field(
        None, description="Points to add, each with a value for every parameter.", examples=[[{"lr": 0.5, "depth": 8}]]
    )


class Where(BaseModel):
    """Points that stay on one cluster."""

    model_config = ConfigDict(strict=True, extra="forbid", title="Where")

    values: dict[Axis, Scalar] = Field(description="The points with all of these values.", examples=[{"depth": 4}])
    cluster: Annotated[str, AfterValidator(names.name)] = Field(description="Where they run.", examples=["alpha"])


class Sweep(Block):
    """Many jobs from one experiment: every point gives each parameter one value."""

    model_config = ConfigDict(strict=True, extra="forbid", title="Sweep")

    blocks: list[Block] | None = Field(
        None,
        min_length=1,
        description="Several sets of axes whose points are joined, instead of the keys above.",
        examples=[[{"grid": {"lr": [0.1, 0.01]}}, {"include": [{"lr": 0.5}]}]],
    )
    max_points: int = Field(
        MAX_POINTS, ge=1, le=1_000_000, description="More points than this are refused.", examples=[MAX_POINTS]
    )
    max_parallel: int | None = Field(None, ge=1, description="How many points run at once, per cluster.", examples=[32])
    points_per_job: int = Field(
        1, ge=1, description="How many points run one after another in one allocation.", examples=[8]
    )
    results: Annotated[str, AfterValidator(results_glob)] = Field(
        "metrics.json",
        description="The files in `outputs` that `tfslurm results` gathers, a glob. Alone, those of one job.",
        examples=["metrics.json", "fold*/metrics.json"],
    )
    where: list[Where] | None = Field(
        None,
        description="Points that stay on one cluster; of several that fit, the first holds.",
        examples=[[{"values": {"depth": 4}, "cluster": "alpha"}]],
    )
    spread: Annotated[
        Any,
        PlainValidator(spread_over),
        WithJsonSchema(
            {
                "anyOf": [
                    {"enum": ["idle", "even", "blocked"]},
                    {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
                ]
            }
        ),
    ] = Field("idle", description="How points are spread over clusters; a mapping gives weights.", examples=["idle"])


def shape_of(value: object) -> Sweep | None:
    """The plain value of ``sweep`` as a sweep; None where its shape is not that of one."""
    try:
        return Sweep.model_validate(value)
    except ValidationError:
        return None

"""The shape of ``scan``: which known vulnerabilities hold a job. The same in an experiment and in a cluster file."""

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from tfslurm.document import Refused, show
from tfslurm.spec import experiment

DAY_S = 86400
_AGES = {"h": 3600, "d": DAY_S, "w": 7 * DAY_S}
_AGE = re.compile(r"([1-9][0-9]{0,3})([hdw])")
_ID = re.compile(r"[A-Za-z][A-Za-z0-9]*-[A-Za-z0-9][A-Za-z0-9._:-]{0,62}")
_DAY = re.compile(r"2[0-9]{3}-[0-9]{2}-[0-9]{2}")
LONGEST_WHY = 500


def age_s(value: object) -> int:
    """Seconds from ``30d``, ``12h`` or ``2w``."""
    if isinstance(value, str) and (found := _AGE.fullmatch(value)):
        return int(found[1]) * _AGES[found[2]]
    if isinstance(value, int) and not isinstance(value, bool):
        raise Refused(f"{value} has no unit", f"write {value}d for days" if value > 0 else "write 30d")
    raise Refused(f"{show(value)} is not an age", "write a whole number and h, d or w, such as 30d")


def vulnerability(text: str) -> str:
    """The text, if it can be the id of a vulnerability."""
    if _ID.fullmatch(text):
        return text
    raise Refused(f"{show(text)} is not the id of a vulnerability", "write it as a scan shows it: CVE-2024-12345")


def day(text: str) -> str:
    """The text, if it is a day: ``2027-01-01``."""
    try:
        date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        raise Refused(f"{show(text)} is not a day", 'write year, month and day: "2027-01-01"') from None
    return text


def reason(text: str) -> str:
    """The text, if it says something on one line."""
    if not text.strip():
        raise Refused("says nothing", "write why this vulnerability cannot hurt here")
    if len(text) > LONGEST_WHY or not text.isprintable():
        raise Refused("is no short line", f"write at most {LONGEST_WHY} characters on one line")
    return text


class Keys(BaseModel):
    """A mapping with fixed keys: every other key is a mistake, and no type is turned into another."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Ignored(Keys):
    """One vulnerability that does not hold a job, for some time."""

    id: Annotated[str, AfterValidator(vulnerability)] = Field(
        description="Its id, as a scan shows it.", examples=["CVE-2024-12345"]
    )
    until: Annotated[str, AfterValidator(day)] = Field(
        description="The last day, in UTC, on which it is ignored.", examples=["2027-01-01"]
    )
    why: Annotated[str, AfterValidator(reason)] = Field(
        description="Why it may be ignored; the record has it.", examples=["the job opens no network connection"]
    )


class Scan(Keys):
    """Which known vulnerabilities of the image hold a job; `tfslurm image scan` looks for them."""

    fail_on: Literal["CRITICAL", "HIGH", "MEDIUM", "LOW", "none"] = Field(
        "CRITICAL", description="The lowest severity that holds a job; none: none does.", examples=["HIGH"]
    )
    ignore: list[Ignored] = Field(
        [],
        max_length=1000,
        description="Vulnerabilities that hold no job, each until a day and for a reason.",
        examples=[[{"id": "CVE-2024-12345", "until": "2027-01-01", "why": "the job opens no network connection"}]],
    )
    max_age: Annotated[
        int, PlainValidator(age_s), WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,3}[hdw]$"})
    ] = Field(
        30 * DAY_S,
        description="How old the database of a scan may be; an older one does not count.",
        examples=["30d"],
    )
    on_unknown: Literal["warn", "refuse"] = Field(
        "warn",
        description="What becomes of a job whose image has no scan that counts: warn submits it.",
        examples=["refuse"],
    )


def rule(read: Scan) -> experiment.Scan:
    """The rule as a frozen value."""
    ignore = tuple(experiment.Ignored(each.id, each.until, each.why) for each in read.ignore)
    return experiment.Scan(read.fail_on, ignore, read.max_age, read.on_unknown)

"""The meaning of plain (unquoted) YAML scalars, and those that are refused because readers of YAML disagree.

YAML 1.1 (PyYAML) and YAML 1.2 read some texts differently, and a person reads them a third way; those are traps. One
difference is settled instead of refused: ``1e-4`` is a number, as in JSON and YAML 1.2, because nobody who writes a
learning rate means the text that YAML 1.1 makes of it.
Source: https://yaml.org/type/ (1.1: int, float, bool, timestamp) and https://yaml.org/spec/1.2.2/#103-core-schema.
"""

from __future__ import annotations

import math
import re

from tfslurm.document.canonical import MOST

_FIXED: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_SWITCH = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_HEX = re.compile(r"[-+]?0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_OTHER_BASE = re.compile(r"[-+]?0(o[0-7_]+|b[01_]+|x[0-9a-fA-F_]+)")
_UNDERSCORES = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?")
_BASE_60 = re.compile(r"[-+]?([1-9][0-9_]*(:[0-5]?[0-9])+|[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*)")
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d|\d{4}-\d\d?-\d\d?([Tt]|[ \t]+)\d\d?:\d\d:\d\d(\.\d*)?([ \t]*(Z|[-+]\d\d?(:\d\d)?))?"
)
_LONGEST = 300
AS_TEXT = "write it as text, in quotes"


def scalar(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar that ``trap`` lets through."""
    if text in _FIXED:
        return _FIXED[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _HEX.fullmatch(text):
        return int(text, 16)
    return float(text) if _FLOAT.fullmatch(text) else text


def trap(text: str) -> tuple[str, str] | None:
    """Why a plain scalar cannot be trusted to mean what it seems to, and the fix; None where it can."""
    quoted = f'"{text}" in quotes'
    if _SWITCH.fullmatch(text):
        return f"some YAML readers take {text} as true or false, others as text", f"write true or false, or {quoted}"
    if _BASE_60.fullmatch(text):
        return f"YAML reads the number {_base_60(text)} from {text} (base 60)", f"write {quoted}"
    if _DATE.fullmatch(text):
        return f"YAML reads a date from {text}", f"write {quoted}"
    if text and text[0] in "+-.0123456789" and len(text) <= _LONGEST:
        return _number_trap(text, quoted) or refused_number(scalar(text), text)
    if len(text) > _LONGEST and (_UNDERSCORES.fullmatch(text) or _HEX.fullmatch(text)):
        return f"a number of {len(text)} digits is too long", AS_TEXT
    return None


def refused_number(value: object, shown: str) -> tuple[str, str] | None:
    """Why a number does not stay the same from one program to the next, and the fix; None where it does."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{shown[:40]} is not a number that JSON has", AS_TEXT
    if isinstance(value, int) and abs(value) > MOST:
        return f"{shown[:40]} is beyond 2^53: not every program holds such a whole number exactly", AS_TEXT
    return None


def _number_trap(text: str, quoted: str) -> tuple[str, str] | None:
    plain = text.replace("_", "")
    if _LEADING_ZERO.fullmatch(text):
        why = f"{text} is base 8 for some YAML readers and base 10 for others"
        return why, f"write {plain.lstrip('+-').lstrip('0') or '0'}, or {quoted}"
    if _HEX.fullmatch(text):
        return None
    if _OTHER_BASE.fullmatch(text) or ("_" in text and _UNDERSCORES.fullmatch(text)):
        number = str(int(plain, 0)) if _OTHER_BASE.fullmatch(text) else plain
        why = f"{text} is the number {number} for some YAML readers and text for others"
        return why, f"write {number}, or {quoted}"
    return None


def _base_60(text: str) -> str:
    number = 0.0
    for part in text.lstrip("+-").replace("_", "").split(":"):
        number = number * 60 + float(part)
    return f"{'-' if text.startswith('-') else ''}{number:.15g}"

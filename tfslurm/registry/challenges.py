"""How a registry says that it wants a login: the challenges of WWW-Authenticate, in every form of RFC 9110, 11.6.1."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tfslurm.registry.errors import Answer

KNOWN = ("bearer", "basic")
"The schemes that are answered here."

_LONGEST = 8192
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # token; RFC 9110, 5.6.2
_PARAMETER = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(rf"({_WORD})(?:[ \t]+|(?=,|$))")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")  # in place of parameters


def challenges(header: str) -> dict[str, dict[str, str]]:
    """Scheme -> its parameters, for each challenge of a WWW-Authenticate header, in the header's order.

    The first of a scheme counts, unless it names no realm and a later one does. Names are lower case. What cannot be
    read is left out up to the next comma. Several headers are one, with commas (RFC 9110, 5.3).
    """
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    text, place = header[:_LONGEST], 0
    while True:
        while place < len(text) and text[place] in " \t,":
            place += 1
        if (parameter := _PARAMETER.match(text, place)) and found:
            name, quoted, word = parameter.groups()
            current.setdefault(name.lower(), word if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
            place = parameter.end()
        elif scheme := _SCHEME.match(text, place):
            current, name = {}, scheme[1].lower()
            if "realm" not in found.get(name, {}):
                found[name] = current
            place = scheme.end()
            if text[place - 1] in " \t" and (token := _TOKEN68.match(text, place)):
                place = token.end()
        elif (comma := text.find(",", place)) >= 0:
            place = comma
        else:
            return found


def challenges_of(answer: Answer) -> dict[str, Mapping[str, str]]:
    """What an answer says of how to log in: the schemes that it names, with their words."""
    asked = challenges(answer.headers.get("www-authenticate", ""))
    return {scheme: words for scheme, words in asked.items() if scheme.isprintable()}


def preferred(asked: Mapping[str, Mapping[str, str]]) -> str:
    """The scheme that is answered, wherever it stands: Bearer, if it names a token server or nothing else is known,
    else Basic; '' if neither is asked for."""
    if asked.get("bearer", {}).get("realm"):
        return "bearer"
    return next((scheme for scheme in reversed(KNOWN) if scheme in asked), "")


def answerable(answer: Answer) -> bool:
    """Whether one of the schemes that an answer names is known here."""
    return bool(preferred(challenges_of(answer)))

"""Each form in which a registry may ask for a login: RFC 9110, 11.6.1, and what registries make of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.registry import (
    TOKEN,
    Said,
    Start,
    ask,
    encoded,
    log_in,
    no_settings_of_this_machine,
    serve_image,
    start,
)
from tfslurm.registry.challenges import answerable, challenges, challenges_of, preferred
from tfslurm.registry.errors import Answer

__all__ = ["no_settings_of_this_machine", "start"]
REALM = {"realm": "https://a.example/t"}
X = {"realm": "x"}
FORMS: dict[str, tuple[str, dict[str, dict[str, str]]]] = {
    "one": ('Bearer realm="https://a.example/t"', {"bearer": REALM}),
    "no parameters": ("Negotiate", {"negotiate": {}}),
    "several, in order": ('Basic realm="x", Bearer realm="https://a.example/t"', {"basic": X, "bearer": REALM}),
    "token68": ("Negotiate YII+/-._~abc==", {"negotiate": {}}),
    "token68 without padding, then another": ('NTLM TlRM, Basic realm="x"', {"ntlm": {}, "basic": X}),
    "token68 that is a scheme's name": ('Negotiate Bearer, Basic realm="x"', {"negotiate": {}, "basic": X}),
    "token68 before white space": ('Negotiate abc= , Basic realm="x"', {"negotiate": {}, "basic": X}),
    "commas and quotes in quotes": (
        'Digest realm="a, Bearer realm=\\"evil\\"", nonce="n", Bearer realm="https://a.example/t"',
        {"digest": {"realm": 'a, Bearer realm="evil"', "nonce": "n"}, "bearer": REALM},
    ),
    "escapes of any character": ('Basic realm="\\x\\\\\\""', {"basic": {"realm": 'x\\"'}}),
    "empty elements": (',, ,Basic realm="x",,, Negotiate,', {"basic": X, "negotiate": {}}),
    "white space around =": ('Bearer realm \t = "https://a.example/t"', {"bearer": REALM}),
    "tabs between": ('Bearer\trealm="https://a.example/t"\t,\tservice="s"', {"bearer": {**REALM, "service": "s"}}),
    "any case": ('bEARER ReAlM="https://a.example/t"', {"bearer": REALM}),
    "a word without quotes": ("Bearer realm=https://a.example/t,service=s", {"bearer": {**REALM, "service": "s"}}),
    "the first of a scheme": ('Basic realm="x", Basic realm="y"', {"basic": X}),
    "the first that names a realm": ('Bearer, Bearer realm="https://a.example/t"', {"bearer": REALM}),
    "a parameter twice": ('Basic realm="x", realm="y"', {"basic": X}),
    "a quote that never ends": ('Bearer realm="https://a.example/t', {"bearer": {}}),
    "no scheme": ('realm="x"', {}),
    "nothing": ("", {}),
}  # fmt: skip


@pytest.mark.parametrize(("header", "found"), FORMS.values(), ids=FORMS)
def test_each_form_is_read(header: str, found: dict[str, dict[str, str]]) -> None:
    assert challenges(header) == found
    assert list(challenges(header)) == list(found)


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        ('Basic realm="x", Bearer realm="https://a.example/t"', "bearer"),
        ('Bearer realm="https://a.example/t", Basic realm="x"', "bearer"),
        ('Bearer error="invalid_token", Basic realm="x"', "basic"),
        ("Bearer", "bearer"),
        ('Hawk, Basic realm="x"', "basic"),
        ("Negotiate, Digest", ""),
        ("", ""),
    ],
)
def test_bearer_is_answered_before_basic_where_it_names_a_token_server(header: str, scheme: str) -> None:
    answer = Answer(401, {"www-authenticate": header}, b"")
    assert preferred(challenges_of(answer)) == scheme
    assert answerable(answer) is bool(scheme)


def test_a_bearer_without_a_token_server_beside_basic_is_no_dead_end(start: Start) -> None:
    registry = start()
    serve_image(registry)
    pair = encoded("carol", "CAROL-SECRET")
    asks = Said(401, b"", {"WWW-Authenticate": 'Bearer error="invalid_request", Basic realm="x"'})
    registry.guard = lambda asked: Said(200) if asked.headers["Authorization"] == f"Basic {pair}" else asks
    log_in(registry.address, auth=pair)
    assert ask(registry).tag == "1"


def test_challenges_in_several_lines_are_one_list(start: Start) -> None:
    registry = start()
    serve_image(registry)

    class Lines(dict[str, str]):
        """Headers of which one stands in two lines."""

        def items(self) -> Any:
            bearer = f'Bearer realm="{registry.url}/token",service="a,b"'
            return [("WWW-Authenticate", each) for each in ("Negotiate abc==", 'Basic realm="x"', bearer)]

    asks = Said(401, b"", Lines())
    registry.paths["/token"] = Said(200, f'{{"token": "{TOKEN}"}}'.encode())
    registry.guard = lambda asked: (
        Said(200) if asked.path.startswith("/token") or asked.headers["Authorization"] == f"Bearer {TOKEN}" else asks
    )
    assert ask(registry).tag == "1"
    assert {one.query["service"] for one in registry.asked if one.path.startswith("/token")} == {"a,b"}

"""Where a login is stored, and when a registry gets it: the ways that docker and podman know."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.fakes.registry import (
    TOKEN,
    Asked,
    Said,
    StandIn,
    Start,
    ask,
    encoded,
    error,
    log_in,
    no_settings_of_this_machine,
    refusal,
    serve_image,
    start,
)
from tfslurm.registry.credential_helpers import HelperFailed, ask_helper
from tfslurm.registry.credentials import Credentials, stored_credentials

__all__ = ["no_settings_of_this_machine", "start"]
PAIR = f"Basic {encoded('carol', 'CAROL-SECRET')}"
CAROL = {"auth": encoded("carol", "CAROL-SECRET")}


def put(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def docker_file() -> Path:
    return Path(os.environ["DOCKER_CONFIG"]) / "config.json"


def helper(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = put(folder / "bin" / f"docker-credential-{name}", f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def private(start: Start, first: Said, **challenge: str) -> StandIn:
    """A registry that answers ``first`` without a token, gives one to carol alone, and says how at /v2/ alone."""
    registry = start()
    serve_image(registry)
    bearer = f'Bearer realm="{registry.url}/token",service="s"'

    def guard(asked: Asked) -> Said:
        if asked.path.startswith("/token"):
            right = asked.headers["Authorization"] == PAIR
            return Said(200) if right else error(401, "UNAUTHORIZED", "no")
        if asked.headers["Authorization"] == f"Bearer {TOKEN}":
            return Said(200)
        return error(401, "UNAUTHORIZED", "x", WWW_Authenticate=bearer) if asked.path == "/v2/" else first

    registry.guard = guard
    registry.paths["/token"] = Said(200, json.dumps({"token": TOKEN}).encode())
    return registry


@pytest.mark.parametrize(
    "first",
    [Said(403), Said(404), Said(401), Said(401, b"", {"WWW-Authenticate": "Negotiate"})],
    ids=["403", "404", "401", "401-negotiate"],
)
def test_a_registry_that_says_only_at_v2_how_to_log_in_gets_the_login(start: Start, first: Said) -> None:
    registry = private(start, first)
    log_in(registry.address, **CAROL)
    assert ask(registry).tag == "1"
    assert [one.path for one in registry.asked].count("/v2/") == 1
    assert {one.headers["Authorization"] for one in registry.asked if "/v2/" in one.path} == {None, f"Bearer {TOKEN}"}


def test_a_challenge_beside_403_needs_no_other_request(start: Start) -> None:
    registry = private(start, Said(403))
    challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token"'}
    hidden = registry.guard
    assert hidden is not None
    registry.guard = lambda asked: Said(403, b"", challenge) if hidden(asked).status == 403 else hidden(asked)
    log_in(registry.address, **CAROL)
    assert ask(registry).tag == "1"
    assert "/v2/" not in [one.path for one in registry.asked]


@pytest.mark.parametrize("status", [403, 404])
def test_without_a_login_the_first_answer_counts_and_the_login_is_named(start: Start, status: int) -> None:
    message = refusal(private(start, Said(status)), engine="podman")
    assert f"HTTP {status}" in message
    assert "`podman login 127.0.0.1:" in message


def test_a_registry_without_logins_is_asked_at_v2_once_and_says_as_before(start: Start) -> None:
    registry = start()
    registry.paths["/v2/"] = Said(200)
    assert "HTTP 404 MANIFEST_UNKNOWN: manifest unknown; correct the name or the tag" in refusal(registry)
    assert [one.path for one in registry.asked].count("/v2/") == 1
    assert "login" not in refusal(registry)


@pytest.mark.parametrize("offered", ["Negotiate", 'Digest realm="d", nonce="a,b"', "NTLM, Negotiate"])
def test_a_registry_that_wants_what_nobody_here_speaks_says_so(start: Start, offered: str) -> None:
    registry = start()
    registry.guard = lambda _: error(401, "UNAUTHORIZED", "x", WWW_Authenticate=offered)
    assert "and only Bearer and Basic are known here: name a mirror" in refusal(registry)


STORED = {
    "auth": CAROL,
    "username and password": {"username": "carol", "password": "CAROL-SECRET"},
    "auth with the NULs of old clients": {"auth": encoded("carol", "CAROL-SECRET\0\0")},
    "auth counts before the pair": {**CAROL, "username": "dave", "password": "other"},
    "a colon in the password": {"auth": encoded("carol", "a:b:c")},
}


@pytest.mark.parametrize("entry", STORED.values(), ids=STORED)
@pytest.mark.parametrize("key", ["HOST", "https://HOST", "https://HOST/v1/", "http://HOST/v2/", "HOST/v2/"])
def test_each_way_to_store_a_pair_and_each_form_of_a_key_is_read(key: str, entry: dict[str, str]) -> None:
    put(docker_file(), {"auths": {"another.example": {"auth": "%%%"}, key.replace("HOST", "r.example:5000"): entry}})
    found = stored_credentials("r.example:5000", "team/tf")
    assert (found.user, found.password) == ("carol", "a:b:c" if "a:b:c" in str(found.password) else "CAROL-SECRET")
    assert not stored_credentials("r.example", "team/tf"), "another port is another registry"
    assert "SECRET" not in repr(found)


def test_tokens_in_place_of_a_password() -> None:
    put(docker_file(), {"auths": {"a.example": {**CAROL, "identitytoken": "ID"}, "b.example": {"registrytoken": "RT"}}})
    assert stored_credentials("a.example") == Credentials("carol", "", "ID")
    assert stored_credentials("b.example").registry_token == "RT"


def test_a_registry_token_goes_to_the_registry_itself(start: Start) -> None:
    registry = private(start, error(401, "UNAUTHORIZED", "x", WWW_Authenticate='Bearer realm="https://x.example/t"'))
    log_in(registry.address, registrytoken=TOKEN)
    assert ask(registry).tag == "1"


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"])
@pytest.mark.parametrize("by_helper", [False, True])
def test_every_name_of_docker_hub_is_docker_hub(
    key: str, by_helper: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, "hub", f"""[ "$(cat)" = {key} ] && echo '{{"Username": "carol", "Secret": "S"}}'""", monkeypatch)
    put(docker_file(), {"credHelpers": {key: "hub"}} if by_helper else {"auths": {key: CAROL}})
    assert stored_credentials("docker.io", "library/tf").user == "carol"
    assert not stored_credentials("quay.io", "library/tf")


PODMAN = {
    "REGISTRY_AUTH_FILE": "named/auth.json",
    "XDG_RUNTIME_DIR": "run/containers/auth.json",
    "XDG_CONFIG_HOME": "config/containers/auth.json",
    "": "home/.config/containers/auth.json",
}


@pytest.mark.parametrize(("variable", "file"), PODMAN.items(), ids=PODMAN.values())
def test_each_place_of_podman_is_read(
    variable: str, file: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = private(start, Said(404))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = put(tmp_path / file, {"auths": {registry.address: CAROL}})
    if variable:
        monkeypatch.setenv(variable, str(path if variable == "REGISTRY_AUTH_FILE" else path.parent.parent))
    for engine in ("docker", "podman"):
        assert ask(registry, engine=engine).tag == "1"


def test_the_longest_key_that_begins_the_name_counts_and_another_teams_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("r.example/team/tf", "r.example/team", "r.example/other", "r.example", "docker.io/team")
    auths = {name: {"auth": encoded(name, "x")} for name in names}
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(put(tmp_path / "auth.json", {"auths": auths})))

    def user(registry: str, repository: str) -> str:
        return stored_credentials(registry, repository, "podman").user

    assert user("r.example", "team/tf") == "r.example/team/tf"
    assert user("r.example", "team/jax") == "r.example/team"
    assert user("r.example", "teams/tf") == "r.example"
    assert user("docker.io", "team/tf") == "docker.io/team"
    assert user("docker.io", "else/tf") == ""
    del auths["r.example"]
    put(tmp_path / "auth.json", {"auths": auths})
    assert user("r.example", "teams/tf") == ""


def test_the_engines_own_files_come_first_and_a_broken_one_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    podman = put(tmp_path / "auth.json", {"auths": {"r.example": {"auth": encoded("of-podman", "x")}}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(podman))
    put(docker_file(), {"auths": {"r.example": {"auth": encoded("of-docker", "x")}}})
    assert stored_credentials("r.example", engine="docker").user == "of-docker"
    assert stored_credentials("r.example", engine="podman").user == "of-podman"
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {"r.example": {"auth": encoded("of-ci", "x")}}}))
    assert stored_credentials("r.example", engine="docker").user == "of-ci"
    monkeypatch.delenv("DOCKER_AUTH_CONFIG")
    put(docker_file(), '{"auths": ')
    found = stored_credentials("r.example", engine="docker")
    assert (found.user, found.why_none) == ("of-podman", f"{docker_file()} gave no login (line 1 is not JSON)")


BROKEN = {
    "not JSON": ('{"auths": SECRET', "is not JSON"),
    "a pair that is none": ({"auths": {"r.example": {"auth": "U0VDUkVU"}}}, "not as docker writes them"),
    "not base64": ({"auths": {"r.example": {"auth": "%SECRET%"}}}, "not as docker writes them"),
    "a list": ({"auths": ["SECRET"]}, "not as docker writes them"),
    "a number": ({"auths": {"r.example": {"username": 1, "password": 2}}}, "not as docker writes them"),
    "a helper with a path": ({"credsStore": "../../SECRET"}, "is not in PATH"),
    "no helper of that name": ({"credHelpers": {"r.example": "absent"}}, "docker-credential-absent is not in PATH"),
}


@pytest.mark.parametrize(("content", "why"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_told_and_never_shown(content: object, why: str) -> None:
    put(docker_file(), content)
    found = stored_credentials("r.example", "team/tf")
    assert not found
    assert why in found.why_none
    assert "SECRET" not in found.why_none


def test_a_file_that_a_variable_names_and_that_is_not_there_or_a_pipe_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "gone.json"))
    assert "REGISTRY_AUTH_FILE names" in stored_credentials("r.example", engine="podman").why_none
    os.mkfifo(tmp_path / "gone.json")
    assert "a pipe" in stored_credentials("r.example", engine="podman").why_none


HELPERS = {
    "waits for ever": ("sleep 3600", "docker-credential-x did not answer within 0.3 s"),
    "waits in a child that holds the pipe": ("sleep 3600 & sleep 3600; wait", "did not answer within"),
    "prints without end": ("yes 0123456789", "docker-credential-x"),
    "fails": ("echo HELPER-SECRET; exit 3", r"docker-credential-x failed \(exit 3\)"),
    "prints no JSON": ("echo HELPER-SECRET", "something else than a login"),
    "prints other JSON": ("echo '[1]'", "something else than a login"),
}


@pytest.mark.parametrize(("script", "why"), HELPERS.values(), ids=HELPERS)
def test_a_helper_has_little_time_and_its_words_are_not_repeated(
    script: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, "x", script, monkeypatch)
    began = time.monotonic()
    with pytest.raises(HelperFailed, match=why) as caught:
        ask_helper("x", "r.example", 0.3)
    assert time.monotonic() - began < 5
    assert "SECRET" not in str(caught.value)


def test_a_helper_answers_with_a_pair_a_token_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(docker_file(), {"credsStore": "x", "auths": {"r.example": CAROL}})
    for script, expected in (
        ("""echo '{"Username": "dave", "Secret": "S"}'""", Credentials("dave", "S")),
        ("""echo '{"Username": "<token>", "Secret": "T"}'""", Credentials(identity_token="T")),
        ("echo credentials not found in native keychain; exit 1", Credentials("carol", "CAROL-SECRET")),
        ("""echo '{"Username": "", "Secret": ""}'""", Credentials("carol", "CAROL-SECRET")),
    ):
        helper(tmp_path, "x", script, monkeypatch)
        assert stored_credentials("r.example") == expected


def test_a_helper_that_fails_is_told_though_the_image_needs_no_login(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.fakes.registry import reference
    from tfslurm.registry import resolve

    registry = start()
    serve_image(registry)
    bearer = f'Bearer realm="{registry.url}/token"'
    token = json.dumps({"access_token": TOKEN, "expires_in": 1}).encode()
    registry.guard = lambda asked: (
        Said(200)
        if asked.path.startswith("/token") or asked.headers["Authorization"]
        else error(401, "UNAUTHORIZED", "x", WWW_Authenticate=bearer)
    )
    registry.paths["/token"] = Said(200, token)
    helper(tmp_path, "x", "exit 5", monkeypatch)
    put(docker_file(), {"credHelpers": {registry.address: "x"}})
    told: list[str] = []
    assert resolve(reference(registry, "team/tf:1"), {}, "linux/amd64", "2026-11-23T08:00:00Z", warn=told.append)
    assert told == [
        f"warning: {registry.address}/team/tf was asked without a login: docker-credential-x failed (exit 5)"
    ]

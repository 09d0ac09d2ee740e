"""Everything that leaves this machine goes through the proxy of the shell: registries, an index, and pushes.

The names of the servers are known to the proxy alone (a stand-in), so whatever went another way would find nobody.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.fakes.proxy import Proxy, a_proxy
from tests.fakes.registry import Said, StandIn, Start, no_settings_of_this_machine, start, started
from tests.fakes.shelf import Shelf
from tests.test_packages import ON_INDEX, Shop, shop
from tests.test_registry_route import authority, certificate
from tests.typed import Type, typed_in
from tfslurm.errors import RegistryError
from tfslurm.packages.programs import PROXIES
from tfslurm.registry.ping import takes_a_push

__all__ = ["no_settings_of_this_machine", "shop", "start"]
Secure: TypeAlias = Callable[[StandIn, str], str]


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy that no variable names yet."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with a_proxy() as running:
        yield running


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secure:
    """Have a server speak https by a name; its address comes out. Its authority is trusted."""
    certs = tmp_path / "certs"
    trusted = authority(certs, "CA")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certs / "CA.pem"))

    def serve(server: StandIn, name: str) -> str:
        pem, key = certificate(name, trusted)
        (tmp_path / f"{name}.pem").write_bytes(pem + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / f"{name}.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        return f"{name}:{server.server_port}"

    return serve


@pytest.fixture
def shelves() -> Iterator[Callable[..., Shelf]]:
    yield from started(Shelf)


@pytest.fixture
def tfslurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    settings = {"XDG_CONFIG_HOME": tmp_path / "config", "XDG_DATA_HOME": tmp_path / "data"}
    return typed_in(tmp_path, settings, monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_an_image_is_looked_at_mirrored_and_pushed_through_the_proxy(
    variable: str, proxy: Proxy, secure: Secure, shelves: Callable[..., Shelf], tfslurm: Type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one, other = shelves(), shelves()
    here, there = secure(one, "one.example"), secure(other, "other.example")
    digest = one.lay_image("team/tf", [os.urandom(300_000), b"a layer"], "1")
    monkeypatch.setenv(variable, proxy.url)
    said = tfslurm("image", "inspect", f"{here}/team/tf:1", "-v")
    assert said.returncode == 0 and digest in said.stdout, said.stderr
    said = tfslurm("image", "mirror", f"{here}/team/tf:1", "--to", there, "-v")
    assert said.returncode == 0 and "3 sent" in said.stdout, said.stderr
    assert "SECRET" not in said.stdout + said.stderr
    assert ("team/tf", digest) in other.manifests
    takes_a_push(f"{there}/team/new")
    assert {*proxy.asked} == {f"CONNECT {here}", f"CONNECT {there}"}


def test_no_proxy_leaves_a_registry_out_and_a_wrong_login_is_told_without_it(
    proxy: Proxy, secure: Secure, shelves: Callable[..., Shelf], tfslurm: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = shelves()
    here = secure(one, "one.example")
    one.lay_image("team/tf", [b"a layer"], "1")
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "elsewhere.example,.example")
    said = tfslurm("image", "inspect", f"{here}/team/tf:1")
    assert said.returncode == 1 and "DNS: no address is known for one.example" in said.stderr and not proxy.asked
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", f"http://carol:wrong-SECRET@{proxy.address}")
    said = tfslurm("image", "inspect", f"{here}/team/tf:1", "-v")
    assert (
        said.returncode == 1 and "the proxy that HTTPS_PROXY names wants a login, or another one (407)" in said.stderr
    )
    assert proxy.refused and not proxy.asked and "SECRET" not in said.stdout + said.stderr
    with pytest.raises(RegistryError, match="HTTPS_PROXY names wants a login"):
        takes_a_push(f"{here}/team/new")


@pytest.fixture
def index(start: Start, shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """An index with the wheels of the shop, which no setting names yet."""
    server = start()
    for each in ON_INDEX:
        body = (shop.wheels / each.file).read_bytes()
        server.paths[f"/files/{each.file}"] = Said(200, body, {"Content-Type": "application/octet-stream"})
        files = [one.file for one in ON_INDEX if one.name == each.name]
        links = "".join(f'<a href="/files/{file}">{file}</a>' for file in files)
        page = f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
        server.paths[f"/simple/{each.name}/"] = Said(200, page, {"Content-Type": "text/html"})
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip-cache"))
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    return server


def without_uv(resolver: str, patch: pytest.MonkeyPatch) -> None:
    """Have pip choose, where that is meant."""
    if resolver == "pip":
        patch.setattr("tfslurm.packages.resolve.find_uv", tuple)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resolver", "way"), [("uv", "https_proxy"), ("uv", "pip's setting"), ("pip", "HTTPS_PROXY"), ("pip", "http")]
)
def test_packages_are_chosen_and_fetched_through_the_proxy(
    resolver: str, way: str, proxy: Proxy, secure: Secure, index: StandIn, shop: Shop,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    without_uv(resolver, monkeypatch)
    place = f"index.example:{index.server_port}" if way == "http" else secure(index, "index.example")
    monkeypatch.setenv("PIP_INDEX_URL", f"{'http' if way == 'http' else 'https'}://{place}/simple")
    variable = {"pip's setting": "PIP_PROXY", "http": "HTTP_PROXY"}.get(way, way)
    monkeypatch.setenv(variable, proxy.url)
    if way == "https_proxy":
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # lower case counts first
    if way == "http":
        monkeypatch.setenv("PIP_TRUSTED_HOST", place)
    assert shop.laptop.type("submit", shop.write("pandas"), "-v") == 0, capsys.readouterr().err
    said = capsys.readouterr()
    assert shop.versions() == {"pandas": "3.0.0", "pytz": "2025.2"} and shop.lock().resolver.startswith(resolver)
    assert proxy.asked and all(place in each for each in proxy.asked)
    assert {each.path for each in index.asked} >= {f"/files/{wheel.file}" for wheel in shop.lock().wheels}
    assert "SECRET" not in said.out + said.err
    written = [path for path in shop.laptop.folder.parent.rglob("*") if path.is_file()]
    assert not [path for path in written if b"ss-SECRET" in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("resolver", "kind", "why"),
    [
        (
            "uv",
            "no login",
            r"proxy authorization required; see HTTPS_PROXY, NO_PROXY, and `proxy` in `pip config list`",
        ),
        ("uv", "left out", r"Name or service not known; see `pip config list` for its address"),
        (
            "pip",
            "no login",
            r"407 Proxy Authentication Required'\)\) \(/simple/pytz/\); see HTTPS_PROXY, NO_PROXY, and",
        ),
        ("pip", "not there", r"Connection refused'\)\) \(/simple/pytz/\); see HTTPS_PROXY, NO_PROXY, and `proxy` in"),
    ],
)
def test_an_index_behind_a_proxy_that_does_not_lead_there_is_one_error_without_the_login(
    resolver: str, kind: str, why: str, proxy: Proxy, secure: Secure, index: StandIn, shop: Shop,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    without_uv(resolver, monkeypatch)
    place = secure(index, "index.example")
    monkeypatch.setenv("PIP_INDEX_URL", f"https://{place}/simple")
    url = {
        "no login": f"http://carol:wrong-SECRET@{proxy.address}",
        "not there": "http://carol:wrong-SECRET@127.0.0.1:1",
    }
    monkeypatch.setenv("HTTPS_PROXY", url.get(kind, proxy.url))
    if kind == "left out":
        monkeypatch.setenv("NO_PROXY", "index.example")
    assert shop.laptop.type("plan", shop.write("pytz"), "-v") == 1
    said = capsys.readouterr()
    (line,) = (line for line in said.err.splitlines() if line.startswith("error: "))
    assert "the index does not answer" in line and re.search(why, line), line
    assert "SECRET" not in said.out + said.err and not proxy.asked and not index.asked
    assert bool(proxy.refused) is (kind == "no login")

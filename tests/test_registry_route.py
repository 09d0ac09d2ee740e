"""The way to a registry, as the variables of a shell say: proxies, and the certificates that servers are checked with.

The registry here speaks https by the name registry.example.org, with a certificate of an authority of the test's own.
"""

from __future__ import annotations

import datetime
import importlib.util
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from urllib3 import HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPSConnection

from tests.fakes.registry import Said, StandIn, Start, encoded, no_settings_of_this_machine, serve_image, start
from tfslurm.errors import RegistryError
from tfslurm.image import Pin, parse_reference
from tfslurm.registry import resolve
from tfslurm.registry.deadline import WatchedAdapter
from tfslurm.registry.proxies import bypassed, proxy_of

__all__ = ["no_settings_of_this_machine", "start"]
HOST = "registry.example.org"
SECRET = "pa-SECRET-ss"


def pin(*mirrors: str, name: str = f"{HOST}/team/tf:1") -> Pin:
    return resolve(parse_reference(name), {HOST: mirrors}, "linux/amd64", "2026-11-23T08:00:00Z")


def refusal() -> RegistryError:
    with pytest.raises(RegistryError) as caught:
        pin()
    assert "\n" not in str(caught.value)
    assert "SECRET" not in str(caught.value)
    return caught.value


# Certificates.


def certificate(
    name: str, by: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None
) -> tuple[bytes, bytes]:
    """A certificate and its key in PEM form; an authority's own without ``by``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by[0].subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(by[1] if by else key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return built.public_bytes(serialization.Encoding.PEM), text


def authority(folder: Path, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    pem, key = certificate(name)
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.pem").write_bytes(b"# the first line: \xc3\xa9 and no certificate\n" + pem)
    loaded = serialization.load_pem_private_key(key, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return x509.load_pem_x509_certificate(pem), loaded


@pytest.fixture
def secure(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The registry; CA.pem and another authority's certificate lie in `certs`."""
    registry, certs = start(), tmp_path / "certs"
    pem, key = certificate(HOST, authority(certs, "CA"))
    authority(tmp_path / "others", "other")
    (tmp_path / "server.pem").write_bytes(pem + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    registry.socket = context.wrap_socket(registry.socket, server_side=True, do_handshake_on_connect=False)
    serve_image(registry)
    there = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", registry.server_address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: there)
    yield registry


VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.mark.parametrize("what", ["certs/CA.pem", "certs"])
@pytest.mark.parametrize("variable", VARIABLES)
def test_each_variable_may_name_a_file_or_a_folder_of_certificates(
    variable: str, what: str, secure: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "certs" / "README").write_text("no certificate")
    monkeypatch.setenv(variable, str(tmp_path / what))
    assert pin().tag == "1"


def test_folders_in_a_row_and_a_file_beside_them_count_together(
    secure: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "others" / "other.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", f"{tmp_path}/absent:{tmp_path}/certs")
    assert pin().tag == "1"


def test_the_certificates_of_a_variable_are_the_only_ones_and_it_is_named_when_they_do_not_do(
    secure: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "name your site's certificates in REQUESTS_CA_BUNDLE; they are never" in str(refusal())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certs" / "CA.pem"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "others" / "other.pem"))
    said = str(refusal())
    assert "TLS: the certificate of registry.example.org does not hold" in said
    assert "only the certificates that CURL_CA_BUNDLE names count: add your site's there, or unset it; they are" in said


def wrong_files(folder: Path) -> dict[str, tuple[Path, str]]:
    (folder / "empty").mkdir()
    (folder / "text").write_text("<html>not found</html>")
    (folder / "der").write_bytes(b"\x30\x82\x01\x00" + bytes(300))
    (folder / "cut").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    (folder / "no-bytes").touch()
    return {
        "gone": (folder / "env" / "cacert.pem", "cacert.pem is not there; correct it"),
        "an empty folder": (folder / "empty", "in which no file holds a certificate"),
        "a page": (folder / "text", "holds no certificate in PEM form"),
        "binary": (folder / "der", "holds no certificate in PEM form"),
        "half a certificate": (folder / "cut", "holds a certificate that cannot be read"),
        "an empty file": (folder / "no-bytes", "holds no certificate"),
        "a device": (Path("/dev/zero"), "a device"),
    }


@pytest.mark.parametrize("case", ["gone", "an empty folder", "a page", "binary", "half a certificate", "a device"])
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_that_names_no_certificate_is_named_and_the_other_places_are_asked(
    variable: str, case: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, why = wrong_files(tmp_path)[case]
    monkeypatch.setenv(variable, str(path))
    error = refusal()
    assert f"registry.example.org/team/tf: tag 1: {variable}: {path} " in str(error)
    assert str(error).endswith(f"correct it, or unset {variable}")
    assert any(each in str(error) for each in why.split("|"))
    assert not error.transient
    mirror = start()
    serve_image(mirror)
    assert pin("second.example.org", mirror.address).served_by == f"{mirror.address}/team/tf"


# Proxies.

WRONG = {
    f"http://carol:{SECRET}#x@proxy.example:3128": "percent-encoded",
    f"http://carol:{SECRET}/x@proxy.example:3128": "percent-encoded",
    f"http://carol:{SECRET}?@proxy.example:3128": "percent-encoded",
    f"carol:{SECRET}[@proxy.example:3128": "percent-encoded",
    f"http://carol:{SECRET} @proxy.example:3128": "percent-encoded",
    f"http://carol:{SECRET}#x": "its port is no number",
    f"http://carol:{SECRET}@proxy.example:port": "its port is no number",
    "proxy.example:31.28": "its port is no number",
    "http://proxy.example:70000": "larger than 65535",
    "http://proxy.example:0": "larger than 65535, or 0",
    "http://": "it names no host",
    "http://:3128": "it names no host",
    "http:/proxy.example:3128": "its port is no number|IPv6",
    "http://::1:3128": "IPv6 address stands without brackets",
    "http://[::zz]:3128": "names no host|in brackets is none",
    "ftp://proxy.example:21": "its scheme is none of a proxy",
    '"http://proxy.example:3128"': "its scheme is none of a proxy",
}


@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(("value", "why"), WRONG.items())
def test_a_proxy_that_cannot_be_is_told_by_its_variables_name_alone(
    variable: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    error = refusal()
    assert str(error).startswith(f"registry.example.org/team/tf: tag 1: {variable}: ")
    assert any(each in str(error) for each in why.split("|"))
    assert not error.transient


@pytest.mark.parametrize("scheme", ["socks5h", "socks5", "socks4", "SOCKS4A"])
def test_socks_without_pysocks_is_told_with_what_to_install(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://carol:{SECRET}@127.0.0.1:1080")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    error = refusal()
    assert "ALL_PROXY: it names a SOCKS proxy, and PySocks is not installed; pip install 'requests[socks]'" in str(
        error
    )
    assert not error.transient


class BySocks(HTTPSConnection):
    """A connection that finds its own way, as urllib3's through SOCKS does."""


def test_a_socks_proxys_own_connections_are_kept_and_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    class Manager(PoolManager):
        def __init__(self, proxy: str, **more: object) -> None:
            super().__init__()
            pool = type("Pool", (HTTPSConnectionPool,), {"ConnectionCls": BySocks})
            self.pool_classes_by_scheme = {"https": pool}

    monkeypatch.setattr(requests.adapters, "SOCKSProxyManager", Manager)
    adapter = WatchedAdapter()
    manager = adapter.proxy_manager_for("socks5h://127.0.0.1:1080")
    connection = manager.pool_classes_by_scheme["https"].ConnectionCls
    assert issubclass(connection, BySocks)
    assert connection.putrequest is not HTTPSConnection.putrequest
    assert adapter.proxy_manager_for("socks5h://127.0.0.1:1080") is manager
    assert manager.pool_classes_by_scheme["https"].ConnectionCls is connection


RIGHT = {
    "proxy.example:3128": "http://proxy.example:3128",
    "http://proxy.example": "http://proxy.example",
    "HTTP://proxy.example:3128/": "http://proxy.example:3128",
    "https://proxy.example:3129": "https://proxy.example:3129",
    "http://[2001:db8::1]:3128": "http://[2001:db8::1]:3128",
    "carol:p%23ss@proxy.example:3128": "http://carol:p%23ss@proxy.example:3128",
    "http://carol:p@ss:word!@proxy.example:3128": "http://carol:p@ss:word!@proxy.example:3128",
    " http://proxy.example:3128 ": "http://proxy.example:3128",
}


@pytest.mark.parametrize(("value", "url"), RIGHT.items())
def test_every_form_of_a_proxy_that_works_elsewhere_works_here(
    value: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    assert proxy_of("https", HOST, 443) == ("HTTPS_PROXY", url)
    manager = WatchedAdapter().proxy_manager_for(url)
    assert manager.proxy.host


def test_lower_case_counts_first_and_empty_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all.example:1")
    monkeypatch.setenv("HTTP_PROXY", "this is not asked for https")
    assert proxy_of("https", HOST, 443) == ("ALL_PROXY", "http://all.example:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://upper.example:1")
    assert proxy_of("https", HOST, 443)[0] == "HTTPS_PROXY"
    monkeypatch.setenv("https_proxy", "lower.example:1")
    assert proxy_of("https", HOST, 443) == ("https_proxy", "http://lower.example:1")
    monkeypatch.setenv("https_proxy", "")
    assert proxy_of("https", HOST, 443)[0] == "ALL_PROXY"
    monkeypatch.setenv("all_proxy", "")
    assert proxy_of("https", HOST, 443) == ("", "")
    monkeypatch.delenv("https_proxy")
    monkeypatch.setenv("no_proxy", "localhost, .example.org ,10.0.0.0/8")
    assert proxy_of("https", HOST, 443) == ("", "")


@pytest.mark.parametrize(
    ("host", "no_proxy", "expected"),
    [
        (HOST, "*", True),
        (HOST, "a.b *", True),
        (HOST, "example.org", True),
        (HOST, ".example.org", True),
        (HOST, "*.example.org", True),
        (HOST, "REGISTRY.example.org.", True),
        (HOST, "registry.example.org:443", True),
        (HOST, "registry.example.org:5000", False),
        (HOST, "ample.org", False),
        (HOST, "xample.org,other.org", False),
        ("badexample.org", "example.org", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4/31,192.168.0.0/16", False),
        ("10.1.2.3", "2.3", False),
        ("[2001:db8::5]", "2001:db8::/32", True),
        ("2001:db8::5", "[2001:db8::5]", True),
        ("2001:db8::5", "[2001:db8::5]:443", True),
        ("2001:db8::5", "2001:DB8:0::5", True),
        ("2001:db8::5", "[2001:db8::5]:5000", False),
        ("2001:db8::5", "fe80::/10", False),
        (HOST, "", False),
        (HOST, ",, ,", False),
        (HOST, "10.0.0.0/99,::::,[", False),
    ],
)
def test_no_proxy_in_all_its_forms(host: str, no_proxy: str, expected: bool) -> None:
    assert bypassed(host, 443, no_proxy) is expected


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "all_proxy"])
def test_a_proxys_refusal_names_the_variable_and_no_password(
    variable: str, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    proxy = start()
    monkeypatch.setenv(variable, f"http://carol:{SECRET}%23%E5%AF%86@{proxy.address}")
    proxy.guard = lambda _: Said(407)
    error = refusal()
    assert f"the proxy that {variable} names wants a login" in str(error)
    assert not error.transient
    proxy.guard = lambda _: Said(401)
    assert f"the proxy that {variable} names wants a login, or another one (401)" in str(refusal())
    proxy.guard = lambda _: Said(502)
    error = refusal()
    assert f"the proxy that {variable} names did not lead to registry.example.org; check {variable} and NO" in str(
        error
    )
    assert error.transient
    login = f"Basic {encoded('carol', SECRET + '#密')}"
    assert {each.headers["Proxy-Authorization"] for each in proxy.asked} == {login}
    assert SECRET not in caplog.text

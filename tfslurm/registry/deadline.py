"""A time by which a request has ended, whatever its other side does: then its connection is shut down.

The timeouts of sockets are for one read each, so a server that sends a byte now and then, or `100 Continue` without
end, holds a client for ever: in the TLS handshake, the headers or the body. Here a timer shuts down the sockets that a
request uses, and whoever reads one of them sees its end.
"""

from __future__ import annotations

import base64
import io
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from http.client import HTTPException, HTTPResponse
from typing import Any

from requests.adapters import HTTPAdapter
from requests.utils import get_auth_from_url
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

MOST_ADDRESSES = 4
"Of one name; each may cost a connect timeout."


class Deadline:
    """A block that has so many seconds: then the connections that were opened or used in `connecting` are shut down."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._ends = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(max(0.0, seconds), self._pass)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Whatever this thread opens or uses with `WatchedAdapter` in the block has this deadline from then on.

        A body that is sent as it comes may be asked for in between, by a request with a deadline of its own.
        """
        before = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(before)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            for each in self._sockets:
                each.close()
            self._sockets.clear()

    @property
    def left_s(self) -> float:
        """Seconds until it, never less than a little."""
        return max(0.001, self._ends - time.monotonic())

    def watch(self, used: socket.socket) -> None:
        """Shut a connection down when the time is over. A copy of its descriptor is kept: TLS takes the socket away."""
        with self._lock, suppress(OSError):
            copy = socket.socket(fileno=os.dup(used.fileno()))
            self._sockets.append(copy)
            if self.passed:
                copy.shutdown(socket.SHUT_RDWR)

    def _pass(self) -> None:
        with self._lock:
            self.passed = True
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


_CURRENT: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def _connected(connection: HTTPConnection) -> socket.socket:
    """A TCP connection by the deadline. As urllib3's own, which tries every address of a name, however many."""
    host, port, current = connection._dns_host, connection.port, _CURRENT.get()
    limit = connection.timeout if isinstance(connection.timeout, int | float) else 5.0
    try:
        found = _addresses(host, port, current.left_s if current else limit)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"{host}: no address in time") from error
    except (OSError, UnicodeError) as error:
        known = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
        raise NameResolutionError(host, connection, known) from error
    failure: OSError = OSError("no address")
    for family, kind, protocol, address in found:
        each = socket.socket(family, kind, protocol)
        try:
            for option in connection.socket_options or ():
                each.setsockopt(*option)
            each.settimeout(min(limit, current.left_s) if current else limit)
            if current:
                current.watch(each)
            each.connect(address)
            return each
        except OSError as error:
            each.close()
            failure = error
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, f"{host}: no answer within {limit:g} s") from failure
    raise NewConnectionError(connection, f"{host}: {failure}") from failure


def _addresses(host: str, port: int, seconds: float) -> list[tuple[int, int, int, Any]]:
    """Family, kind, protocol and address of a name. Its servers may be slow: they are asked in a thread of its own.

    Raises:
        TimeoutError: no answer in so many seconds.
        OSError, UnicodeError: as socket.getaddrinfo.
    """
    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if not answer:
        raise TimeoutError(f"{host}: no address in time")
    if isinstance(answer[0], Exception):
        raise answer[0]
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in answer[0][:MOST_ADDRESSES]]


class _Measured(io.BufferedReader):
    """A server's bytes. http.client takes a chunk of -1 bytes, and would read all that comes, into memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            raise HTTPException("a length below zero")
        return super().read(size)


class _Answer(HTTPResponse):
    def __init__(self, sock: socket.socket, *words: Any, **more: Any) -> None:
        super().__init__(sock, *words, **more)
        self.fp = _Measured(self.fp.detach())

    def begin(self) -> None:
        """As http.client's. Of two lengths urllib3 makes an error that leaves the socket open."""
        super().begin()
        lengths = ",".join(self.headers.get_all("content-length", ())).split(",")
        if len({length.strip() for length in lengths}) > 1:
            raise HTTPException("two lengths")


class _Watched(HTTPConnection):
    """A connection that belongs to the deadline of each request that uses it."""

    response_class = _Answer

    def putrequest(self, *words: Any, **more: Any) -> None:
        current = _CURRENT.get()
        if current and self.sock:
            current.watch(self.sock)
        super().putrequest(*words, **more)


class _Plain(_Watched):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _Tls(_Watched, HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)

    def _tunnel(self) -> None:
        super()._tunnel()
        if (current := _CURRENT.get()) and current.passed:
            raise TimeoutError("the proxy's answer ended with the connection")


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


_POOLS: Mapping[str, type[HTTPConnectionPool]] = {"http": _PlainPool, "https": _TlsPool}


def _watched(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    """A pool whose connections find their own way, through SOCKS, and are watched from their first request on."""
    connection = type("_BySocks", (_Watched, pool.ConnectionCls), {})
    return type("_BySocksPool", (pool,), {"ConnectionCls": connection})


class WatchedAdapter(HTTPAdapter):
    """The connections of a session, through a proxy or not, each with the deadline of the request that it serves.

    ``certificates`` are those that servers are checked with, in PEM form; empty: those that certifi brings.
    """

    certificates = ""

    def init_poolmanager(self, *words: Any, **more: Any) -> None:
        """As requests', with pools of our connections."""
        super().init_poolmanager(*words, **more)
        self.poolmanager.pool_classes_by_scheme = dict(_POOLS)

    def close(self) -> None:
        """End every connection that waits to be used again, which urllib3 does only when nothing names its pool any
        more: an error names the answer that it came of, and that its pool."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - it cannot be iterated over
                manager.pools[key].close()
        super().close()

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """The same for a proxy."""
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **more)
        if not known:
            its, by_socks = manager.pool_classes_by_scheme, proxy.startswith("socks")
            pools = {scheme: _watched(pool) for scheme, pool in its.items()} if by_socks else dict(_POOLS)
            manager.pool_classes_by_scheme = pools
        return manager

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        """The login for a proxy, in UTF-8 (RFC 7617); requests fails where it is not Latin-1."""
        user, password = get_auth_from_url(proxy)
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {pair}"} if user else {}

    def build_connection_pool_key_attributes(self, *words: Any, **more: Any) -> Any:
        """As requests', with our certificates."""
        host, pool = super().build_connection_pool_key_attributes(*words, **more)
        return host, {**pool, "ca_cert_data": self.certificates} if self.certificates else pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """As requests'; certifi's file only where there are no others."""
        super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]
        if self.certificates:
            conn.ca_certs = None

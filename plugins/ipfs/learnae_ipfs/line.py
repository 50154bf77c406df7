"""One connection to a daemon's RPC that can be cut off from another thread, whatever it is waiting for."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ipfshttpclient.exceptions as client_errors
import requests
import urllib3.exceptions
from ipfshttpclient.http_requests import ClientSync

from learnae_ipfs.reading import PIECE_BYTES, answers, complaint

CONNECT_SECONDS = 2.0  # nothing can cut off a connection that is still being made

FAILURES = (client_errors.Error, requests.RequestException, urllib3.exceptions.HTTPError, OSError)
Refused = client_errors.ErrorResponse


class Line:
    """For one thread at a time; `hang_up` may come from any other, and then every call fails at once, now and later."""

    def __init__(self, address: str, silence_seconds: float) -> None:
        self.address = address
        self._client = _Client(address, "api/v0", timeout=(silence_seconds, silence_seconds))
        self._silence_seconds = silence_seconds
        self._client.connected = self._connected
        self._client.open_session()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.hung_up = False

    def ask(self, path: str, *args: str, data: Iterator[bytes] | None = None, headers: Any = None, **opts: str) -> Iterator[Any]:
        """The objects that the daemon answers with, one a line, as they come. Raises one of FAILURES."""
        with self._client.request(path, args, opts=opts, stream=True, data=data, headers=headers) as pieces:
            yield from answers(pieces)

    def read(self, path: str, *args: str, most: int, silence_seconds: float | None = None, **opts: str) -> bytes | None:
        """The bytes that the daemon answers with; None for more than `most`, which are not read. Raises one of FAILURES."""
        pieces, size = [], 0
        timeout = None if silence_seconds is None else (self._silence_seconds, silence_seconds)
        with self._client.request(path, args, opts=opts, stream=True, timeout=timeout) as answer:
            for piece in answer:
                size += len(piece)
                if size > most:
                    self.hang_up()
                    return None
                pieces.append(piece)
        return b"".join(pieces)

    def hang_up(self) -> None:
        with self._lock:
            self.hung_up = True
            for sock in self._sockets:
                _shut(sock)

    def close(self) -> None:
        self._client.close_session()

    def _connected(self, sock: socket.socket) -> None:
        with self._lock:
            self._sockets = [sock]
            if self.hung_up:
                _shut(sock)


class _Client(ClientSync):  # type: ignore[misc]  # ships no types
    """Tells of each socket that it opens, goes through no proxy, and reads by small pieces, however much the other side announces."""

    connected: Callable[[socket.socket], None]

    def _make_session(self) -> Any:
        session = super()._make_session()
        session.trust_env = False
        for adapter in session.adapters.values():
            adapter.poolmanager.connection_pool_kw.pop("strict", None)  # urllib3 warns of it, and has not needed it for years
            _watch_pools(adapter.poolmanager, self)
        return session

    def _request(self, *args: Any, **kwargs: Any) -> Any:
        return super()._request(*args, **{**kwargs, "chunk_size": PIECE_BYTES})

    def _do_raise_for_status(self, response: requests.Response) -> None:
        try:
            response.raise_for_status()
        except requests.HTTPError as error:
            if message := complaint(response):
                raise client_errors.ErrorResponse(message, error) from error
            raise client_errors.StatusError(error) from error


def _watch_pools(manager: Any, client: _Client) -> None:
    new_pool = manager._new_pool

    def new_watched_pool(*args: Any, **kwargs: Any) -> Any:
        pool = new_pool(*args, **kwargs)
        plain = pool.ConnectionCls
        pool.ConnectionCls = lambda *args, **kwargs: _watched(plain(*args, **kwargs), client)
        return pool

    manager._new_pool = new_watched_pool


def _watched(connection: Any, client: _Client) -> Any:
    connect = connection.connect

    def connect_and_tell() -> None:
        """What is called the timeout of connecting is also that of sending."""
        connection.timeout, sending_seconds = CONNECT_SECONDS, connection.timeout
        connect()
        connection.timeout = sending_seconds
        connection.sock.settimeout(sending_seconds)
        client.connected(connection.sock)

    connection.connect = connect_and_tell
    return connection


def _shut(sock: socket.socket) -> None:
    """Whoever reads from it or writes to it in another thread is told at once; closing it would tell nobody."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def check_address(address: str) -> None:
    """Raises ValueError for what is no address of a daemon."""
    try:
        _Client(address, "api/v0")
    except client_errors.Error:
        raise ValueError("must be an address such as /ip4/127.0.0.1/tcp/5001") from None

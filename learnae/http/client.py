"""A client for one daemon at one address. One thread at a time asks it, and any other thread can cut it off."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from learnae.http.messages import BadResponseError, BoundedReader, ResponseHead, ResponseTooLongError, read_body, read_head

CONNECT_SECONDS = 2.0  # for each address that a name has; a look-up of the name is the one thing that nothing cuts off
MOST_ADDRESSES = 8
FAILURES = (OSError, BadResponseError)
_TARGET = re.compile(r"/[\x21-\x7e]*")

__all__ = ["FAILURES", "BadResponseError", "Endpoint", "HttpClient", "Response", "ResponseTooLongError"]


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where a daemon listens: at a port of a host, or at a Unix socket if it has a `path`."""

    host: str = "localhost"
    port: int = 80
    tls: bool = False
    path: str | None = None
    family: int = socket.AF_UNSPEC

    @property
    def named(self) -> str:
        """As the header Host says it."""
        return "localhost" if self.path is not None else f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@attrs.frozen
class Response:
    """An answer: the status, and the body in `pieces`. Iterate them inside the context of `HttpClient.post`. They raise one of FAILURES."""

    status: int
    pieces: Iterator[bytes]


class HttpClient:
    """Asks one daemon over HTTP, in one thread at a time.

    Any other thread may call `hang_up`: then every call fails at once, now and later.

    It uses no proxy, follows no redirection, and has no cookies and no passwords. It keeps the connection for the next call, if the last
    answer ended as HTTP demands.
    """

    def __init__(self, place: Endpoint, silence_seconds: float) -> None:
        self.place = place
        self.hung_up = False
        self._silence_seconds = silence_seconds
        self._idle: BoundedReader | None = None
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    @contextlib.contextmanager
    def post(
        self,
        target: str,
        body: bytes | Iterable[bytes],
        headers: Mapping[str, str],
        *,
        most_bytes: int,
        answer_seconds: float,
        silence_seconds: float | None = None,
    ) -> Iterator[Response]:
        """Send a request, and read the answer inside this context. Raises one of FAILURES.

        A body that is not `bytes` is iterated while it is sent. What the iteration raises comes out. The daemon may be silent for
        `silence_seconds` before it answers (None: as long as this client allows). The body of the answer must come within
        `answer_seconds`, and may have `most_bytes` at most.
        """
        request = _request(self.place, target, body, headers)
        silence = self._silence_seconds if silence_seconds is None else silence_seconds
        source, head = self._asked(request, body, silence)
        source.go_on(answer_seconds)
        whole = False

        def pieces() -> Iterator[bytes]:
            nonlocal whole
            yield from read_body(source, head, most_bytes)
            whole = True

        try:
            yield Response(head.status, pieces())
        finally:
            if whole and head.lasting and not source.holds_more and not self.hung_up and self._idle is None:
                self._idle = source
            else:
                self._drop(source)

    def hang_up(self) -> None:
        """Cut off all calls that run. A thread that reads or writes gets an error at once. (Closing the socket alone would not wake it.)"""
        with self._lock:
            self.hung_up = True
            for sock in self._sockets:
                _shut(sock)

    def close(self) -> None:
        """Close the connection. No other thread may be using this client."""
        self._idle = None
        with self._lock:
            while self._sockets:
                self._sockets.pop().close()

    def __del__(self) -> None:
        """One that was forgotten holds no connection open."""
        self.close()

    def _asked(self, request: bytes, body: bytes | Iterable[bytes], silence: float) -> tuple[BoundedReader, ResponseHead]:
        used, self._idle = self._idle, None
        if used is not None and _has_ended(used.sock):
            self._drop(used)
            used = None
        if used is not None:
            try:
                return used, self._exchange(used, request, body, silence)
            except ConnectionError:
                if self.hung_up or not isinstance(body, bytes):
                    raise  # else the daemon has closed a connection that was idle
        source = BoundedReader(self._connected())
        return source, self._exchange(source, request, body, silence)

    def _exchange(self, source: BoundedReader, request: bytes, body: bytes | Iterable[bytes], silence: float) -> ResponseHead:
        try:
            source.sock.settimeout(self._silence_seconds)
            refused: OSError | None = None
            try:
                _send(source.sock, request, body)
            except (BrokenPipeError, ConnectionResetError) as error:
                refused = error  # it may have said why
            source.begin(silence, self._silence_seconds)
            try:
                return read_head(source)
            except FAILURES:
                if refused is not None:
                    raise refused from None
                raise
        except BaseException:
            self._drop(source)
            raise

    def _connected(self) -> socket.socket:
        cause: OSError = ConnectionRefusedError("it has no address")
        for family, address in _addresses(self.place):
            sock = self._known(socket.socket(family, socket.SOCK_STREAM))
            try:
                sock.settimeout(CONNECT_SECONDS)
                sock.connect(address)
                if family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return self._secured(sock) if self.place.tls else sock
            except OSError as error:
                self._forget(sock)
                cause = error
        raise cause

    def _secured(self, sock: socket.socket) -> socket.socket:
        context = ssl.create_default_context()
        secured = context.wrap_socket(sock, server_hostname=self.place.host, do_handshake_on_connect=False, suppress_ragged_eofs=False)
        self._forget(sock)  # it has handed its descriptor over
        self._known(secured)
        try:
            secured.do_handshake()
        except BaseException:
            self._forget(secured)
            raise
        return secured

    def _known(self, sock: socket.socket) -> socket.socket:
        """Raises ConnectionAbortedError once this has hung up."""
        with self._lock:
            if not self.hung_up:
                self._sockets.add(sock)
                return sock
        sock.close()
        raise ConnectionAbortedError("it was cut off")

    def _drop(self, source: BoundedReader) -> None:
        self._forget(source.sock)

    def _forget(self, sock: socket.socket) -> None:
        """Under the lock: nobody shuts what may be another's descriptor by then."""
        with self._lock:
            self._sockets.discard(sock)
            sock.close()


def _request(place: Endpoint, target: str, body: bytes | Iterable[bytes], headers: Mapping[str, str]) -> bytes:
    fields = {"Host": place.named, "User-Agent": "learnae", "Accept-Encoding": "identity", **headers}
    fields |= {"Content-Length": str(len(body))} if isinstance(body, bytes) else {"Transfer-Encoding": "chunked"}
    if not _TARGET.fullmatch(target) or not all(text.isprintable() for item in fields.items() for text in item):
        raise ValueError("a request that is no HTTP")
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _send(sock: socket.socket, request: bytes, body: bytes | Iterable[bytes]) -> None:
    if isinstance(body, bytes):
        sock.sendall(request + body)
        return
    sock.sendall(request)
    for piece in filter(None, body):
        sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    sock.sendall(b"0\r\n\r\n")


def _addresses(place: Endpoint) -> list[tuple[int, Any]]:
    if place.path is not None:
        return [(socket.AF_UNIX, place.path)]
    try:
        found = socket.getaddrinfo(place.host, place.port, place.family, socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{place.host} is no name of a host") from error
    return [(family, address) for family, _, _, _, address in found[:MOST_ADDRESSES]]


def _has_ended(sock: socket.socket) -> bool:
    """Whether an idle connection was closed, or something was said over it that nobody asked for."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0)) or (isinstance(sock, ssl.SSLSocket) and sock.pending() > 0)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # that of TLS changes what the other thread uses

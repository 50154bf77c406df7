"""A small HTTP server in threads of its own, which asks nobody for names and waits for nobody."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from socketserver import TCPServer, ThreadingMixIn
from threading import BoundedSemaphore, Thread, Timer
from typing import TYPE_CHECKING, Any, TextIO
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from learnae.errors import ConfigError, Problem

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


MOST_CLIENTS = 8  # at once: each takes a descriptor and a thread of the node
REQUEST_SECONDS = 10.0  # for a whole request, however many drops it comes in


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS  # for each read and write

    def log_message(self, format: str, *args: object) -> None:
        """A request is no news."""

    def get_stderr(self) -> TextIO:
        """Neither is what a request makes the library or the application raise: anybody on the machine may send it, as fast as he likes."""
        return StringIO()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_CLIENTS

    def __init__(self, *arguments: Any) -> None:
        self._free = BoundedSemaphore(MOST_CLIENTS)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """One too many is turned away at once: it would take what the node needs itself."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.close_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Cut off at the end of its time: a client that sends a byte now and then never runs out of that of a single read."""
        ending = Timer(REQUEST_SECONDS, _cut_off, (request,))
        ending.daemon = True
        ending.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            ending.cancel()
            self._free.release()

    def server_bind(self) -> None:
        """Without looking up the host's name, as HTTPServer would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is no news either."""


def _cut_off(request: socket.socket) -> None:
    with suppress(OSError):  # it has gone by itself
        request.shutdown(socket.SHUT_RDWR)


class _Server6(_Server):
    address_family = socket.AF_INET6


@contextmanager
def serving_http(address: str, application: WSGIApplication, key: str) -> Iterator[str]:
    """Serves at "host:port" and yields the URL; port 0 takes a free one. Raises ConfigError, with the key, where it cannot."""
    host, _, port = address.rpartition(":")
    server_class = _Server6 if host.startswith("[") else _Server
    try:
        server = server_class((host.strip("[]"), int(port)), _Handler)
    except (OSError, OverflowError) as error:
        remedy = "take another port, or port 0 for any that is free; each peer of a machine needs its own"
        raise ConfigError(Problem(key, f"cannot listen at {address}: {error}", remedy)) from error
    server.set_app(application)
    thread = Thread(target=server.serve_forever, name=key, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A node in this process, without a tangle behind it, that can be told to misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import attrs

from learnae_iota.curl import TRANSACTION_TRYTES, hash_of, with_nonce

Answer = tuple[int, bytes]
Misbehave = Callable[[str], Answer | None]
"""From the command to what is answered instead, after any delay; None for the right answer."""

MOST_FOUND = 1000
DRIP_SECONDS, ENDLESS = 0.05, 1_000_000


@attrs.define(eq=False)
class FakeNode:
    """Answers as Hornet 0.5.6 does. `transactions` may be changed at any time; what is `pruned` is listed, and gone."""

    transactions: dict[str, str] = attrs.field(factory=dict)
    pruned: set[str] = attrs.field(factory=set)
    misbehave: Misbehave = lambda command: None
    asked: Counter[str] = attrs.field(factory=Counter)
    milestones: bool = True  # without, it chooses no parents
    ahead_seconds: float = 0.0  # its clock
    version: str = "0.5.6"
    most_found: int = MOST_FOUND  # of one call
    dripping: bool = False  # it answers a byte every now and then, without end
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[FakeNode]:
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """At the same port as before."""
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, data = node.answer(request)
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(ENDLESS if node.dripping else len(data)))
                    self.end_headers()
                    while node.dripping:
                        self.wfile.write(b" ")
                        time.sleep(DRIP_SECONDS)
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True  # nobody waits any more

            def log_message(self, *_: object) -> None:
                pass

        self._server = _FakeServer(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def answer(self, request: dict[str, Any]) -> Answer:
        command = request["command"]
        self.asked[command] += 1
        if (instead := self.misbehave(command)) is not None:
            return instead
        if command in ("broadcastTransactions", "attachToTangle") and not request["trytes"]:
            return 400, b'{"error":"No trytes provided"}'
        if command == "getTransactionsToApprove" and not self.milestones:
            return 503, b'{"error":"node is not synchronized"}'
        return 200, json.dumps(getattr(self, f"_{command}")(request)).encode()

    def keep(self, transaction: str) -> str:
        """As if it had come from elsewhere. Returns its hash."""
        hash_ = hash_of(transaction)
        self.transactions[hash_] = transaction
        return hash_

    def _getNodeInfo(self, _: Any) -> dict[str, Any]:
        return {"appName": "HORNET", "appVersion": self.version, "time": int(time.time() + self.ahead_seconds) * 1000}

    def _getNodeAPIConfiguration(self, _: Any) -> dict[str, Any]:
        return {"maxFindTransactions": self.most_found, "maxGetTrytes": MOST_FOUND}

    def _findTransactions(self, request: Any) -> dict[str, Any]:
        wanted = set(request["addresses"])
        found = sorted(hash_ for hash_, transaction in dict(self.transactions).items() if transaction[2187:2268] in wanted)
        return {"hashes": found[: min(request.get("maxresults") or self.most_found, self.most_found)]}

    def _getTrytes(self, request: Any) -> dict[str, Any]:
        gone = "9" * TRANSACTION_TRYTES
        return {"trytes": [gone if hash_ in self.pruned else self.transactions.get(hash_, gone) for hash_ in request["hashes"]]}

    def _getTransactionsToApprove(self, _: Any) -> dict[str, Any]:
        return {"trunkTransaction": "9" * 81, "branchTransaction": "9" * 81}

    def _attachToTangle(self, request: Any) -> dict[str, Any]:
        return {"trytes": [with_nonce(each, request["minWeightMagnitude"]) for each in request["trytes"]]}

    def _broadcastTransactions(self, request: Any) -> dict[str, Any]:
        for transaction in request["trytes"]:
            self.keep(transaction)
        return {}


class _FakeServer(ThreadingHTTPServer):
    """Ends its connections too, as the end of a process does."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *arguments: Any) -> None:
        self._open: list[Any] = []
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        super().server_close()
        for request in self._open:
            self.shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        pass

"""Prometheus: a small HTTP server shows a node's figures. Nothing is sent by itself."""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import prometheus_client as client

from learnae.errors import ConfigError, Problem
from learnae.hookspecs import hookimpl
from learnae.records import PeerId, RoundReport, UpdateVerdict
from learnae.texts import CELL_CHARACTERS, harmless

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from structlog.typing import FilteringBoundLogger


class _Handler(WSGIRequestHandler):
    timeout = 10.0  # seconds that a client may take

    def log_message(self, format: str, *args: object) -> None:
        """A request is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        """Without looking up the host's name, as HTTPServer would."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is no news either."""


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


SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
STATES = {"new": "heard", "back": "heard", "silent": "silent", "left": "left"}
FATES = {"fetch": "failed", "plugin": "lost"}
STAGES = ("fetch", "decode", "architecture", "join", "merge", "plugin")  # all others are gates
KEPT_PEERS = 4096  # whoever makes up peers fills no memory: of those heard of longest ago the state is forgotten


class Prometheus:
    """Watches one node. No label holds a peer's key or a text of a peer, so that the number of series is bounded."""

    def __init__(self, swarm: str) -> None:
        self.registry = registry = client.CollectorRegistry()
        self._states: OrderedDict[PeerId, str] = OrderedDict()
        client.ProcessCollector(registry=registry)
        client.Info("learnae_swarm", "The name of the swarm that this node takes part in.", registry=registry).info(
            {"name": harmless(swarm)}
        )
        self.rounds = client.Counter("learnae_rounds", "Rounds, by what came of them.", ["outcome"], registry=registry)
        self.seconds = client.Histogram("learnae_round_seconds", "How long rounds took.", buckets=SECONDS, registry=registry)
        self.ended = client.Gauge("learnae_last_round_timestamp_seconds", "When the last round ended, in Unix time.", registry=registry)
        self.age = client.Gauge("learnae_model_age_steps", "Optimiser steps in the history of the own model.", registry=registry)
        self.updates = client.Counter(
            "learnae_updates",
            "Updates of others that were tried, by fate and by the stage that had the last word.",
            ["fate", "stage"],
            registry=registry,
        )
        self.fresh = client.Gauge("learnae_fresh_updates", "Peers with a fresh update at the last round.", registry=registry)
        self.splits = client.Gauge("learnae_splits", "Other grown lineages under the same name, at the last round.", registry=registry)
        self.fetched = client.Counter("learnae_fetched_bytes", "What was fetched from others.", registry=registry)
        self.published = client.Counter("learnae_published_bytes", "What was published.", registry=registry)
        self.peers = client.Gauge("learnae_peers", "Peers heard since this node started, by their state.", ["state"], registry=registry)
        for state in STATES.values():
            self.peers.labels(state).set(0)

    @hookimpl
    def learnae_round_finished(self, report: RoundReport) -> None:
        self.rounds.labels(harmless(report.outcome)).inc()
        self.seconds.observe(report.seconds)
        self.ended.set_to_current_time()
        self.age.set(report.age)
        self.fresh.set(report.heard)
        self.splits.set(len(report.splits))
        self.fetched.inc(report.fetched_bytes)
        self.published.inc(report.published_bytes)

    @hookimpl
    def learnae_update_judged(self, verdict: UpdateVerdict) -> None:
        fate = "merged" if verdict.merged else FATES.get(verdict.stage, "refused")
        self.updates.labels(fate, harmless(stage_in_words(verdict), CELL_CHARACTERS)).inc()

    @hookimpl
    def learnae_peer_changed(self, peer: PeerId, state: str) -> None:
        before = self._states.pop(peer, None)
        if before is not None:
            self.peers.labels(before).dec()
        elif len(self._states) == KEPT_PEERS:
            self.peers.labels(self._states.popitem(last=False)[1]).dec()
        self._states[peer] = "left" if before == "left" and state == "silent" else STATES[state]
        self.peers.labels(self._states[peer]).inc()


def stage_in_words(verdict: UpdateVerdict) -> str:
    """What had the last word; a gate's name alone, such as "clip", would say nothing beside "merged"."""
    if verdict.stage in STAGES:
        return verdict.stage
    if verdict.merged:
        return f"scaled by gate {verdict.stage}" if verdict.scale != 1.0 else "merge"
    return f"gate {verdict.stage}"


@contextmanager
def serving(address: str, swarm: str, log: FilteringBoundLogger) -> Iterator[Prometheus]:
    """An observer whose numbers can be fetched from this address meanwhile. Raises ConfigError for an address that cannot be used."""
    observer = Prometheus(swarm)
    with serving_http(address, client.make_wsgi_app(observer.registry), "metrics.prometheus") as url:
        log.info("metrics.served", url=f"{url}/metrics")
        yield observer

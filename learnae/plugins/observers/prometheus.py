"""A node's figures for Prometheus, which comes and fetches them. Nothing is sent by itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import prometheus_client as client

from learnae.hookspecs import hookimpl
from learnae.observations import RoundReport, UpdateVerdict
from learnae.plugins.observers.http_server import serving_http
from learnae.records import PeerId
from learnae.texts import CELL_CHARACTERS, harmless

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
STATES = {"new": "heard", "back": "heard", "silent": "silent", "left": "left"}
FATES = {"fetch": "failed", "plugin": "lost"}
STAGES = ("fetch", "decode", "architecture", "join", "merge", "plugin")  # all others are gates
KEPT_METRICS = 64  # a loop that makes up a name for each number makes no series of each
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
        self.splits = client.Gauge(
            "learnae_splits", "Other established lineages under the same name, at the last round.", registry=registry
        )
        self.connected = client.Gauge(
            "learnae_connected_peers", "Peers that services are connected to directly, at the last round.", registry=registry
        )
        self.fetched = client.Counter("learnae_fetched_bytes", "What was fetched from others.", registry=registry)
        self.published = client.Counter("learnae_published_bytes", "What was published.", registry=registry)
        self.peers = client.Gauge("learnae_peers", "Peers heard since this node started, by their state.", ["state"], registry=registry)
        self.evaluation = client.Gauge(
            "learnae_evaluation", "What the trainer has last measured on its own test data.", ["metric"], registry=registry
        )
        self._measured: set[str] = set()
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
        self.connected.set(report.connected)
        self.fetched.inc(report.fetched_bytes)
        self.published.inc(report.published_bytes)
        for name, value in report.metrics.items():
            if name in self._measured or len(self._measured) < KEPT_METRICS:
                self._measured.add(name)
                self.evaluation.labels(harmless(name, CELL_CHARACTERS)).set(value)

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

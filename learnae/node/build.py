"""Puts a node together from its configuration, its home and its runtime."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

import attrs

from learnae.config.rules import swarm_of
from learnae.config.tables import LARGEST_BYTES, Config
from learnae.content.meta import architecture_of
from learnae.data.own import GATHERED, OwnSlices, consent_of
from learnae.data.pool import Pool
from learnae.identity.keys import Admission, Identity
from learnae.identity.swarms import SwarmIdentity
from learnae.link.messages import Link
from learnae.node.architecture import Architectures
from learnae.node.attempts import FetchAttempts
from learnae.node.bases import LEAST_HELD, HeldUpdates
from learnae.node.claims import Claims, LineagePopulation, heard_before
from learnae.node.connections import ConnectionWatch
from learnae.node.evaluations import LossLedger
from learnae.node.fetching import Fetcher
from learnae.node.gathering import Gathering
from learnae.node.history import History, PublishedUpdate
from learnae.node.history_schema import KEPT_PEERS
from learnae.node.inbox import Inbox
from learnae.node.joining import BATCHES, Joining, LineageAdoption
from learnae.node.judging import GateChain
from learnae.node.lineage import LineageState, MinimumDuration, SplitReporter
from learnae.node.merging import Merger
from learnae.node.moving import BackgroundSearch, Moving, Orders
from learnae.node.node import Node
from learnae.node.obtaining import BackgroundFetches, Obtainer, TransferPace
from learnae.node.peers import Peers
from learnae.node.publishing import Publisher
from learnae.node.rate_limits import LogShare
from learnae.node.receive import Receiver, SequenceNumbers
from learnae.node.relay import BlockRelay, MessageRelay, Relay
from learnae.node.reports import WatcherCalls
from learnae.node.retention import GarbageCollection, RetentionPolicy
from learnae.node.rounds import MergeBuffers, Rounds
from learnae.node.runtime import Runtime
from learnae.node.selection import UpdateSelection
from learnae.node.sending import Heartbeat, Sender
from learnae.node.services import Services
from learnae.node.sharing import Sharing
from learnae.node.slice_catalogue import SliceCatalogue
from learnae.node.slice_fetching import SliceFetches
from learnae.node.strategy_set import StrategySet, assemble
from learnae.node.strategy_state import StrategyStates
from learnae.node.tensors import is_counter
from learnae.node.view_exchange import ViewExchange
from learnae.records import MEGABYTE, AnnouncementKind, Cid, PeerId, TensorSpec

if TYPE_CHECKING:
    from learnae.plugins.manager import PluginManager


@attrs.frozen
class Given:
    """What a node is made from. `kept` are the own updates of earlier runs that are still in storage, the newest first."""

    config: Config
    identity: Identity
    history: History
    link: Link
    runtime: Runtime
    strategies: StrategySet
    architecture: bytes
    kept: Sequence[PublishedUpdate]

    @property
    def observes(self) -> bool:
        return self.config.peer.role == "observer"

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        return self.link.hello.specs

    @property
    def by_name(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in self.specs}

    @property
    def largest_update(self) -> int:
        return largest_update(self.specs, self.config.peer.max_update_bytes)

    @property
    def left_behind(self) -> PublishedUpdate | None:
        """The newest own update that fits the model.

        None if the trainer's model has come further, because it was loaded from a checkpoint, and for an observer.
        """
        if self.observes:
            return None
        own = next((own for own in self.kept if own.architecture == self.architecture), None)
        return None if own is not None and own.age < self.link.hello.progress.age else own


def build(config: Config, manager: PluginManager, identity: Identity, history: History, link: Link, runtime: Runtime) -> Node:
    """Make a node. It touches neither network nor storage yet. Raises ConfigError, PluginError."""
    watchers = WatcherCalls(manager, runtime)
    receiver = make_receiver(config, identity, history, runtime, watchers)
    strategies = assemble(config, manager, identity.peer, runtime, identity.sign_for_plugin, receiver.first_look)
    architecture = architecture_of(link.hello.specs, link.hello.frozen)
    given = Given(config, identity, history, link, runtime, strategies, architecture, history.published())
    state, pace, services = LineageState(config.join, identity.peer), TransferPace(config.node.fetch_seconds), Services(runtime.outages)
    attempts = FetchAttempts(receiver.inbox, receiver.peers)
    publisher = _publisher(given, receiver, services)
    retention = RetentionPolicy(config.peer.quota_bytes, sum(own.bytes for own in given.kept))
    relay = _relay(given, publisher, retention, pace) if config.peer.relay else None
    fetches = _fetches(given, _fetcher(given, receiver, services), attempts, pace, relay)
    strategy_states = StrategyStates(history, runtime.log)
    slice_fetches = _slice_fetches(given, receiver, fetches.obtainer.fetcher, pace)
    selection = _selection(given, publisher, fetches, strategy_states, slice_fetches)
    gates = GateChain(strategies.gates, runtime.outages)
    strategy_states.recall(link.hello, ["merge", "outer"], [selection.key, *(key for key, _ in gates.keyed())])
    buffers = MergeBuffers(link, strategy_states, LossLedger(own_weight=0.0 if given.observes else 1.0))
    adoption = LineageAdoption(state, selection, fetches.obtainer, buffers, given.left_behind, runtime)
    moving = Moving(state, selection, adoption, BackgroundSearch(adoption, pace), long_enough(config, state), runtime.clock)
    sharing = make_sharing(config, publisher)
    views = ViewExchange(config.peer.share_contributions, publisher, fetches.obtainer.fetcher, config.node.fetch_seconds, runtime)
    kept: list[Container[Cid]] = [*([relay.block_relay.carried] if relay else []), *([sharing] if sharing else []), views]
    return Node(
        link=link,
        strategies=strategies,
        services=services,
        receiver=receiver,
        attempts=attempts,
        history=history,
        publisher=publisher,
        heartbeat=Heartbeat(config.peer.role, strategies, services, publisher, runtime.outages, lambda: views.root),
        garbage_collection=GarbageCollection(services, publisher, history, runtime.in_thread, kept),
        joining=Joining(state, selection, publisher, adoption, buffers, BATCHES * config.node.fetch_seconds, runtime, given.observes),
        moving=moving,
        orders=Orders(history.orders, receiver, moving, receiver.admission, long_enough(config, state), runtime),
        split_reporter=SplitReporter(state, runtime.outages, LogShare(runtime.clock)),
        relay=relay,
        sharing=sharing,
        view_exchange=views,
        slice_fetches=slice_fetches,
        gathering=_gathering(config, receiver, strategies.swarm, runtime),
        rounds=_rounds(given, state, selection, publisher, fetches, gates, buffers),
        architectures=_architectures(given, fetches.obtainer),
        lineage_state=state,
        retention=retention,
        watcher_calls=watchers,
        connection_watch=ConnectionWatch.of(services, strategies.services(), runtime),
        rules=config.node,
        runtime=runtime,
    )


def make_receiver(config: Config, identity: Identity, history: History, runtime: Runtime, watchers: WatcherCalls) -> Receiver:
    swarm, peers = swarm_of(config.swarm), Peers(KEPT_PEERS, history.peers())
    inbox = Inbox(config.node.inbox_peers, peers.trusts, marks=history.marks(), rng=runtime.rng("inbox"))
    return Receiver(
        own=identity.peer,
        swarm=swarm.id,
        encryption=swarm.messages,
        named=frozenset(map(PeerId, config.join.trust)),
        unwanted=unwanted(config),
        foreign=ROWS if config.swarm.weights_only else (),
        admission=Admission(config.peer.allow, config.peer.deny),
        inbox=inbox,
        peers=peers,
        runtime=runtime,
        on_change=watchers.peer_changed,
        numbers=SequenceNumbers(runtime, history.own_numbers()),
    )


def _publisher(given: Given, receiver: Receiver, services: Services) -> Publisher:
    return Publisher(
        identity=given.identity,
        swarm=given.strategies.swarm,
        specs=given.specs,
        architecture=given.architecture,
        strategies=given.strategies,
        history=given.history,
        receiver=receiver,
        services=services,
        runtime=given.runtime,
    )


def _relay(given: Given, publisher: Publisher, retention: RetentionPolicy, pace: TransferPace) -> Relay:
    swarm, peers = given.strategies.swarm, publisher.receiver.peers
    block_relay = BlockRelay(publisher, retention, publisher.receiver.inbox, peers, pace, given.config.selector.count, given.runtime.clock)
    announcers = given.strategies.announcers
    message_relays = {announcer: MessageRelay(announcer, swarm.channel, publisher.services, peers.trusts) for announcer in announcers}
    return Relay(given.identity.peer, message_relays, swarm.alias, block_relay)


def make_sharing(config: Config, sender: Sender) -> Sharing | None:
    """None without consent: what may lie in `data/own` from before is not touched."""
    if config.data.share != "slices" or config.swarm.weights_only:
        return None
    data = config.data
    consent = consent_of(most_rows=data.share_rows, fraction=data.share_fraction, licence=data.licence, source=data.source)
    gathered = OwnSlices(sender.runtime.home, GATHERED) if data.gather else None
    return Sharing(OwnSlices(sender.runtime.home), sender, consent, gathered)


ROWS = frozenset({AnnouncementKind.SLICE, AnnouncementKind.SAMPLE})


def unwanted(config: Config) -> frozenset[AnnouncementKind]:
    """The kinds of announcements that this peer refuses without a look at their signature."""
    if config.swarm.weights_only:
        return ROWS
    return frozenset() if config.data.gather or config.peer.relay or config.peer.role == "keeper" else frozenset({AnnouncementKind.SAMPLE})


def _gathering(config: Config, receiver: Receiver, swarm: SwarmIdentity, runtime: Runtime) -> Gathering | None:
    rules = config.data
    if not rules.gather or config.swarm.weights_only:
        return None
    offers = OwnSlices(runtime.home, GATHERED) if rules.share == "slices" else None
    return Gathering(Pool(runtime.home, rules.accept_bytes), offers, receiver, rules, swarm.blocks, runtime)


def _slice_fetches(given: Given, receiver: Receiver, fetcher: Fetcher, pace: TransferPace) -> SliceFetches | None:
    config, peers = given.config, receiver.peers
    if not config.data.accept_bytes or config.swarm.weights_only:
        return None
    catalogue, pool = SliceCatalogue(peers.trusts, given.runtime.clock), Pool(given.runtime.home, config.data.accept_bytes)
    sees = given.strategies.selector.strategy.slices
    return SliceFetches(catalogue, pool, fetcher, receiver, pace, config.data, given.runtime, sees)


def _fetches(given: Given, fetcher: Fetcher, attempts: FetchAttempts, pace: TransferPace, relay: Relay | None) -> BackgroundFetches:
    obtainer = Obtainer(
        fetcher=fetcher,
        strategies=given.strategies,
        specs=given.by_name,
        peers=attempts.peers,
        attempts=attempts,
        limit=given.largest_update,
        pace=pace,
        runtime=given.runtime,
        on_fetched=relay.fetched if relay else None,
        own_bytes=given.kept[0].bytes if given.kept else raw_bytes(given.specs),
        held=HeldUpdates(max(LEAST_HELD, HELD_MODELS * raw_bytes(given.specs))),
    )
    return BackgroundFetches(obtainer, attempts.peers, pace, given.config.selector.count, given.runtime)


def _fetcher(given: Given, receiver: Receiver, services: Services) -> Fetcher:
    strategies, specs = given.strategies, given.specs
    bounds = most_tensors(specs), largest_meta(specs)
    return Fetcher(strategies.storages, services, receiver.hints, given.runtime.log, strategies.swarm.blocks, *bounds, receiver.fetched)


def _architectures(given: Given, obtainer: Obtainer) -> Architectures:
    largest = given.config.peer.max_update_bytes or LARGEST_BYTES
    return Architectures(obtainer.fetcher, given.specs, largest, obtainer.strangers, given.runtime)


def _selection(
    given: Given, publisher: Publisher, fetches: BackgroundFetches, strategy_states: StrategyStates, slices: SliceFetches | None
) -> UpdateSelection:
    return UpdateSelection(
        inbox=publisher.receiver.inbox,
        peers=publisher.receiver.peers,
        attempts=fetches.obtainer.attempts,
        selector=given.strategies.selector,
        count=given.config.selector.count,
        limit=given.largest_update,
        architecture=given.architecture,
        fresh_rounds=given.config.node.fresh_rounds,
        outages=given.runtime.outages,
        busy=fetches.busy,
        clock=given.runtime.clock,
        strategy_states=strategy_states,
        slices=slices if given.strategies.selector.strategy.slices else None,
        own_sketch=lambda: publisher.sketch,
    )


def _rounds(
    given: Given,
    state: LineageState,
    selection: UpdateSelection,
    publisher: Publisher,
    fetches: BackgroundFetches,
    gates: GateChain,
    buffers: MergeBuffers,
) -> Rounds:
    receiver = publisher.receiver
    return Rounds(
        lineage_state=state,
        selection=selection,
        publisher=publisher,
        fetches=fetches,
        gate_chain=gates,
        merger=Merger(given.strategies.merge, None if given.observes else given.strategies.outer, given.by_name),
        buffers=buffers,
        strategy_states=buffers.strategy_states,
        claims=Claims([spec.name for spec in given.specs if is_counter(spec)]),
        lineage_population=LineagePopulation(selection, receiver, heard_before(given.history.reader.heard())),
        peers=receiver.peers,
        attempts=fetches.obtainer.attempts,
        pace=fetches.pace,
        patience=given.config.train.patience,
        runtime=given.runtime,
        observes=given.observes,
    )


def most_tensors(specs: tuple[TensorSpec, ...]) -> int:
    """The most tensors of another peer's update that are read.

    They are a few more than the own model has, to recognise another architecture.
    """
    return 2 * len(specs) + 64


def largest_meta(specs: tuple[TensorSpec, ...]) -> int:
    """The most bytes of the meta of another peer's update: four times those of the own names and shapes, and 256 for each tensor."""
    return 64 * 1024 + sum(4 * (len(spec.name.encode()) + 9 * len(spec.shape) + 48) + 256 for spec in specs)


def largest_update(specs: tuple[TensorSpec, ...], bound: int | None) -> int:
    """The most bytes of another peer's update: the own model in full precision, a quarter more for scales and indices, and its meta.

    If the file sets a smaller bound, that counts.
    """
    tensors = sum((4 if spec.floating else 8) * spec.count for spec in specs)
    largest = tensors * 5 // 4 + 4096 * len(specs) + MEGABYTE
    return largest if bound is None else min(bound, largest)


HELD_MODELS = 4
"""Times the bytes of the own model that bases of others take in memory, at most: a base has two bytes a value."""


def raw_bytes(specs: tuple[TensorSpec, ...]) -> int:
    return sum((4 if spec.floating else 8) * spec.count for spec in specs)


def long_enough(config: Config, lineage_state: LineageState) -> MinimumDuration:
    """The rounds that it takes to settle, and more than the rounds for which an announcement counts as fresh."""
    return MinimumDuration(max(config.join.settle_rounds, config.node.fresh_rounds + 1), lineage_state.settle_seconds)

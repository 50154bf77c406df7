"""Puts a node together from its configuration, its home and its surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from learnae.config.tables import LARGEST_BYTES, Config
from learnae.content.meta import model_signature
from learnae.identity.keys import Admission, Identity
from learnae.link.messages import Link
from learnae.node.architecture import Architectures
from learnae.node.claims import Claims, LineagePopulation, heard_before
from learnae.node.control import Orders
from learnae.node.fetching import Fetcher
from learnae.node.history import History
from learnae.node.history_schema import KEPT_PEERS
from learnae.node.inbox import Inbox
from learnae.node.joining import BATCHES, Joining, LineageAdoption
from learnae.node.judging import GateChain
from learnae.node.lineage import LineageState, MinimumDuration, SplitReporter
from learnae.node.merging import Merger
from learnae.node.moving import BackgroundSearch, Moving
from learnae.node.node import Node
from learnae.node.obtaining import BackgroundFetches, Obtainer, TransferPace
from learnae.node.peers import Peers
from learnae.node.publishing import Heartbeat, Publisher
from learnae.node.receive import Receiver, SequenceNumbers
from learnae.node.relay import BlockRelay, MessageRelay, Relay
from learnae.node.reports import WatcherCalls
from learnae.node.retention import GarbageCollection, RetentionPolicy
from learnae.node.rounds import MergeBuffers, Rounds
from learnae.node.runtime import Runtime
from learnae.node.selection import UpdateSelection
from learnae.node.services import Outages, Services
from learnae.node.strategy_set import StrategySet, assemble
from learnae.node.strategy_state import StrategyStates
from learnae.node.tensors import is_counter
from learnae.records import MEGABYTE, PeerId, TensorSpec

if TYPE_CHECKING:
    from learnae.plugins.manager import PluginManager


def build(config: Config, manager: PluginManager, identity: Identity, history: History, link: Link, around: Runtime) -> Node:
    """Raises ConfigError or PluginError; touches neither network nor storage."""
    specs, log, clock, in_thread = link.hello.specs, around.log, around.clock, around.in_thread
    decoding, encoding, merging = around.threads(), around.threads(), around.threads()  # what runs in them calls strategies
    assembly = assemble(config, manager, identity.peer, around)
    signature = model_signature(specs, link.hello.frozen)
    swarm = assembly.swarm
    limit = largest_update(specs, config.peer.max_update_bytes)
    pace, standing, outages = TransferPace(config.node.fetch_seconds), LineageState(config.join, identity.peer), Outages(log)
    peers, services = Peers(KEPT_PEERS, history.peers()), Services(outages)
    watching = WatcherCalls(manager, around.in_watcher_thread, log)
    inbox = Inbox(config.node.inbox_peers, peers.trusts, marks=history.marks(), rng=around.rng("inbox"))
    hearing = Receiver(
        own=identity.peer,
        swarm=swarm.id,
        seal=swarm.messages,
        admission=Admission(config.peer.allow, config.peer.deny),
        inbox=inbox,
        peers=peers,
        clock=clock,
        log=log,
        on_change=watching.peer_changed,
        numbers=SequenceNumbers(clock, log, history.own_numbers(), rng=around.rng("numbers")),
    )
    chooser = UpdateSelection(inbox, peers, assembly.selector, config.selector.count, limit, signature, config.node.fresh_rounds, outages)
    fetcher = Fetcher(assembly.storages, services, hearing.hints, log, swarm.blocks, most_tensors(specs))
    publisher = Publisher(
        identity=identity,
        swarm=swarm,
        specs=specs,
        signature=signature,
        assembly=assembly,
        history=history,
        hearing=hearing,
        services=services,
        outages=outages,
        in_thread=in_thread,
        in_encoding_thread=encoding,
        rng=around.rng("encode"),
    )
    kept = history.published()
    keeping = RetentionPolicy(config.peer.quota_bytes, sum(own.bytes for own in kept))
    carrying = BlockRelay(publisher, keeping, inbox, peers, pace, config.selector.count, clock)
    relay = relay_between(assembly, services, carrying, peers, identity.peer) if config.peer.relay else None
    obtainer = Obtainer(
        fetcher=fetcher,
        assembly=assembly,
        specs={spec.name: spec for spec in specs},
        peers=peers,
        limit=limit,
        pace=pace,
        clock=clock,
        in_thread=decoding,
        on_fetched=relay.fetched if relay else None,
        on_tried=inbox.tried,
    )
    obtainer.own_bytes = kept[0].bytes if kept else raw_bytes(specs)
    errands = BackgroundFetches(obtainer, peers, pace, config.selector.count, clock, around.rng("errands"))
    chooser.busy, chooser.hearing = errands.busy, hearing
    judges, memory = GateChain(assembly.gates, outages), StrategyStates(history, log)
    memory.recall(link.hello, ["merge", "outer"], [key for key, _ in judges.keyed()])
    adopting = MergeBuffers(link, memory)
    left_behind = next((own for own in kept if own.signature == signature), None)
    settling = LineageAdoption(standing, chooser, obtainer, adopting, left_behind, clock, decoding, around.rng("join"), log)
    trying = BATCHES * config.node.fetch_seconds
    joining = Joining(standing, chooser, publisher, settling, adopting, outages, trying, clock, in_thread, log)
    moving = Moving(standing, chooser, settling, BackgroundSearch(settling, pace), long_enough(config, standing), clock)
    rounds = Rounds(
        standing=standing,
        chooser=chooser,
        publisher=publisher,
        errands=errands,
        judges=judges,
        merger=Merger(assembly.merge, assembly.outer, {spec.name: spec for spec in specs}),
        adopting=adopting,
        memory=memory,
        claims=Claims([spec.name for spec in specs if is_counter(spec)]),
        company=LineagePopulation(chooser, hearing, heard_before(history.heard())),
        peers=peers,
        pace=pace,
        patience=config.train.patience,
        clock=clock,
        in_thread=merging,
        outages=outages,
    )
    return Node(
        link=link,
        assembly=assembly,
        services=services,
        channel=swarm.channel,
        hearing=hearing,
        history=history,
        publisher=publisher,
        presence=Heartbeat(assembly, services, publisher, outages),
        tidying=GarbageCollection(services, publisher, history, in_thread, carrying.carried),
        joining=joining,
        moving=moving,
        orders=Orders(history, hearing, moving, hearing.admission, long_enough(config, standing), clock, in_thread, log),
        splits=SplitReporter(standing, outages),
        relay=relay,
        rounds=rounds,
        errands=errands,
        architectures=Architectures(fetcher, specs, config.peer.max_update_bytes or LARGEST_BYTES, clock, log),
        adopting=adopting,
        standing=standing,
        keeping=keeping,
        memory=memory,
        pace=pace,
        outages=outages,
        watching=watching,
        fresh_rounds=config.node.fresh_rounds,
        save_seconds=config.node.save_seconds,
        clock=clock,
        in_thread=in_thread,
        log=log,
    )


def relay_between(assembly: StrategySet, services: Services, carrying: BlockRelay, peers: Peers, own: PeerId) -> Relay:
    channel = assembly.swarm.channel
    forwarding = {announcer: MessageRelay(announcer, channel, services, peers.trusts) for announcer in assembly.announcers}
    return Relay(own, forwarding, carrying, assembly.swarm.alias)


def most_tensors(specs: tuple[TensorSpec, ...]) -> int:
    """Of another peer's update. A few more than the own model has are read, so that its owner is told of another architecture."""
    return 2 * len(specs) + 64


def largest_update(specs: tuple[TensorSpec, ...], bound: int | None) -> int:
    """What one of the own model may take: full precision, a quarter for scales and indices, and its meta; the bound if that is less."""
    tensors = sum((4 if spec.floating else 8) * spec.count for spec in specs)
    largest = tensors * 5 // 4 + 4096 * len(specs) + MEGABYTE
    return largest if bound is None else min(bound, largest)


def raw_bytes(specs: tuple[TensorSpec, ...]) -> int:
    return sum((4 if spec.floating else 8) * spec.count for spec in specs)


def long_enough(config: Config, standing: LineageState) -> MinimumDuration:
    """As long as it takes to settle, and longer than one announcement counts as fresh."""
    return MinimumDuration(max(config.join.settle_rounds, config.node.fresh_rounds + 1), standing.settle_seconds)

"""Puts a node without a trainer together: a keeper or a provider. `build_any` makes the node that the file's role asks for."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING

from learnae.config.tables import SERVING, Config
from learnae.content.meta import MOST_META_BYTES, MOST_TENSORS
from learnae.identity.keys import Identity
from learnae.link.messages import Link
from learnae.node.build import build, make_receiver, make_sharing
from learnae.node.connections import ConnectionWatch
from learnae.node.fetching import Fetcher
from learnae.node.history import History
from learnae.node.keeping import UpdateKeeping
from learnae.node.kept import KeptSlices, KeptSliceTable, KeptTable, KeptUpdates
from learnae.node.node import Node
from learnae.node.relay import MessageRelay, MessageRelays
from learnae.node.reports import WatcherCalls
from learnae.node.retention import GarbageCollection
from learnae.node.runtime import Runtime
from learnae.node.sending import Heartbeat, Sender
from learnae.node.services import Services
from learnae.node.serving import ServingNode
from learnae.node.slice_catalogue import SliceCatalogue
from learnae.node.slice_keeping import SliceKeeping
from learnae.node.strategy_set import assemble
from learnae.records import MEGABYTE, Cid, PeerId

if TYPE_CHECKING:
    from learnae.plugins.manager import PluginManager

LARGEST_KEPT = 512 * MEGABYTE
"""The largest update that a keeper fetches where its file does not say: two may be in memory at once."""


AnyNode = Node | ServingNode


def build_any(config: Config, manager: PluginManager, identity: Identity, history: History, link: Link, runtime: Runtime) -> AnyNode:
    """Make a node of the role that the file names. It touches neither network nor storage yet. Raises ConfigError, PluginError."""
    make = build_serving if config.peer.role in SERVING else build
    return make(config, manager, identity, history, link, runtime)


def build_serving(
    config: Config, manager: PluginManager, identity: Identity, history: History, link: Link, runtime: Runtime
) -> ServingNode:
    """Make a node without a trainer. Raises ConfigError, PluginError."""
    watchers = WatcherCalls(manager, runtime)
    receiver = make_receiver(config, identity, history, runtime, watchers)
    strategies = assemble(config, manager, identity.peer, runtime, identity.sign_for_plugin, receiver.first_look)
    services = Services(runtime.outages)
    sender = Sender(
        identity=identity,
        swarm=strategies.swarm,
        strategies=strategies,
        history=history,
        receiver=receiver,
        services=services,
        runtime=runtime,
    )
    keeping = _keeping(config, sender) if config.peer.role == "keeper" else None
    slice_keeping = _slice_keeping(config, keeping) if keeping and config.data.accept_bytes and not config.swarm.weights_only else None
    sharing = make_sharing(config, sender)
    kept: Sequence[Container[Cid]] = [
        *([keeping.kept] if keeping else []),
        *([slice_keeping] if slice_keeping else []),
        *([sharing] if sharing else []),
    ]
    return ServingNode(
        link=link,
        strategies=strategies,
        services=services,
        receiver=receiver,
        history=history,
        sender=sender,
        heartbeat=Heartbeat(config.peer.role, strategies, services, sender, runtime.outages),
        garbage_collection=GarbageCollection(services, sender, history, runtime.in_thread, kept),
        keeping=keeping,
        slice_keeping=slice_keeping,
        sharing=sharing,
        watcher_calls=watchers,
        connection_watch=ConnectionWatch.of(services, strategies.services(), runtime),
        rules=config.node,
        runtime=runtime,
    )


def _keeping(config: Config, sender: Sender) -> UpdateKeeping:
    strategies, receiver, peers = sender.strategies, sender.receiver, sender.receiver.peers
    relays = {one: MessageRelay(one, strategies.swarm.channel, sender.services, peers.trusts) for one in strategies.announcers}
    bounds, quota = (MOST_TENSORS, MOST_META_BYTES, receiver.fetched), config.peer.quota_bytes - config.data.accept_bytes
    return UpdateKeeping(
        kept=KeptUpdates(quota, frozenset(map(PeerId, (*config.join.trust, *config.peer.allow)))),
        table=KeptTable(sender.history.database),
        fetcher=Fetcher(strategies.storages, sender.services, receiver.hints, sender.runtime.log, strategies.swarm.blocks, *bounds),
        sender=sender,
        relays=MessageRelays(sender.identity.peer, relays, strategies.swarm.alias),
        first_seconds=config.node.fetch_seconds,
        limit=min(config.peer.max_update_bytes or LARGEST_KEPT, quota),
    )


def _slice_keeping(config: Config, keeping: UpdateKeeping) -> SliceKeeping:
    sender, named, peers = keeping.sender, keeping.kept.named, keeping.sender.receiver.peers
    return SliceKeeping(
        kept=KeptSlices(config.data.accept_bytes, lambda peer: 2 if peer in named else int(peers.trusts(peer))),
        table=KeptSliceTable(sender.history.database),
        catalogue=SliceCatalogue(peers.trusts, sender.runtime.clock),
        fetcher=keeping.fetcher,
        sender=sender,
        relays=keeping.relays,
        first_seconds=config.node.fetch_seconds,
        licences=config.data.licences,
    )

"""Gossipsub with the settings without which messages are lost, and with bounds on all that others send.

Of the library's own ways are changed: messages are delivered as they come, not by a queue of 32; what is sent has longer queues and waits
while they are full; nothing is replayed to newcomers, who ask for the backlog; of control messages only those of known topics count.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.validators import signature_validator
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from learnae import Standing
from learnae_libp2p.addresses import counted_with
from learnae_libp2p.admission import COSTS, LONGEST_PAUSE, MessageAdmission
from learnae_libp2p.guards import GuardedService
from learnae_libp2p.messages import FRAME_BYTES, TOPIC_CHARACTERS, Signed, parse_frame
from learnae_libp2p.rpc_limits import TooManyEntriesError, count_entries, is_topic, trim_control
from learnae_libp2p.sockets import remote_of

HEARTBEAT_SECONDS = 1
QUEUE_MESSAGES = 512  # towards one peer
FULL = 64  # of them: who announces waits
RPC_BYTES = 128 << 10
SENT_RPC_BYTES = 64 << 10
TOPICS_PER_PEER = 32
CLOSE_SECONDS = 3.0
IN_A_ROW = 16
NAMES_FOR_A_MESSAGE = 8  # cost as much as one message


@attrs.frozen
class Bringer:
    """Who has brought a message, from where, and what it was worth when it came."""

    peer: str
    host: str
    standing: Standing


class BoundedGossipSub(GuardedService, GossipSub):  # type: ignore[misc]  # libp2p is not followed by mypy
    """The mesh: three peers for each topic, and each second a look at it."""

    @classmethod
    def make(cls) -> BoundedGossipSub:
        return cls(
            protocols=[PROTOCOL_ID_V11],
            degree=3,
            degree_low=2,
            degree_high=4,
            heartbeat_initial_delay=0.1,
            heartbeat_interval=HEARTBEAT_SECONDS,
            gossip_window=3,
            gossip_history=10,
            max_pending_messages_per_peer=1,
            spam_protection_enabled=False,  # its 10 messages a second are for each forwarder; ours are paced as they are read
            adaptive_gossip_enabled=False,  # where it thinks the mesh is unwell, it looks at it once a minute
            eclipse_protection_enabled=False,  # on one machine or behind one router all have one address
        )

    async def heartbeat(self) -> None:
        while True:
            try:
                await super().heartbeat()
            except Exception:
                self.failed_tasks += 1
            await trio.sleep(HEARTBEAT_SECONDS)

    def mesh_heartbeat(self) -> Any:
        for kept in (self.recent_message_deliveries, self.recent_peer_connections, self.recent_peer_disconnections):
            kept.clear()  # only the adaptive part, which is off, would
        return super().mesh_heartbeat()

    async def flush_pending_messages(self, peer_id: ID) -> None:
        """What was sent before a peer has subscribed is no news to it: it asks for the backlog."""
        self._pending_messages.pop(peer_id, None)

    async def handle_rpc(self, rpc: Any, sender_peer_id: ID) -> None:
        trim_control(rpc.control, self.pubsub.topic_ids)
        rpc.ClearField("senderRecord")
        await super().handle_rpc(rpc, sender_peer_id)


class BoundedPubsub(GuardedService, Pubsub):  # type: ignore[misc]  # libp2p is not followed by mypy
    """Calls `heard` once for each message that is signed and of our form, the own ones too."""

    def __init__(self, host: Any, router: BoundedGossipSub, admission: MessageAdmission, heard: Callable[[Signed, Bringer], None]) -> None:
        super().__init__(
            host,
            router,
            strict_signing=True,
            max_subscriptions_per_rpc=256,
            max_subscriptions_per_peer=TOPICS_PER_PEER,
            max_inbound_rpc_size=RPC_BYTES,
        )
        self.counter = time.time_ns()  # by seconds, a restarted peer would use numbers again, and not be heard
        self.admission = admission
        self._heard = heard
        self._own = Bringer(str(self.my_id), "", Standing.MEMBER)
        self._bringers: dict[int, Bringer] = {}  # of the messages that are being looked at

    async def continuously_read_stream(self, stream: Any) -> None:
        """One message after the other, no faster than its peer may speak. Who brings what nobody of the swarm would is disconnected."""
        peer, host = stream.muxed_conn.peer_id, self._host_of(stream.muxed_conn)
        while self.manager.is_running:
            try:
                incoming = await read_varint_prefixed_bytes_limited(stream, self.max_inbound_rpc_size)
            except StreamEOF:
                return
            try:
                entries = count_entries(incoming)
            except TooManyEntriesError:
                with trio.move_on_after(CLOSE_SECONDS):
                    await stream.muxed_conn.close()
                return
            rpc = rpc_pb2.RPC()
            rpc.ParseFromString(incoming)
            cost = _cost(len(incoming), entries, rpc) + await self._take(peer, host, rpc)
            if self.admission.is_foreign(str(peer)):
                self.manager.run_task(self._disconnect, peer)
                return
            await trio.sleep(self.admission.pause(str(peer), host, cost, len(self.peers)))

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> None:
        """Validators and strange keys may raise: that is one message lost, and not a stream."""
        try:
            await super().push_msg(msg_forwarder, msg)
        except Exception:
            self.failed_tasks += 1

    async def _take(self, peer: ID, host: str, rpc: Any) -> float:
        """What its messages have cost beyond what each costs."""
        cost = 0.0
        for number, message in enumerate(rpc.publish):
            if number % IN_A_ROW == IN_A_ROW - 1:
                await trio.lowlevel.checkpoint()  # for others to have their turn
            if well_formed(message) and self._is_subscribed_to_msg(message) and not self._is_msg_seen(message):
                cost += COSTS.get(await self._admit(peer, host, message), 0.0)
                if self.admission.is_foreign(str(peer)):
                    return cost
        for subscription in rpc.subscriptions[: self.max_subscriptions_per_rpc]:
            self.handle_subscription(peer, subscription)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc, peer)
        return cost

    async def _admit(self, peer: ID, host: str, message: Any) -> Standing:
        """Before the library checks its signature, and passes it on: what nobody here wants goes no further."""
        frame, bringer = parse_frame(message.data), str(peer)
        assert frame is not None, "well formed"
        standing = self.admission.standing(frame.message, message.from_id, bringer, host)
        if standing < Standing.STRANGER:
            await trio.lowlevel.checkpoint()
            return standing
        self._bringers[id(message)] = Bringer(bringer, host, standing)
        try:
            await self.push_msg(peer, message)
        finally:
            forged = self._bringers.pop(id(message), None) is not None
        if forged:  # nobody passes on what he can see not to be signed
            self.admission.note_foreign(bringer)
        return Standing.FOREIGN if forged else standing

    async def _disconnect(self, peer: ID) -> None:
        with trio.move_on_after(CLOSE_SECONDS):
            await self.host.get_network().close_peer(peer)

    def _host_of(self, muxed: Any) -> str:
        found = next((one for one in self.host.get_network().get_connections(muxed.peer_id) if one.muxed_conn is muxed), None)
        return counted_with(remote_of(found)) if found is not None else ""

    def handle_subscription(self, origin_id: ID, sub_message: Any) -> None:
        if is_topic(sub_message.topicid):
            super().handle_subscription(origin_id, sub_message)

    def notify_subscriptions(self, publish_message: Any) -> None:
        """Called for each new message that is validly signed; the library would put it into a queue of 32, and lose the 33rd."""
        bringer = self._bringers.pop(id(publish_message), self._own)
        if (signed := as_signed(publish_message)) is not None:
            self.admission.took(signed.message, bringer.peer)
            self._heard(signed, bringer)

    async def handle_dead_peer_queue(self) -> None:
        """As the library's, which looks only whether the peer is still there.

        One that came again before its old connection was seen to be dead would be written to on that one, and never hear what we have
        subscribed to.
        """
        async with self.dead_peer_receive_channel:
            self.event_handle_dead_peer_queue_started.set()
            async for peer in self.dead_peer_receive_channel:
                if self._is_stale(peer) or not self._peer_is_connected(peer):
                    self._handle_dead_peer(peer)

    async def _handle_new_peer(self, peer_id: ID) -> None:
        if self._is_stale(peer_id):
            self._handle_dead_peer(peer_id)  # and opens a new stream by itself
            return
        await super()._handle_new_peer(peer_id)
        if (queue := self.peer_queues.get(peer_id)) is not None:
            queue.max_message_size = SENT_RPC_BYTES
            queue._queue.max_size = QUEUE_MESSAGES

    def _handle_dead_peer(self, peer_id: ID) -> None:
        """Of a peer whose stream has died, and which is still there, we know what it has subscribed to: it will not say so again."""
        still = [topic for topic, peers in self.peer_topics.items() if peer_id in peers] if self._peer_is_connected(peer_id) else []
        super()._handle_dead_peer(peer_id)
        for topic in still:
            self.handle_subscription(peer_id, rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic))

    def _is_stale(self, peer: ID) -> bool:
        return (stream := self.peers.get(peer)) is not None and stream.muxed_conn.is_closed

    async def _replay_recent_messages(self, peer_id: ID, topic: str) -> None:
        """Newcomers ask for the backlog: what came before them is no news."""

    async def drained(self) -> None:
        """Returns when no peer has many messages waiting, and after a while all the same: who does not read keeps nobody silent."""
        with trio.move_on_after(LONGEST_PAUSE):
            while any(len(queue._queue) > FULL for queue in self.peer_queues.values()):  # noqa: ASYNC110  # the library tells nobody
                await trio.sleep(0.005)


@asynccontextmanager
async def open_gossip(host: Any, admission: MessageAdmission, heard: Callable[[Signed, Bringer], None]) -> AsyncIterator[BoundedPubsub]:
    """Gossipsub on this host while it is open; where the service ends by itself, so does what runs in it."""
    router = BoundedGossipSub.make()
    pubsub = BoundedPubsub(host, router, admission, heard)
    notifee = host.get_network().notifees[-1]
    try:
        async with background_trio_service(router), background_trio_service(pubsub):
            await pubsub.wait_until_ready()
            for peer in {connection.muxed_conn.peer_id for connection in host.get_network().get_connections()}:
                pubsub.manager.run_task(pubsub._handle_new_peer_with_retry, peer)
            yield pubsub
    finally:
        host.get_network().remove_notifee(notifee)
        for protocol in router.get_protocols():
            host.remove_stream_handler(protocol)


def _cost(size: int, entries: int, rpc: Any) -> float:
    told = len(rpc.publish) + len(rpc.subscriptions)
    return 1 + told + (entries - told) / NAMES_FOR_A_MESSAGE + size / 4096


def well_formed(message: Any) -> bool:
    """Whether it may be one of ours, told before its signature is checked."""
    return (
        len(message.topicIDs) == 1
        and len(message.topicIDs[0]) <= TOPIC_CHARACTERS
        and len(message.seqno) == 8
        and len(message.from_id) <= 64
        and len(message.data) <= FRAME_BYTES
        and parse_frame(message.data) is not None
    )


def as_signed(message: Any) -> Signed | None:
    """What the backlog keeps of it."""
    if not well_formed(message):
        return None
    frame = parse_frame(message.data)
    assert frame is not None, "well formed"
    return Signed(
        topic=message.topicIDs[0],
        sender=bytes(message.from_id),
        number=int.from_bytes(message.seqno, "big"),
        key=frame.key,
        message=frame.message,
        wire=message.SerializeToString(),
    )


def as_said(wire: bytes) -> Signed | None:
    """A message that somebody has kept, whoever has signed it. None for what is none."""
    try:
        message = rpc_pb2.Message()
        message.ParseFromString(wire)
        return as_signed(message)
    except Exception:  # the library raises what it likes
        return None


def verified(wire: bytes) -> bool:
    """Whether its sender has signed a message that somebody has kept. Never raises."""
    try:
        message = rpc_pb2.Message()
        message.ParseFromString(wire)
        return well_formed(message) and bool(signature_validator(message))
    except Exception:  # keys and names of any form: the library raises what it likes
        return False

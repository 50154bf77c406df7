"""Announcements over gossipsub: what the library loses, and what newcomers, returners and floods do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
import trio

from learnae import FirstLook, Heard, Standing, UnavailableError
from learnae.testing.context import all_are_members, make_context
from learnae_libp2p.admission import BURST, LONGEST_PAUSE, Pace
from learnae_libp2p.announcer import GossipsubAnnouncer
from learnae_libp2p.gossip import as_said, verified
from learnae_libp2p.messages import frame_of, topic_of
from learnae_libp2p.options import GossipsubOptions
from tests.support.libp2p_peers import LOOPBACK, NEEDS_LIBP2P, in_trio

pytest.importorskip("libp2p", reason=NEEDS_LIBP2P)

from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils.varint import encode_varint_prefixed


@attrs.define(eq=False)
class Ear:
    """An announcer that listens on channel c."""

    announcer: GossipsubAnnouncer
    heard: list[Heard] = attrs.field(factory=list)
    _news: trio.Event = attrs.field(factory=trio.Event)

    def deliver(self, heard: Heard) -> None:
        self.heard.append(heard)
        self._news.set()
        self._news = trio.Event()

    async def until(self, condition: Callable[[list[Heard]], bool]) -> None:
        while not condition(self.heard):
            await self._news.wait()

    async def hears(self, message: bytes) -> Heard:
        await self.until(lambda heard: any(one.message == message for one in heard))
        return next(one for one in self.heard if one.message == message)

    async def says(self, message: bytes, key: bytes = b"k") -> None:
        await self.announcer.announce(message, channel="c", replaces=key)

    async def meets(self, other: Ear) -> None:
        await self.announcer.transport.connect(other.announcer.transport.peer, other.announcer.transport.local_addresses())

    async def is_heard_by(self, other: Ear) -> None:
        """Until the mesh is there."""
        number = 0
        while not any(one.message.startswith(b"probe of " + self.name) and not one.backlog for one in other.heard):
            number += 1
            await self.says(b"probe of %s %d" % (self.name, number), b"probe")
            await trio.sleep(0.1)

    def connected(self) -> set[str]:
        return {one.peer for one in self.announcer.transport.connections()}

    @property
    def name(self) -> bytes:
        return self.announcer.transport.peer.encode()


FOREIGN = b"without the key"


def look_for_key(message: bytes) -> FirstLook:
    """As in a private swarm: most messages of these tests are of members."""
    return FirstLook(Standing.FOREIGN if message.startswith(FOREIGN) else Standing.MEMBER)


OpenEar = Callable[..., AbstractAsyncContextManager[Ear]]


@pytest.fixture
def open_ear(tmp_path: Path) -> OpenEar:
    @asynccontextmanager
    async def opened(name: str, *peers: Ear, listen: tuple[str, ...] = LOOPBACK, member: bool = True) -> AsyncIterator[Ear]:
        addresses = tuple(address for peer in peers for address in peer.announcer.transport.local_addresses())
        context = make_context(tmp_path / name, peer=name, first_look=look_for_key if member else all_are_members)
        made = GossipsubAnnouncer(GossipsubOptions(listen=listen, peers=addresses, mdns=False), context)
        async with made as announcer, trio.open_nursery() as nursery:
            ear = Ear(announcer)
            nursery.start_soon(announcer.listen, ["c"], ear.deliver)
            yield ear
            nursery.cancel_scope.cancel()

    return opened


def test_of_a_burst_far_above_the_library_s_queues_every_message_is_heard(open_ear: OpenEar) -> None:
    async def test() -> None:
        async with open_ear("a") as a, open_ear("b", a) as b, open_ear("c", b) as c:
            await a.is_heard_by(c)
            for number in range(300):
                await a.says(b"number %d " % number + bytes(1000), b"key %d" % number)
            for ear in (b, c):
                await ear.until(lambda heard: sum(one.message.startswith(b"number") for one in heard) >= 300)

    in_trio(test)


def test_a_newcomer_hears_the_newest_of_each_from_whom_it_meets_though_its_author_is_gone(open_ear: OpenEar) -> None:
    async def test() -> None:
        async with open_ear("b") as b:
            async with open_ear("a", b) as a:
                await a.is_heard_by(b)
                await a.says(b"old")
                await a.says(b"new")
                await b.hears(b"new")
            async with open_ear("c", b) as c:
                assert (await c.hears(b"new")).backlog
                assert not any(one.message == b"old" for one in c.heard)

    in_trio(test)


def test_a_peer_that_comes_again_with_its_key_is_heard_at_once(open_ear: OpenEar) -> None:
    async def test() -> None:
        async with open_ear("b") as b:
            for life in range(3):
                async with open_ear("a", b) as a:
                    await a.is_heard_by(b)
                    await a.says(b"life %d" % life)
                    assert not (await b.hears(b"life %d" % life)).backlog
                b.heard.clear()

    in_trio(test)


def test_after_a_partition_each_side_hears_what_the_other_has_said_meanwhile(open_ear: OpenEar) -> None:
    async def test() -> None:
        async with open_ear("a") as a, open_ear("b") as b:
            await a.meets(b)
            await a.is_heard_by(b)
            await b.is_heard_by(a)
            await a.announcer.transport.disconnect(b.announcer.transport.peer)
            for ear in (a, b):
                while ear.announcer.transport.connections():
                    await ear.announcer.host.news.wait()
            await a.says(b"a alone")
            await b.says(b"b alone")
            await a.meets(b)
            assert (await b.hears(b"a alone")).backlog
            assert (await a.hears(b"b alone")).backlog
            a.heard.clear(), b.heard.clear()
            await a.is_heard_by(b)
            await b.is_heard_by(a)

    in_trio(test)


def test_who_was_reached_once_is_found_again_by_a_file_that_names_nobody(open_ear: OpenEar) -> None:
    async def test() -> None:
        async with open_ear("b") as b:
            place = b.announcer.transport.local_addresses()[0].partition("/p2p/")[0]
            async with open_ear("a", b) as a:
                await a.is_heard_by(b)
        async with open_ear("b", listen=(place,)), open_ear("a") as a:
            while not a.announcer.transport.connections():
                await a.announcer.host.news.wait()

    in_trio(test)


def test_who_could_not_listen_is_entered_again_when_the_port_is_free(tmp_path: Path, open_ear: OpenEar) -> None:
    async def test() -> None:
        async with open_ear("a") as a:
            taken = a.announcer.transport.local_addresses()[0].partition("/p2p/")[0]
            announcer = GossipsubAnnouncer(GossipsubOptions(listen=(taken,), mdns=False), make_context(tmp_path / "b", peer="b"))
            with pytest.raises(ExceptionGroup) as failed:
                await announcer.__aenter__()
            assert failed.group_contains(UnavailableError)
        async with announcer:
            assert announcer.transport.local_addresses()[0].startswith(taken)

    in_trio(test)


def test_a_host_that_is_built_anew_hears_and_is_heard_again(open_ear: OpenEar) -> None:
    async def test() -> None:
        async with open_ear("a") as a, open_ear("b", a) as b:
            await b.is_heard_by(a)
            assert b.announcer.host.running is not None
            b.announcer.host.running.network.manager.cancel()
            while b.announcer.host.times_built < 2:
                await b.announcer.host.news.wait()
            a.heard.clear(), b.heard.clear()
            await b.is_heard_by(a)
            await a.is_heard_by(b)

    in_trio(test)


def test_long_lists_end_the_connection_and_topics_that_are_not_ours_are_forgotten(
    open_ear: OpenEar, capfd: pytest.CaptureFixture[str]
) -> None:
    async def test() -> None:
        async with open_ear("a") as a, open_ear("b", a) as b:
            await a.is_heard_by(b)
            gossip, its = a.announcer._gossip, b.announcer._gossip
            assert gossip is not None and its is not None
            rpc = rpc_pb2.RPC()
            for number in range(60):
                rpc.subscriptions.add(subscribe=True, topicid=f"{number}\x1b[2J\n")
            rpc.control.iwant.add(messageIDs=[b"no name of a message"] * 100)
            stream = gossip.peers[its.my_id]
            await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
            await a.says(b"still there")
            await b.hears(b"still there")
            assert set(its.peer_topics) <= {topic_of("c")}
            rpc.control.iwant.add(messageIDs=[b""] * 50_000)
            await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
            with trio.fail_after(20.0):
                while not stream.muxed_conn.is_closed:  # noqa: ASYNC110  # the library tells nobody
                    await trio.sleep(0.02)

    in_trio(test)
    assert "\x1b[2J" not in capfd.readouterr().err


def test_a_validator_that_raises_and_garbage_cost_one_message_each(open_ear: OpenEar) -> None:
    called = trio.Event()

    def validator(forwarder: object, message: object) -> bool:
        called.set()
        raise RuntimeError("no")

    async def test() -> None:
        async with open_ear("a") as a, open_ear("b", a) as b:
            await a.is_heard_by(b)
            gossip, its = a.announcer._gossip, b.announcer._gossip
            assert gossip is not None and its is not None
            its.set_topic_validator(topic_of("c"), validator, False)
            await a.says(b"lost", b"1")
            await called.wait()
            its.remove_topic_validator(topic_of("c"))
            for data in (b"", b"\x01", bytes(100_000)):
                await gossip.publish(topic_of("c"), data)
            gossip.strict_signing = False
            await gossip.publish(topic_of("c"), frame_of(b"unsigned", b"2"))
            gossip.strict_signing = True
            await a.says(b"afterwards", b"3")
            await b.hears(b"afterwards")
            assert not any(one.message in (b"lost", b"unsigned") for one in b.heard)
            assert b.announcer.host.times_built == 1

    in_trio(test)


def test_what_an_outsider_says_goes_no_further_and_he_is_disconnected(open_ear: OpenEar) -> None:
    async def test() -> None:
        async with open_ear("a") as a, open_ear("b", a) as b, open_ear("evil", a, member=False) as evil:
            await a.is_heard_by(b)
            await a.is_heard_by(evil)
            name = evil.announcer.transport.peer
            while any(one.peer == name for one in a.announcer.transport.connections()):
                await evil.says(FOREIGN + b" %d" % len(evil.heard), b"%f" % trio.current_time())
                await trio.sleep(0.01)
            await a.is_heard_by(b)
            await b.is_heard_by(a)
            for ear in (a, b):
                assert not any(one.message.startswith(FOREIGN) for one in ear.heard)
                assert not any(one.message.startswith(FOREIGN) for one in ear.announcer.kept.of([topic_of("c")]))

    in_trio(test)


@pytest.mark.slow
def test_members_hear_each_other_while_one_outsider_after_the_other_floods_them(open_ear: OpenEar) -> None:
    """Until it is disconnected; then comes the next."""
    floods, said = 2, 0

    async def test() -> None:
        nonlocal said
        async with open_ear("a") as a, open_ear("b", a) as b, trio.open_nursery() as nursery:
            await a.is_heard_by(b)

            async def flood() -> None:
                for number in range(floods):
                    async with open_ear(f"evil {number}", a, b, member=False) as evil:
                        left, sent = {a.announcer.transport.peer, b.announcer.transport.peer}, 0
                        while left - evil.connected():
                            await evil.announcer.host.news.wait()
                        evil.announcer.transport.watch(lambda left=left, evil=evil: left.intersection_update(evil.connected()))
                        while left:
                            sent += 1
                            with suppress(UnavailableError):
                                await evil.says(FOREIGN + b" %d" % sent, b"%d" % sent)
                            await trio.sleep(0.005)  # else the others, who are in this process as well, have no turn
                nursery.cancel_scope.cancel()

            nursery.start_soon(flood)
            while True:
                said += 1
                await a.says(b"a said %d" % said)
                await b.hears(b"a said %d" % said)
                await trio.sleep(0.05)

    in_trio(test)
    assert said > floods


def test_the_backlog_of_an_outsider_is_not_taken(open_ear: OpenEar) -> None:
    async def test() -> None:
        async with open_ear("evil", member=False) as evil:
            for number in range(100):
                await evil.says(FOREIGN + b" %d" % number, b"%d" % number)
            await evil.says(b"last", b"last")
            async with open_ear("a", evil) as a, open_ear("b", a) as b:
                await b.is_heard_by(a)
                assert not any(one.message.startswith(FOREIGN) for one in a.heard + b.heard)

    in_trio(test)


def test_who_sends_too_fast_is_read_more_slowly_and_no_slower_than_it_bears() -> None:
    pace = Pace()
    assert pace.pause(BURST, 100.0, 0.0) == 0.0
    assert pace.pause(50, 100.0, 0.0) == 0.5
    assert pace.pause(10_000, 100.0, 0.0) == LONGEST_PAUSE
    assert pace.pause(1, 100.0, 1000.0) == 0.0


@pytest.mark.parametrize("wire", [b"", b"\xff" * 100, b"\x0a\x01a", bytes(2000)])
def test_what_nobody_has_signed_is_no_message(wire: bytes) -> None:
    assert not verified(wire) or as_said(wire) is None

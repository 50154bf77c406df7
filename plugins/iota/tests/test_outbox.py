"""What waits to be sent, under virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

import attrs
import pytest
import trio
import trio.testing

from learnae import UnavailableError
from learnae_iota.outbox import MOST_KEYS, REPEATED_SECONDS, Outbox

LONGEST = 40.0


@attrs.define
class Post:
    """Notes what is sent, and when; fails while `broken`, and for what is `refused`; takes `seconds`."""

    sent: list[tuple[float, bytes]] = attrs.field(factory=list)
    broken: bool = False
    refused: frozenset[bytes] = frozenset()
    seconds: float = 0.0

    async def send(self, channel: str, message: bytes) -> None:
        await trio.sleep(self.seconds)
        if self.broken or message in self.refused:
            raise UnavailableError("no node")
        self.sent.append((trio.current_time(), message))

    @property
    def messages(self) -> list[bytes]:
        return [message for _, message in self.sent]


def in_virtual_time(test: Callable[[Post, Outbox], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def plain() -> None:
        async def run() -> None:
            post = Post()
            box = Outbox(post.send, LONGEST)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(box.run)
                await test(post, box)
                nursery.cancel_scope.cancel()

        trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))

    del plain.__wrapped__  # type: ignore[attr-defined]  # pytest would take its arguments for fixtures
    return plain


async def try_to_put(box: Outbox, key: bytes, message: bytes) -> None:
    with pytest.raises(UnavailableError, match="no node"):
        await box.put(("c", key), message)


@in_virtual_time
async def test_a_message_is_sent_at_once(post: Post, box: Outbox) -> None:
    await box.put(("c", b"k"), b"hello")
    assert post.messages == [b"hello"]


@in_virtual_time
async def test_what_cannot_be_sent_is_told_at_once_and_kept(post: Post, box: Outbox) -> None:
    post.broken = True
    before = trio.current_time()
    await try_to_put(box, b"k", b"hello")
    assert trio.current_time() == before
    post.broken = False
    await trio.sleep(5.0)
    assert post.messages == [b"hello"]


@in_virtual_time
async def test_only_the_newest_of_each_key_is_kept(post: Post, box: Outbox) -> None:
    post.broken = True
    for number in range(20):
        await try_to_put(box, b"a", b"a %d" % number)
        await try_to_put(box, b"b", b"b %d" % number)
    post.broken = False
    await trio.sleep(5.0)
    assert sorted(post.messages) == [b"a 19", b"b 19"]


@in_virtual_time
async def test_an_outage_is_not_hammered_at(post: Post, box: Outbox) -> None:
    post.broken = True
    tries = 0

    async def send(channel: str, message: bytes) -> None:
        nonlocal tries
        tries += 1
        raise UnavailableError("no node")

    box.send = send
    await try_to_put(box, b"k", b"hello")
    await trio.sleep(400.0)
    assert 50 < tries < 110


@in_virtual_time
async def test_messages_that_wait_are_replaced_and_told_so_once_the_newest_is_sent(post: Post, box: Outbox) -> None:
    post.seconds = 1.0
    async with trio.open_nursery() as nursery:
        for message in (b"first", b"second", b"third"):
            nursery.start_soon(box.put, ("c", b"k"), message)
            await trio.sleep(0.1)
    assert post.messages == [b"first", b"third"]
    assert trio.current_time() == pytest.approx(post.sent[-1][0])


@in_virtual_time
async def test_what_is_in_force_is_repeated_less_and_less_often(post: Post, box: Outbox) -> None:
    await box.put(("c", b"k"), b"old")
    await box.put(("c", b"k"), b"new")
    await trio.sleep(200.0)
    began = post.sent[1][0]
    assert [message for _, message in post.sent[1:]] == [b"new"] * len(post.sent[1:])
    assert [round(at - began) for at, _ in post.sent[1:]] == [0, 10, 30, 70, 110, 150, 190]


@in_virtual_time
async def test_what_is_new_goes_before_what_is_repeated(post: Post, box: Outbox) -> None:
    for number in range(5):
        await box.put(("c", b"%d" % number), b"old")
    post.sent.clear()
    post.seconds = 11.0
    await trio.sleep(11.0)
    await box.put(("c", b"k"), b"new")
    assert post.messages.index(b"new") <= 1


@in_virtual_time
async def test_a_message_that_no_node_takes_holds_up_no_other(post: Post, box: Outbox) -> None:
    post.refused = frozenset({b"bad"})
    await try_to_put(box, b"1", b"bad")
    await try_to_put(box, b"1", b"bad")
    await box.put(("c", b"2"), b"good")
    assert post.messages == [b"good"]
    await trio.sleep(100.0)
    await box.put(("c", b"2"), b"better")
    assert post.messages[-1] == b"better"


@in_virtual_time
async def test_a_message_that_no_node_takes_stops_no_repeats(post: Post, box: Outbox) -> None:
    post.refused = frozenset({b"bad"})
    await box.put(("c", b"1"), b"good")
    await try_to_put(box, b"2", b"bad")
    await trio.sleep(90.0)
    assert post.messages == [b"good"] * 4


@in_virtual_time
async def test_a_repeat_that_no_node_takes_holds_up_nothing_that_waits(post: Post, box: Outbox) -> None:
    await box.put(("c", b"1"), b"good")
    post.broken = True
    await try_to_put(box, b"2", b"waits")
    await trio.sleep(400.0)
    post.broken, post.refused = False, frozenset({b"good"})
    await trio.sleep(10.0)
    assert post.messages == [b"good", b"waits"]


@in_virtual_time
async def test_what_is_not_announced_anew_is_repeated_for_a_while_and_then_forgotten(post: Post, box: Outbox) -> None:
    """Its sender may be dead: a relay would repeat it for ever."""
    await box.put(("c", b"dead"), b"the last")
    for number in range(60):
        await box.put(("c", b"alive"), b"number %d" % number)
        await trio.sleep(2 * REPEATED_SECONDS / 60)
    times = [at for at, message in post.sent if message == b"the last"]
    assert REPEATED_SECONDS - LONGEST <= times[-1] - times[0] <= REPEATED_SECONDS
    assert set(box._entries) == {("c", b"alive")}


@in_virtual_time
async def test_what_was_kept_through_a_long_outage_is_repeated_after_it(post: Post, box: Outbox) -> None:
    post.broken = True
    await try_to_put(box, b"k", b"hello")
    await trio.sleep(2 * REPEATED_SECONDS)
    post.broken = False
    await trio.sleep(100.0)
    assert len(post.messages) > 3


@in_virtual_time
async def test_a_relay_of_a_hundred_peers_repeats_its_own_as_well(post: Post, box: Outbox) -> None:
    await box.put(("c", b"own"), b"own")
    for number in range(300):
        await box.put(("c", b"%d" % number), b"another's")
    post.sent.clear()
    await trio.sleep(LONGEST)
    assert b"own" in post.messages


@in_virtual_time
async def test_of_too_many_the_one_that_was_announced_longest_ago_is_forgotten(post: Post, box: Outbox) -> None:
    for number in range(MOST_KEYS):
        await box.put(("c", b"%d" % number), b"hello")
    await box.put(("c", b"0"), b"hello again")
    await box.put(("c", b"one more"), b"hello")
    assert ("c", b"0") in box._entries
    assert ("c", b"1") not in box._entries


@in_virtual_time
async def test_it_does_not_grow_without_end(post: Post, box: Outbox) -> None:
    for number in range(3 * MOST_KEYS):
        await box.put(("c", b"%d" % number), b"hello")
    assert len(box._entries) == MOST_KEYS

"""What waits to be sent, under virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

import attrs
import pytest
import trio
import trio.testing

from learnae import Unavailable
from learnae_iota.outbox import MOST_KEYS, Outbox

LONGEST = 40.0


@attrs.define
class Post:
    """Notes what is sent, and when; fails while `broken`; takes `seconds`."""

    sent: list[tuple[float, bytes]] = attrs.field(factory=list)
    broken: bool = False
    seconds: float = 0.0

    async def send(self, channel: str, message: bytes) -> None:
        await trio.sleep(self.seconds)
        if self.broken:
            raise Unavailable("no node")
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
    with pytest.raises(Unavailable, match="no node"):
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
        raise Unavailable("no node")

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
    async def send(channel: str, message: bytes) -> None:
        if message == b"bad":
            raise Unavailable("no node")
        await post.send(channel, message)

    box.send = send
    await try_to_put(box, b"1", b"bad")
    await try_to_put(box, b"1", b"bad")
    await box.put(("c", b"2"), b"good")
    assert post.messages == [b"good"]
    await trio.sleep(100.0)
    await box.put(("c", b"2"), b"better")
    assert post.messages[-1] == b"better"


@in_virtual_time
async def test_it_does_not_grow_without_end(post: Post, box: Outbox) -> None:
    for number in range(3 * MOST_KEYS):
        await box.put(("c", b"%d" % number), b"hello")
    assert len(box._entries) == MOST_KEYS

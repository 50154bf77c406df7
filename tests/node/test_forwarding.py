"""What a relay says on which medium, and what it does when too much comes at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import attrs
import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from learnae.node.fetching import Transfer
from learnae.node.inbox import InboxEntry
from learnae.node.relay import LONGEST_SECONDS, MESSAGES_A_SECOND, MOST_WAITING, MessageRelay, Relay
from learnae.node.runtime import Outages
from learnae.node.services import Services
from learnae.node.strategy_set import ConfiguredStrategy
from learnae.records import Announcement, AnnouncementKind, Leaving, Present
from learnae.strategies import Announcer
from learnae.testing.context import peer_named
from learnae.testing.swarm import run_in_virtual_time

BODIES = {AnnouncementKind.PRESENT: Present(), AnnouncementKind.LEAVING: Leaving()}


def entry(peer: str, number: int, kind: AnnouncementKind = AnnouncementKind.PRESENT) -> InboxEntry:
    name = f"{peer}/{kind.value}/{number}".encode()
    return InboxEntry(
        Announcement(swarm=b"s" * 16, peer=peer_named(peer), number=number, body=BODIES[kind]),
        hashlib.sha256(name).digest(),
        name,
        0.0,
        1,
        False,
    )


class Medium(Announcer):
    """Notes when what was said, under which key."""

    max_bytes = 4096

    def __init__(self) -> None:
        self.said: list[tuple[float, bytes, bytes]] = []

    async def __aenter__(self) -> Medium:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def announce(self, message: bytes, *, channel: str, replaces: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.said.append((trio.current_time(), replaces, message))

    async def listen(self, channels: Sequence[str], deliver: Any) -> None: ...

    @property
    def messages(self) -> list[bytes]:
        return [message for *_, message in self.said]


def alias(text: str) -> bytes:
    return text.encode()


@attrs.define
class Nothing:
    """Stands for a peer with one storage, or with one that it writes to: there is nothing to carry."""

    needed: bool = False
    there: bool = True

    def targets(self, transfer: Transfer) -> list[Any]:
        return []

    def still_there(self, entry: InboxEntry) -> bool:
        return self.there

    async def run(self, done: Any) -> None: ...


Heard = st.tuples(
    st.integers(0, 2),
    st.sampled_from("ab"),
    st.integers(1, 6),
    st.sampled_from([AnnouncementKind.PRESENT, AnnouncementKind.LEAVING]),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(Heard, max_size=30))
def test_on_each_medium_numbers_rise_and_nothing_comes_that_was_heard_there_before(heard):
    """The third field of what is heard is a step of the number: as the inbox lets through."""

    async def main() -> None:
        numbers: dict[Any, int] = {}
        known: dict[tuple[int, bytes], bool] = {}
        async with trio.open_nursery() as nursery:
            services = Services(Outages(structlog.get_logger()))
            named = [ConfiguredStrategy(f"m{i}", "plugin", Medium(), True, f"announcer m{i}") for i in range(3)]
            await services.open(named, nursery)
            forwarding = {one: MessageRelay(one, "channel", services, lambda peer: peer == peer_named("a")) for one in named}
            relay = Relay(peer_named("relay"), forwarding, alias, Nothing())  # type: ignore[arg-type]
            nursery.start_soon(relay.run)
            for medium, peer, step, kind, pause in heard:
                numbers[peer, kind] = numbers.get((peer, kind), 0) + step
                said = entry(peer, numbers[peer, kind], kind)
                relay.hear(named[medium], said, news=True)
                known[medium, said.message] = True
                relay.hear(named[(medium + step) % 3], said, news=False)
                known[(medium + step) % 3, said.message] = True
                if pause:
                    await trio.sleep(1)
            await trio.sleep(10)
            for index, one in enumerate(named):
                messages = one.strategy.messages
                assert len(set(messages)) == len(messages)
                assert not [message for message in messages if (index, message) in known]
                for replaces in {replaces for _, replaces, _ in one.strategy.said}:
                    of_key = [int(message.split(b"/")[-1]) for _, key, message in one.strategy.said if key == replaces]
                    assert of_key == sorted(of_key)
            nursery.cancel_scope.cancel()

    run_in_virtual_time(main)


@pytest.fixture
def said_by(bench):
    """What one medium was told, when a relay has heard these on another one at once."""

    def run(*heard: InboxEntry, trusted: Any = lambda peer: True, ready: bool = True, seconds: float = 20.0) -> Medium:
        async def main() -> Medium:
            async with trio.open_nursery() as nursery:
                made = await bench(nursery, Medium(), Medium())
                forwarding = {named: MessageRelay(named, "channel", made.services, trusted) for named in made.named}
                relay = Relay(peer_named("relay"), forwarding, alias, Nothing())  # type: ignore[arg-type]
                for one in heard:
                    relay.hear(made.named[0], one, news=True)
                await trio.sleep(0 if ready else LONGEST_SECONDS + 1)
                nursery.start_soon(relay.run)
                await trio.sleep(seconds)
                nursery.cancel_scope.cancel()
                return made.named[1].strategy

        return run_in_virtual_time(main)

    return run


def test_of_what_waits_under_one_key_the_newest_is_said(said_by):
    assert said_by(entry("a", 1), entry("a", 2), entry("b", 1), entry("a", 3)).messages == [b"a/4/3", b"b/4/1"]


def test_the_key_is_that_of_its_owner(said_by):
    ((_, replaces, _),) = said_by(entry("a", 1)).said
    assert replaces == f"{peer_named('a')}/{AnnouncementKind.PRESENT.value}".encode()


def test_a_flood_of_strangers_is_bounded_slow_and_holds_up_nobody_who_is_known(said_by):
    flood = [entry(f"stranger-{i}", 1) for i in range(1000)]
    medium = said_by(*flood, entry("friend", 1), *flood[:10], trusted=lambda peer: peer == peer_named("friend"))
    assert medium.messages[0] == b"friend/4/1"
    assert len(medium.messages) <= MOST_WAITING
    times = [seconds for seconds, *_ in medium.said]
    assert min(b - a for a, b in pairwise(times)) >= 1 / MESSAGES_A_SECOND - 1e-9


def test_what_has_waited_too_long_is_not_said_any_more(said_by):
    assert said_by(entry("a", 1), ready=False).messages == []


@pytest.mark.parametrize(("there", "messages"), [(True, [b"a/4/1"]), (False, [])], ids=["there", "left meanwhile"])
def test_what_came_from_the_only_storage_that_is_written_to_is_announced_at_once_where_it_was_not_heard(bench, there, messages):
    async def main() -> list[list[bytes]]:
        async with trio.open_nursery() as nursery:
            made = await bench(nursery, Medium(), Medium())
            forwarding = {named: MessageRelay(named, "channel", made.services, lambda peer: True) for named in made.named}
            relay = Relay(peer_named("relay"), forwarding, alias, Nothing(needed=True, there=there))  # type: ignore[arg-type]
            relay.message_relays[made.named[0]].note(entry("a", 1))
            relay.fetched(entry("a", 1), Transfer(1))
            nursery.start_soon(relay.run)
            await trio.sleep(5)
            nursery.cancel_scope.cancel()
            return [named.strategy.messages for named in made.named]

    assert run_in_virtual_time(main) == [[], messages]

"""A peer that has lost its home and kept its key, and somebody who has kept all that it ever said and shows it to it again, live."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs
import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from learnae.identity import envelopes
from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import Identity
from learnae.identity.swarms import channel, swarm_id
from learnae.node.receive import FORGIVEN_SECONDS, KEPT, LONGEST_PAUSE, PAUSE_SECONDS, SequenceNumbers
from learnae.records import Announcement, AnnouncementKind, Body, Leaving, Present, Update
from learnae.testing.context import make_runtime
from tests.support.clocks import Clock
from tests.support.hostile import cheap_signatures

pytestmark = pytest.mark.virtual_time

LINEAGE, SWARM = b"lineage1", swarm_id("default")
KINDS = [AnnouncementKind.UPDATE, AnnouncementKind.PRESENT, AnnouncementKind.LEAVING]


@attrs.define
class Life:
    """A home, with the number that it uses next of each kind."""

    numbers: SequenceNumbers
    clock: Clock
    said: list[int] = attrs.field(factory=list)

    def says(self, kind: AnnouncementKind, count: int = 1) -> int:
        for _ in range(count):
            number = max(self.numbers.used.get(kind, 0), self.numbers.raised.get(kind, 0)) + 1
            assert self.numbers.take(kind, number)
            assert self.numbers.elsewhere or self.numbers.send(kind, number)
            self.said.append(number)
        return number

    def hears(self, kind: AnnouncementKind, *numbers: int, backlog: bool = False) -> Life:
        for number in numbers:
            self.numbers.hear(kind, number, backlog=backlog)
        return self


def life(seed: int = 0) -> Life:
    clock = Clock()
    return Life(SequenceNumbers(make_runtime(clock=clock, seed=seed)), clock)


@pytest.mark.parametrize("kind", KINDS)
def test_every_old_message_one_after_the_other_raises_the_number_and_stops_nothing(kind: AnnouncementKind) -> None:
    peer = life()
    with capture_logs() as logs:
        for old in range(1, 501):
            peer.hears(kind, old)
            assert not peer.numbers.elsewhere
            assert peer.says(kind) > 500
    assert [line["event"] for line in logs] == ["identity.raised"]


@pytest.mark.parametrize("kind", KINDS)
def test_old_messages_that_are_kept_back_until_they_are_above_what_was_said_since_stop_nothing(kind: AnnouncementKind) -> None:
    """Each is above the newest of this life when it is shown: nothing but its number tells it from a second peer's."""
    peer, stock = life(), iter(range(1, 10_000))
    for _ in range(200):
        newest = peer.says(kind)
        if (old := next((number for number in stock if number > newest), None)) is not None:
            peer.hears(kind, old)
        assert not peer.numbers.elsewhere


@given(shown=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 1 << 32), st.integers(0, 5), st.booleans())))
def test_whatever_one_earlier_life_has_said_in_whatever_order_never_pauses_a_peer(
    shown: list[tuple[AnnouncementKind, int, int, bool]],
) -> None:
    peer = life()
    for kind, old, said, backlog in shown:
        peer.hears(kind, old, backlog=backlog)
        assert not peer.numbers.elsewhere
        if said:
            peer.says(kind, said)


def test_two_homes_that_were_lost_cost_one_pause_and_it_ends() -> None:
    """The second life has leapt already, so its numbers may lie above the leap of the third."""
    for seed in range(20):
        first = life(seed)
        first.says(AnnouncementKind.UPDATE, 500)
        second = life(seed + 100).hears(AnnouncementKind.UPDATE, *first.said)
        second.says(AnnouncementKind.UPDATE, 500)
        third, pauses = life(seed + 200), 0
        for old in (*first.said, *second.said):
            third.hears(AnnouncementKind.UPDATE, old)
            if third.numbers.elsewhere:
                pauses += 1
                third.clock.now += PAUSE_SECONDS
            assert not third.numbers.elsewhere
            third.says(AnnouncementKind.UPDATE)
        assert pauses <= 1


def test_two_lives_that_were_shown_the_same_old_message_do_not_go_on_with_the_same_numbers() -> None:
    """Two different messages under one number are what others refuse a peer for, for good."""
    one, other = (life(seed).hears(AnnouncementKind.UPDATE, 500) for seed in (1, 2))
    one.says(AnnouncementKind.UPDATE, 1000)
    other.says(AnnouncementKind.UPDATE, 1000)
    assert not set(one.said) & set(other.said)


@pytest.mark.parametrize("backlog", [False, True])
def test_nothing_is_said_again_under_a_number_of_the_life_before(backlog: bool) -> None:
    """Also where only a part of it was heard: whoever shows the rest to others proves nothing."""
    peer = life().hears(AnnouncementKind.UPDATE, 41, backlog=backlog)
    peer.says(AnnouncementKind.UPDATE, 1000)
    assert min(peer.said) > 1 << 32


def test_who_hears_another_that_follows_its_numbers_pauses_ever_longer_and_says_so_each_time() -> None:
    peer = life()
    with capture_logs() as logs:
        pauses = []
        for _ in range(12):
            peer.hears(AnnouncementKind.UPDATE, peer.says(AnnouncementKind.UPDATE) + 1)
            before = peer.clock.now
            while peer.numbers.elsewhere:
                peer.clock.now += PAUSE_SECONDS / 4
            pauses.append(peer.clock.now - before)
    assert pauses[:4] == [0, PAUSE_SECONDS, 2 * PAUSE_SECONDS, 4 * PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE
    assert [line["event"] for line in logs] == ["identity.raised", *["identity.elsewhere"] * 11]


def test_who_has_heard_no_other_for_hours_begins_with_a_short_pause_again() -> None:
    peer = life()
    for pause in (0, PAUSE_SECONDS, 2 * PAUSE_SECONDS):
        peer.hears(AnnouncementKind.UPDATE, peer.says(AnnouncementKind.UPDATE) + 1)
        peer.clock.now += pause
        assert not peer.numbers.elsewhere
    peer.clock.now += FORGIVEN_SECONDS + 1
    peer.hears(AnnouncementKind.UPDATE, peer.says(AnnouncementKind.UPDATE) + 1)
    peer.clock.now += PAUSE_SECONDS
    assert not peer.numbers.elsewhere


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("above", [0, 1, 1000])
@pytest.mark.parametrize("backlog", [False, True])
def test_a_number_that_is_heard_before_it_is_sent_is_given_up(kind: AnnouncementKind, above: int, backlog: bool) -> None:
    peer = life()
    peer.says(kind, 5)
    assert peer.numbers.take(kind, 6)
    peer.hears(kind, 6 + above, backlog=backlog)
    assert not peer.numbers.send(kind, 6)
    assert peer.says(kind) > 1 << 32


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_that_another_is_heard_above_while_it_comes_from_the_disk_is_not_taken(kind: AnnouncementKind) -> None:
    peer = life().hears(kind, 7)
    assert not peer.numbers.take(kind, 3)
    assert not peer.numbers.elsewhere
    assert peer.says(kind) > 1 << 32


def test_who_is_heard_under_a_number_that_was_given_up_has_used_it_and_those_around_it() -> None:
    peer = life()
    assert peer.numbers.take(AnnouncementKind.UPDATE, 1)  # nothing came of it
    peer.says(AnnouncementKind.UPDATE, 5)
    assert peer.hears(AnnouncementKind.UPDATE, 1).says(AnnouncementKind.UPDATE) > 1 << 32


def test_what_is_heard_of_the_own_messages_raises_nothing() -> None:
    peer = life()
    peer.says(AnnouncementKind.UPDATE, 100)
    peer.hears(AnnouncementKind.UPDATE, *peer.said)
    assert peer.says(AnnouncementKind.UPDATE) == 101


def test_a_peer_that_publishes_in_vain_remembers_so_many_numbers_and_no_more() -> None:
    peer = life()
    for number in range(1, 3 * KEPT):
        peer.numbers.take(AnnouncementKind.UPDATE, number)
    assert sum(not peer.numbers.is_old(AnnouncementKind.UPDATE, number) for number in range(1, 3 * KEPT)) == KEPT


@pytest.mark.parametrize("rate", [100, 2_000])
def test_its_own_old_messages_cost_a_peer_no_checks_and_hide_no_second_peer_from_it(monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    checks, listener = cheap_signatures.Checks(), cheap_signatures.Listener()
    monkeypatch.setattr(envelopes, "verify", checks.verify)
    listener.hears([cheap_signatures.said("me", 100_000)])
    before = checks.made
    listener.hears((cheap_signatures.said("me", number) for number in range(1, 2 * rate)), seconds=2.0)
    assert checks.made == before
    numbers = listener.receiver.numbers
    listener.hears([cheap_signatures.said("me", numbers.used[AnnouncementKind.UPDATE] + 1)])
    assert numbers.elsewhere


# -- the whole peer --------------------------------------------------------------------------------------------------------------


def bodies(world: Any, identity: Identity) -> dict[AnnouncementKind, Body]:
    stranger = world.stranger()
    update = stranger.update(stranger.pack().root)
    assert isinstance(update, Update)
    return {AnnouncementKind.UPDATE: update, AnnouncementKind.PRESENT: Present(), AnnouncementKind.LEAVING: Leaving()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("polled", [False, True])
async def test_a_peer_that_lost_its_home_is_merged_though_all_its_old_messages_are_shown(
    a_world: Any, kind: AnnouncementKind, polled: bool
) -> None:
    async with a_world() as world:
        world.swarm.medium.look_seconds = 0.5 if polled else None
        alice, bob = world.honest(2)
        await trio.sleep(10)
        body = bodies(world, alice.identity)[kind]
        for old in range(2_000, 2_040):
            message = encode_envelope(alice.identity, Announcement(swarm=SWARM, peer=alice.peer, number=old, body=body))
            world.swarm.medium.send("mallory", (channel(SWARM), b"old" if polled else old.to_bytes(4, "big")), message)
            await trio.sleep(1)
        since = len(alice.trainer.reports), len(bob.trainer.reports)
        await trio.sleep(30)
        (since, then) = since
    assert all(report.published is not None for report in alice.trainer.reports)
    assert sum(v.merged for report in bob.trainer.reports[then:] for v in report.verdicts if v.peer == alice.peer) >= 10
    assert len(alice.trainer.reports) > since


async def test_two_that_run_under_one_key_say_so_within_a_few_rounds_and_take_turns(a_world: Any) -> None:
    with capture_logs() as logs:
        async with a_world() as world:
            [bob] = world.honest(1)
            one, other = (twin(world, index) for index in range(2))
            one.start()
            await trio.sleep(6)
            other.start()
            await trio.sleep(10)
            said = [line["event"] for line in logs].count("identity.elsewhere")
            await trio.sleep(75)
    assert said >= 1
    assert [line["event"] for line in logs].count("identity.elsewhere") > said
    assert "equivocation" not in bob.history.counts()
    assert any(v.merged for report in bob.trainer.reports[-60:] for v in report.verdicts if v.peer == one.peer)


def twin(world: Any, index: int) -> Any:
    """A peer with the key of the other and a home of its own."""
    peer = world.swarm.peer(f"twin-{index}", {"w": np.ones(64, np.float32)}, lambda model: 1)
    peer.trainer.progress = attrs.evolve(peer.trainer.progress, lineage=LINEAGE, age=100)
    peer.identity = Identity.generate(hashlib.sha256(b"twin").digest())
    return peer

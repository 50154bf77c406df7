"""Rubbish costs its sender nothing, and a check of its signature costs us: so many are made in a second, and honest peers lose none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import cbor2
import pytest

from learnae.identity import envelopes
from learnae.node.rate_limits import KEYS
from learnae.records import AnnouncementKind, Leaving
from tests.support.hostile.cheap_signatures import OPEN, PRIVATE, Checks, Listener, forged, said, signer, update
from tests.support.hostile.signed_floods import (
    FLOODS,
    SWARM_PEERS,
    all_of_it_was_heard_before,
    all_that_is_said,
    beside_a_flood,
    by_a_thousand_keys,
    by_new_keys,
    by_one_member,
    sealed_otherwise,
)


def test_a_thousand_peers_that_are_all_new_lose_nothing(checks: Checks) -> None:
    assert Listener().hears((said(name, 1) for name in SWARM_PEERS), seconds=0.1) == 1_000


def test_the_backlog_of_a_thousand_peers_is_taken_at_once_and_again_after_a_restart(checks: Checks) -> None:
    listener = Listener()
    for _ in range(2):  # a medium that breaks shows it again each time
        listener.hears(all_that_is_said(1), backlog=True)
    assert set(listener.refusals) <= {"duplicate", "replay"}
    assert len(listener.receiver.inbox.known) == 1_000


def test_a_thousand_peers_of_two_rounds_a_second_lose_nothing_once_their_burst_is_over(checks: Checks) -> None:
    listener = Listener()
    listener.hears(all_that_is_said(1), backlog=True)
    listener.hears(said(name, number) for number in range(2, 12) for name in SWARM_PEERS)
    for number in range(12, 24):
        assert listener.hears((said(name, number) for name in SWARM_PEERS), seconds=0.5) == 1_000
    assert listener.refusals == {}


@pytest.mark.parametrize("seconds", [0.0, 5.0], ids=["at once", "spread"])
def test_rounds_that_were_held_up_and_come_together_are_taken(checks: Checks, seconds: float) -> None:
    listener = Listener()
    listener.hears(all_that_is_said(1), backlog=True)
    assert listener.hears((said(name, number) for number in range(2, 12) for name in SWARM_PEERS), seconds=seconds) == 10_000


def test_what_is_said_again_costs_no_check_and_is_counted_as_before(checks: Checks) -> None:
    listener = Listener()
    listener.hears(said(name, 5) for name in SWARM_PEERS)
    made = checks.made
    for _ in range(5):
        listener.hears(said(name, 5) for name in SWARM_PEERS)
    listener.hears(said(name, 4) for name in SWARM_PEERS)
    assert listener.refusals == {"duplicate": 5_000, "replay": 1_000}
    assert checks.made == made


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_flood_costs_a_bounded_number_of_checks_and_a_peer_that_was_heard_before_loses_nothing(flood: Any, checks: Checks) -> None:
    listener = Listener()
    all_of_it_was_heard_before(listener)
    costs, taken = beside_a_flood(flood, listener, checks, 2, ["honest-0"])
    assert costs[-1] <= FLOODS[flood]
    assert taken == 4


@pytest.mark.slow
@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_no_flood_grows_dearer_or_louder_in_the_course_of_time(flood: Any, checks: Checks) -> None:
    listener = Listener()
    all_of_it_was_heard_before(listener)
    costs, taken = beside_a_flood(flood, listener, checks, 8, ["honest-0"])
    assert sum(costs[-5:]) <= 5 * FLOODS[flood]
    assert taken == 16


def test_whoever_forges_a_peer_on_one_medium_does_not_silence_it_on_another_nor_for_longer(checks: Checks) -> None:
    listener = Listener()
    listener.hears([said("honest-0", 1)])
    listener.hears((forged("honest-0", number) for number in range(2, 5_000)), seconds=1.0)
    assert listener.hears([said("honest-0", 2)], medium="tangle") == 1
    listener.now += 0.3
    assert listener.hears([said("honest-0", 3)]) == 1


def test_a_few_forgeries_a_second_silence_nobody(checks: Checks) -> None:
    listener = Listener()
    listener.hears([said("honest-0", 1)])
    for number in range(2, 22):
        listener.hears((forged("honest-0", number + other) for other in range(100)), seconds=1.0)
        assert listener.hears([said("honest-0", number)]) == 1


def test_what_a_peer_has_signed_long_ago_hides_it_from_nobody_who_has_heard_its_newest(checks: Checks) -> None:
    listener = Listener()
    listener.hears([said("honest-0", 5_000)], backlog=True)
    listener.hears((said("honest-0", number) for number in range(1, 5_000)), seconds=1.0)
    assert listener.hears([said("honest-0", 5_001)]) == 1


def test_a_member_that_floods_is_told_apart_from_a_medium_that_is_crowded(checks: Checks) -> None:
    spammed, crowded = Listener(), Listener()
    numbers = count(1)
    spammed.hears(by_one_member(numbers) for _ in range(1_000))
    crowded.hears(by_new_keys(numbers) for _ in range(10_000))
    assert set(spammed.refusals) == {"too-often"}
    assert set(crowded.refusals) == {"crowded"}


def test_noise_without_the_seal_of_a_private_swarm_costs_neither_checks_nor_the_share_of_its_members(checks: Checks) -> None:
    listener, numbers = Listener(swarm=PRIVATE), count(2)
    listener.hears([said("honest-0", 1, swarm=PRIVATE)])
    listener.hears((sealed_otherwise(numbers) for _ in range(20_000)), seconds=1.0)
    assert checks.made == 1
    assert listener.hears([said(name, 2, swarm=PRIVATE) for name in SWARM_PEERS]) == 1_000


def test_what_is_remembered_of_keys_is_bounded(checks: Checks) -> None:
    listener, numbers = Listener(), count(1)
    listener.accepts(f"sybil-{number}" for number in range(3_000))
    for _ in range(2):
        listener.hears((by_a_thousand_keys(numbers) for _ in range(5_000)), seconds=1.0)
        listener.hears((by_new_keys(numbers) for _ in range(5_000)), seconds=1.0)
    [medium] = listener.receiver.signature_budget._media.values()
    assert all(len(keys) <= KEYS for keys in medium.keys.values())


def test_an_old_message_with_a_wrong_signature_is_neither_kept_nor_taken_for_a_checked_one(checks: Checks) -> None:
    """When the mark of its peer is forgotten, it has to be checked."""
    listener = Listener()
    listener.hears([said("honest-0", 5)])
    listener.hears([forged("honest-0", 4), forged("honest-0", 5)])
    assert listener.refusals == {"replay": 1, "duplicate": 1}
    listener.receiver.inbox.marks.clear()
    listener.receiver.inbox.forget(signer("honest-0").peer)
    assert listener.hears([forged("honest-0", 4), forged("honest-0", 5)]) == 0
    assert listener.refusals["signature"] == 2


def test_a_message_that_fills_an_empty_inbox_again_is_checked(checks: Checks) -> None:
    """It may be handed on to others, who look at its signature."""
    listener = Listener()
    listener.hears([said("honest-0", 5)])
    listener.receiver.inbox.forget(signer("honest-0").peer)
    assert listener.hears([forged("honest-0", 5)]) == 0
    assert listener.hears([said("honest-0", 5)]) == 1


def test_equivocation_is_still_proven(checks: Checks) -> None:
    listener = Listener()
    listener.hears([said("honest-0", 5), said("honest-0", 5, update(7))])
    assert listener.refusals == {"equivocation": 1}
    assert listener.receiver.inbox.get(signer("honest-0").peer, AnnouncementKind.UPDATE) is None
    assert listener.hears([said("other", 1), said("other", 1, Leaving())]) == 2


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of CBOR were decoded in each message, and how many looked over."""
    bytes_ = [0, 0]

    def counting(which: int, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(data: bytes, *args: Any, **options: Any) -> Any:
            bytes_[which] += len(data)
            return real(data, *args, **options)

        return call

    monkeypatch.setattr(envelopes.cbor2, "loads", counting(0, cbor2.loads))
    monkeypatch.setattr(envelopes, "look_over", counting(1, envelopes.look_over))
    return bytes_


FILLING: dict[str, list[Any]] = {"lists": [[]] * 900, "mappings": [{}] * 900, "numbers": [0] * 900}


def unsigned(filling: str, fields: dict[int, Any], times: int) -> Iterator[bytes]:
    payload = cbor2.dumps({**fields, 2: 1, 30: FILLING[filling]}, canonical=True)
    return (b"\x01" + number.to_bytes(32, "big") + bytes(64) + payload for number in range(times))


@pytest.mark.parametrize("filling", FILLING)
@pytest.mark.parametrize("head", [{0: OPEN.id, 1: 99}, {0: bytes(16), 1: 1}], ids=["unknown kind", "other swarm"])
def test_of_what_is_of_another_kind_or_swarm_nothing_is_decoded(head: dict[int, Any], filling: str, decoded: list[int]) -> None:
    """A message of 1 KB that held 900 empty mappings took as long as ten signatures, and was counted nowhere."""
    listener = Listener()
    listener.hears(unsigned(filling, head, 1_000), seconds=1.0)
    assert sum(listener.refusals.values()) == 1_000
    assert set(listener.refusals) <= {"unknown-kind", "foreign"}
    assert decoded == [0, 0]


@pytest.mark.parametrize("filling", FILLING)
def test_of_what_holds_more_items_than_any_announcement_nothing_is_decoded_and_each_is_counted(filling: str, decoded: list[int]) -> None:
    listener = Listener()
    listener.hears(unsigned(filling, {0: OPEN.id, 1: 1}, 7_000), seconds=1.0)
    assert set(listener.refusals) == {"malformed", "crowded"}
    assert decoded[0] == 0
    assert listener.refusals["malformed"] <= 6_000


def test_what_a_later_version_puts_into_an_announcement_is_heard(checks: Checks) -> None:
    """Ten times what version 1 needs, within a message."""
    fields = {0: OPEN.id, 1: int(AnnouncementKind.LEAVING), 2: 1, 40: [list(range(20)) for _ in range(10)], 41: {"a": [{"b": 1}]}}
    payload = cbor2.dumps(fields, canonical=True)
    identity = signer("later")
    listener = Listener()
    message = b"\x01" + bytes.fromhex(identity.peer) + identity.sign(b"learnae/announcement/1" + payload) + payload
    assert listener.hears([message]) == 1

"""What an outsider's messages cost: they are neither checked nor passed on, and he is read more slowly and then not at all."""

from __future__ import annotations

import hashlib

from learnae import FirstLook, PeerId, Standing
from learnae_libp2p.addresses import ED25519
from learnae_libp2p.admission import (
    ALL_STRANGERS_AT_ONCE,
    FOREIGN_AT_ONCE,
    LONGEST_PAUSE,
    STRANGERS_AT_ONCE,
    UNKNOWN_PER_SECOND,
    MessageAdmission,
)
from tests.support.clocks import Clock

ALICE = PeerId(hashlib.sha256(b"alice").hexdigest())
SIGNED_BY_ALICE = ED25519 + bytes.fromhex(ALICE)
SENDER = ED25519 + bytes(32)
LOOKS = {
    b"sealed": FirstLook(Standing.MEMBER, ALICE),
    b"stranger": FirstLook(Standing.STRANGER, ALICE),
    b"accepted": FirstLook(Standing.ACCEPTED, ALICE),
    b"old": FirstLook(Standing.UNWANTED, ALICE),
}


def admission(clock: Clock) -> MessageAdmission:
    return MessageAdmission(first_look=lambda message: LOOKS.get(message.split()[0], FirstLook(Standing.FOREIGN)), clock=clock)


def test_who_brings_what_nobody_of_the_swarm_would_is_read_slowly_and_soon_not_at_all() -> None:
    door = admission(Clock())
    for _ in range(int(FOREIGN_AT_ONCE)):
        assert not door.is_foreign("evil")
        assert door.standing(b"garbage", SENDER, "evil", "host") is Standing.FOREIGN
    assert door.is_foreign("evil") and not door.is_foreign("honest")
    assert door.pause("evil", "host", 10_000.0, 4) == LONGEST_PAUSE


def test_who_passes_on_what_is_old_or_not_wanted_here_stays() -> None:
    door = admission(Clock())
    for number in range(1000):
        assert door.standing(b"old %d" % number, SENDER, "honest", "host") is Standing.UNWANTED
    assert not door.is_foreign("honest")


def test_new_identities_of_one_host_are_read_no_faster_and_members_beside_them_are() -> None:
    clock = Clock()
    door = admission(clock)
    door.took(b"sealed", "member")
    for identity in range(100):
        door.pause(f"evil {identity}", "host", 20.0, 50)
    assert door.pause("one more", "host", 1.0, 50) > 1.0
    assert door.pause("member", "host", 1.0, 50) == 0.0
    assert door.pause("elsewhere", "another host", 1.0, 50) == 0.0
    clock.now += 10.0
    assert door.pause("one more", "host", UNKNOWN_PER_SECOND, 50) == 0.0


def test_one_message_is_passed_on_once_whoever_signs_it_anew() -> None:
    clock = Clock()
    door = admission(clock)
    assert door.standing(b"sealed", SENDER, "a", "host") is Standing.MEMBER
    assert door.standing(b"sealed", SENDER, "a", "host") is Standing.MEMBER, "nobody has found it signed yet"
    door.took(b"sealed", "a")
    assert door.standing(b"sealed", SIGNED_BY_ALICE, "b", "host") is Standing.UNWANTED
    clock.now += 60.0
    assert door.standing(b"sealed", SIGNED_BY_ALICE, "b", "host") is Standing.MEMBER


def test_strangers_have_a_share_by_host_and_one_together_and_take_nothing_from_those_who_count() -> None:
    door = admission(Clock())
    passed = [door.standing(b"stranger %d" % number, SENDER, f"peer {number}", "host") for number in range(3000)]
    assert passed.count(Standing.STRANGER) == STRANGERS_AT_ONCE
    everywhere = [door.standing(b"stranger at %d" % number, SENDER, "peer", f"host {number}") for number in range(3000)]
    assert passed.count(Standing.STRANGER) + everywhere.count(Standing.STRANGER) == ALL_STRANGERS_AT_ONCE
    assert door.standing(b"accepted", SIGNED_BY_ALICE, "peer", "host") is Standing.ACCEPTED
    assert door.standing(b"sealed", SENDER, "peer", "host") is Standing.MEMBER


def test_the_name_of_an_accepted_peer_counts_only_with_its_signature() -> None:
    door = admission(Clock())
    assert door.standing(b"accepted", SENDER, "peer", "host") is Standing.STRANGER
    assert door.standing(b"accepted", SIGNED_BY_ALICE, "peer", "host") is Standing.ACCEPTED

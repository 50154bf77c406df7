"""Samples cost a bounded number of signature checks, whoever floods: of one key, and of all keys together."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from learnae.errors import UpdateRejectedError
from learnae.identity.envelopes import encode_envelope
from learnae.identity.keys import Identity
from learnae.node.rate_limits import SignatureBudget
from learnae.records import Announcement, AnnouncementKind, Leaving, PeerId, Sample
from tests.support.clocks import Clock

SWARM = b"s" * 16


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[PeerId]:
    found: list[PeerId] = []
    monkeypatch.setattr("learnae.identity.envelopes.verify", lambda peer, *_: found.append(peer) or True)
    return found


def budget(clock: Callable[[], float], heard: bool = True, unwanted: tuple[AnnouncementKind, ...] = ()) -> SignatureBudget:
    def known(peer: PeerId) -> bool:
        return heard

    def never(*_: object) -> bool:
        return False

    return SignatureBudget(SWARM, clock, known, never, known, never, unwanted=unwanted)


def message(identity: Identity, number: int, body: Sample | Leaving | None = None) -> bytes:
    return encode_envelope(identity, Announcement(swarm=SWARM, peer=identity.peer, number=number, body=body or Sample(b"readings")))


def opened(limits: SignatureBudget, data: bytes) -> str:
    try:
        limits.open(data, "a", backlog=False)
    except UpdateRejectedError as error:
        return error.reason
    return ""


def test_one_sensor_has_no_more_than_its_share(clock: Clock, verified: list[PeerId]) -> None:
    identity, limits = Identity.generate(b"1" * 32), budget(clock)
    reasons = [opened(limits, message(identity, number)) for number in range(600)]
    assert reasons.count("") == len(verified) == 400 and set(reasons) == {"", "too-often"}


def test_all_sensors_together_have_their_share_and_leave_all_else_its_own(clock: Clock, verified: list[PeerId]) -> None:
    limits = budget(clock)
    for place in range(12):
        said = message(Identity.generate(bytes([place + 1]) * 32), 1)
        for _ in range(400):
            opened(limits, said)
    assert len(verified) == 4_000
    clock.now = 1.0
    said = message(Identity.generate(b"\x63" * 32), 1)
    assert [opened(limits, said) for _ in range(300)].count("") == 200
    before = len(verified)
    assert opened(limits, message(Identity.generate(b"\x01" * 32), 10_000, Leaving())) == "" and len(verified) == before + 1


def test_kinds_that_are_not_wanted_cost_nothing(clock: Clock, verified: list[PeerId]) -> None:
    identity, limits = Identity.generate(b"1" * 32), budget(clock, unwanted=(AnnouncementKind.SAMPLE,))
    assert {opened(limits, message(identity, number)) for number in range(50)} == {"unwanted-kind"}
    assert not verified and opened(limits, message(identity, 1, Leaving())) == ""

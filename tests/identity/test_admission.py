from __future__ import annotations

from learnae.identity.keys import Admission
from learnae.records import PeerId

ANN, BEN = PeerId("a1" * 32), PeerId("b2" * 32)
TWIN = PeerId(ANN[:62] + "c3")


def test_everyone_is_heard_where_nobody_is_named() -> None:
    assert Admission().refuses(ANN) is None


def test_only_allowed_peers_are_heard_once_one_is_named() -> None:
    admission = Admission(allow=[ANN])
    assert admission.refuses(ANN) is None
    assert admission.refuses(BEN) == "not-allowed"


def test_a_denied_peer_is_not_heard() -> None:
    admission = Admission(deny=[ANN])
    assert admission.refuses(ANN) == "denied"
    assert admission.refuses(BEN) is None


def test_a_peer_that_is_allowed_and_denied_is_denied() -> None:
    assert Admission(allow=[ANN, BEN], deny=[ANN]).refuses(ANN) == "denied"


def test_a_key_that_begins_alike_is_another_peer() -> None:
    assert Admission(allow=[ANN]).refuses(TWIN) == "not-allowed"
    assert Admission(deny=[ANN]).refuses(TWIN) is None

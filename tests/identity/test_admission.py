from __future__ import annotations

import pytest

from learnae.errors import ConfigError
from learnae.identity.admission import Admission
from learnae.records import PeerId

ANN, BEN = PeerId("a1" * 32), PeerId("b2" * 32)
TWIN = PeerId(ANN[:8] + "c3" * 28)


def test_everyone_is_heard_where_nobody_is_named() -> None:
    assert Admission().refuses(ANN) is None


def test_only_allowed_peers_are_heard_once_one_is_named() -> None:
    admission = Admission(allow=[ANN])
    assert admission.refuses(ANN) is None
    assert admission.refuses(BEN) == "not-allowed"


def test_a_denied_peer_is_not_heard() -> None:
    admission = Admission(deny=[ANN[:8]])
    assert admission.refuses(ANN) == "denied"
    assert admission.refuses(BEN) is None


def test_names_may_be_short_and_in_capitals() -> None:
    assert Admission(allow=[ANN[:8].upper()]).refuses(ANN) is None


def test_a_short_name_that_two_peers_bear_admits_neither() -> None:
    admission = Admission(allow=[ANN[:8], BEN])
    assert admission.refuses(ANN) is None
    assert admission.refuses(TWIN) == "ambiguous"
    assert admission.refuses(ANN) == "ambiguous"
    assert admission.refuses(BEN) is None


def test_a_whole_key_cannot_be_made_ambiguous() -> None:
    admission = Admission(allow=[ANN])
    assert admission.refuses(TWIN) == "not-allowed"
    assert admission.refuses(ANN) is None


def test_a_short_denied_name_denies_all_who_bear_it() -> None:
    admission = Admission(deny=[ANN[:8]])
    assert (admission.refuses(ANN), admission.refuses(TWIN)) == ("denied", "denied")


@pytest.mark.parametrize("name", ["", "a1a1a1a", "ann", "a1" * 32 + "a", "g" * 64, "a1a1a1a1\n"])
def test_what_is_no_key_is_a_config_error_that_says_how_to_write_one(name: str) -> None:
    with pytest.raises(ConfigError, match=r"peer.deny: .* is not the key of a peer .*64 hexadecimal digits"):
        Admission(deny=[name])


def test_all_bad_names_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        Admission(allow=["x", ANN[:10], ANN], deny=["y"])
    assert [problem.key for problem in error.value.problems] == ["peer.allow", "peer.deny", "peer.allow, peer.deny"]


def test_a_peer_that_is_both_allowed_and_denied_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="may be the same peer"):
        Admission(allow=[ANN], deny=[ANN])

"""What is written here in plain Python is what PyOTA writes; and what strangers write is nothing."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae_iota import curl, kerl
from learnae_iota.building import LIGHT_WEIGHT, Builder
from learnae_iota.line import NodeApi
from learnae_iota.places import Places, window_of
from learnae_iota.pyota import load_pyota
from learnae_iota.transactions import MESSAGE_BYTES, NOTHING, MessageTag, make, read, sent_at
from learnae_iota.trytes import from_bytes, from_message, from_number, to_message, to_number
from tests.support.tangle import litter

PLACE = Places.of("channel", None).at(7)
PARENTS = ("A" * 81, "B" * 81)
MILLISECONDS = 1_795_869_294_123


@pytest.fixture(scope="module")
def iota() -> Any:
    return load_pyota()


def message(size: int = MESSAGE_BYTES) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, 500, MESSAGE_BYTES])
def test_a_transaction_is_the_same_as_pyotas(size: int) -> None:
    built = Builder.load(1).build(message(size), PLACE, PARENTS, MILLISECONDS)
    assert make(message(size), PLACE, PARENTS, MILLISECONDS) == built


def test_hashes_are_the_same_as_pyotas(iota: Any) -> None:
    transaction = make(message(), PLACE, PARENTS, MILLISECONDS)
    assert curl.hash_of(transaction) == iota.Transaction.from_tryte_string(transaction).hash
    assert kerl.bundle_hash(transaction[2187:2349]) == transaction[2349:2430]


@pytest.mark.parametrize("size", [0, 1, 47, 48, 103, 104, 105, 208, 300])
def test_keccak_is_the_same_as_that_of_an_extension(size: int) -> None:
    sha3 = pytest.importorskip("sha3")
    assert kerl.keccak_384(message(size)) == sha3.keccak_384(message(size)).digest()


@pytest.mark.parametrize("weight", [1, 3])
def test_a_nonce_makes_the_hash_end_with_zeros(iota: Any, weight: int) -> None:
    worked = curl.with_nonce(make(b"hello", PLACE, PARENTS, MILLISECONDS), weight)
    assert iota.Transaction.from_tryte_string(worked).hash.as_trits()[-weight:] == [0] * weight
    assert curl.is_worked(worked, weight)


def test_a_search_can_be_ended_from_outside() -> None:
    with pytest.raises(InterruptedError):
        curl.with_nonce(make(b"hello", PLACE, PARENTS, MILLISECONDS), 60, lambda: True)


def test_a_heavy_nonce_is_found_by_the_extension() -> None:
    builder = Builder.load(LIGHT_WEIGHT + 3)
    if builder.search is None:
        pytest.skip("needs pyota-pow, built for this machine")
    made = builder.make(NodeApi("http://127.0.0.1:1", 1.0), b"hello", PLACE, PARENTS, MILLISECONDS)
    assert curl.is_worked(made, builder.weight)
    assert read(made, frozenset({PLACE})) == b"hello"


@given(st.binary(max_size=MESSAGE_BYTES))
def test_any_message_comes_back(data: bytes) -> None:
    assert to_message(from_message(data).ljust(2187, "9")) == data


@given(st.integers(-(3**27 - 1) // 2, (3**27 - 1) // 2))
def test_any_number_comes_back(number: int) -> None:
    assert to_number(from_number(number, 9)) == number


def test_bytes_are_written_as_pyota_writes_them(iota: Any) -> None:
    assert from_bytes(bytes(range(256))) == str(iota.TryteString.from_bytes(bytes(range(256))))


def test_what_was_made_is_read_at_its_place_and_nowhere_else() -> None:
    made = make(b"hello", PLACE, PARENTS, MILLISECONDS)
    other = Places.of("channel", None).at(8)
    assert read(made, frozenset({PLACE, other})) == b"hello"
    assert read(made, frozenset({other, MessageTag(PLACE.address, other.tag), MessageTag(other.address, PLACE.tag)})) is None
    assert sent_at(made) == MILLISECONDS


def test_litter_is_nothing() -> None:
    for transaction in islice(litter(PLACE, MILLISECONDS), 20):
        assert curl.is_worked(transaction, 1)
        assert read(transaction, frozenset({PLACE})) is None


@pytest.mark.parametrize("garbage", [None, 7, "", "9" * 2673, "a" * 2673, "\N{SNOWMAN}" * 2673, "A" * 2674, ["9"] * 2673])
def test_what_is_no_transaction_is_nothing(garbage: object) -> None:
    assert read(garbage, frozenset({PLACE})) is None


def test_places_differ_by_channel_by_time_and_by_secret() -> None:
    places = [Places.of(channel, secret).at(window) for channel in ("a", "b") for secret in (None, b"s", b"t") for window in (0, 1)]
    assert len({place.address for place in places}) == len({place.tag for place in places}) == len(places)
    assert Places.of("a", b"s").at(3) == Places.of("a", b"s").at(3)


def test_an_address_is_one_that_nodes_accept(iota: Any) -> None:
    for window in range(100):
        address = Places.of("a", None).at(window).address
        assert iota.Address(address).as_trits()[-1] == 0


def test_no_secret_can_be_told_from_places() -> None:
    assert "secret" not in repr(Places.of("a", b"secret"))


def test_a_window_is_the_same_for_all() -> None:
    assert [window_of(seconds) for seconds in (0.0, 19.9, 20.0, 1_000_000.0)] == [0, 0, 1, 50_000]


def test_the_largest_message_fills_one_transaction() -> None:
    assert len(make(message(), PLACE, (NOTHING, NOTHING), MILLISECONDS)) == 2673

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from learnae.identity.swarms import channel, swarm_id


def test_an_open_swarm_is_named_by_the_hash_of_its_name() -> None:
    assert swarm_id("digits") == hashlib.sha256(b"learnae/swarm/1" + b"\0\0\0\0\0\0\0\x06digits").digest()[:16]


def test_the_key_makes_another_swarm() -> None:
    assert len({swarm_id("digits", key) for key in (None, b"", b"a", b"b")}) == 4


def test_a_swarm_of_weights_only_is_another_one_with_the_same_name_or_key() -> None:
    found = {swarm_id("digits", key, weights_only=only) for key in (None, b"a") for only in (False, True)}
    assert len(found) == 4


@given(st.text(max_size=4), st.binary(max_size=4), st.text(max_size=4), st.binary(max_size=4))
def test_different_pairs_are_different_swarms(name: str, key: bytes, other: str, other_key: bytes) -> None:
    assert (swarm_id(name, key) == swarm_id(other, other_key)) == ((name, key) == (other, other_key))


def test_a_channel_is_the_id_in_hexadecimal() -> None:
    assert channel(bytes(range(16))) == "000102030405060708090a0b0c0d0e0f"

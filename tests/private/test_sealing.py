"""The cipher, and what it makes of blocks and announcements."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learnae.content.cids import is_dag, raw_cid
from learnae.content.encryption import NO_ENCRYPTION, AesSiv, room
from learnae.content.pack import Packed, pack
from learnae.errors import UpdateRejectedError
from learnae.identity.envelopes import ENVELOPE_BYTES, decode_envelope, encode_envelope
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.records import BLOCK_BYTES, Announcement, AnnouncementKind, Body, Encoded, Leaving, PeerId, Present, TensorSpec
from tests.support.records import an_update

SEAL = AesSiv(bytes(range(64)))
OTHER = AesSiv(bytes(64))
SWARM = SwarmIdentity("digits", SwarmKey(bytes(range(32))))
PEER = PeerId("0f" * 32)
KIB = 1024

plain = st.binary(min_size=1, max_size=200)


# -- the cipher ------------------------------------------------------------------------------------------------------------------


def test_the_example_of_the_standard_is_sealed_as_it_says() -> None:
    """RFC 5297, A.1, without its associated data, would need other numbers: so from an independent implementation of S2V and CTR."""
    data = bytes(range(1, 41))
    assert SEAL.seal(data)[:16] == synthetic(bytes(range(32)), data)


def synthetic(key: bytes, data: bytes) -> bytes:
    """S2V of one string of at least 16 bytes (RFC 5297, 2.4), by CMAC."""
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.cmac import CMAC

    def cmac(text: bytes) -> bytes:
        mac = CMAC(AES(key))
        mac.update(text)
        return mac.finalize()

    tail = bytes(one ^ other for one, other in zip(data[-16:], cmac(bytes(16)), strict=True))
    return cmac(data[:-16] + tail)


@given(plain)
def test_what_was_sealed_opens_and_is_longer_by_what_the_seal_says(data: bytes) -> None:
    assert SEAL.open(SEAL.seal(data)) == data
    assert len(SEAL.seal(data)) == len(data) + SEAL.overhead


@given(plain, plain)
def test_equal_bytes_are_sealed_alike_and_others_otherwise(data: bytes, other: bytes) -> None:
    assert (AesSiv(bytes(range(64))).seal(memoryview(data)) == SEAL.seal(other)) == (data == other)


@given(plain, st.integers(0, 215), st.integers(1, 255))
def test_a_changed_byte_is_noticed(data: bytes, place: int, change: int) -> None:
    sealed = bytearray(SEAL.seal(data))
    sealed[place % len(sealed)] ^= change
    with pytest.raises(UpdateRejectedError, match="seal"):
        SEAL.open(bytes(sealed))


@given(st.binary(max_size=200))
def test_what_was_never_sealed_or_with_another_key_does_not_open(data: bytes) -> None:
    for garbage in (data, OTHER.seal(data or b"x"), SEAL.seal(data or b"x")[:-1]):
        with pytest.raises(UpdateRejectedError) as caught:
            SEAL.open(garbage)
        assert caught.value.reason == "seal"


# -- blocks ----------------------------------------------------------------------------------------------------------------------


def packed(*sizes: int, encryption: AesSiv = SEAL, number: int = 1) -> Packed:
    entries = [(TensorSpec(name=f"t{i}", dtype="float32", shape=(size,)), Encoded(bytes([i]) * size)) for i, size in enumerate(sizes)]
    return pack(entries, peer=PEER, kind=AnnouncementKind.UPDATE, number=number, codec="int8", encryption=encryption)


def test_no_block_is_larger_after_sealing_than_before() -> None:
    blocks = packed(room(SEAL), room(SEAL) + 1, 3 * BLOCK_BYTES, 5).blocks
    assert max(len(block.data) for block in blocks) == BLOCK_BYTES


def test_two_members_with_the_same_weights_make_the_same_blocks_and_with_other_keys_others() -> None:
    def data(result: Packed) -> set[str]:
        return {block.cid for block in result.blocks if not is_dag(block.cid) and len(block.data) > 100 * KIB}

    assert data(packed(200 * KIB, 300 * KIB)) == data(packed(200 * KIB, 300 * KIB, number=2))
    assert data(packed(200 * KIB)) & data(packed(200 * KIB, encryption=OTHER)) == set()


def test_a_storage_finds_sealed_blocks_by_the_hash_of_what_it_holds() -> None:
    assert all(block.cid == raw_cid(block.data) for block in packed(5, 200 * KIB).blocks if not is_dag(block.cid))


# -- announcements ---------------------------------------------------------------------------------------------------------------

ANN = Identity.generate(b"a" * 32)
UPDATE = an_update(raw_cid(b""), sketch=bytes(400))


def said(body: Body, *, swarm: SwarmIdentity = SWARM) -> bytes:
    return encode_envelope(ANN, Announcement(swarm=swarm.id, peer=ANN.peer, number=7, body=body), encryption=swarm.messages)


@pytest.mark.parametrize("body", [UPDATE, Present({"ipfs": ("/ip4/10.0.0.1/tcp/4001",)}), Leaving()])
def test_a_member_reads_what_a_member_says(body: Body) -> None:
    assert decode_envelope(said(body), SWARM.id, SWARM.messages).announcement.body == body


def test_a_message_is_as_long_as_allowed_after_sealing() -> None:
    hints = {f"store{number}": tuple("x" * 60 for _ in range(8)) for number in range(4)}
    message = said(Present(hints))
    assert ENVELOPE_BYTES - 70 < len(message) <= ENVELOPE_BYTES
    opened = decode_envelope(message, SWARM.id, SWARM.messages).announcement.body
    assert isinstance(opened, Present) and 0 < sum(map(len, opened.hints.values())) < 32


def test_a_message_shows_neither_who_speaks_nor_of_what() -> None:
    message = said(UPDATE)
    for secret in (bytes.fromhex(ANN.peer), SWARM.id, b"int8", b"l" * 8, bytes(16)):
        assert secret not in message


def test_a_plain_message_is_refused_for_its_missing_seal_before_anything_of_it_is_read() -> None:
    plain = encode_envelope(ANN, Announcement(swarm=SWARM.id, peer=ANN.peer, number=7, body=Leaving()))
    for message in (plain, b"", b"\1" * 500, said(Leaving(), swarm=SwarmIdentity("digits", SwarmKey(bytes(32))))):
        with pytest.raises(UpdateRejectedError) as caught:
            decode_envelope(message, SWARM.id, SWARM.messages)
        assert caught.value.reason == "seal"


def test_an_oversized_message_is_not_even_opened() -> None:
    @attrs.define
    class Never(AesSiv):
        def open(self, data: bytes) -> bytes:
            raise AssertionError

    with pytest.raises(UpdateRejectedError, match="oversized"):
        decode_envelope(bytes(ENVELOPE_BYTES + 1), SWARM.id, Never.__new__(Never))


def test_a_member_cannot_speak_for_another_swarm_or_another_member() -> None:
    foreign = encode_envelope(
        ANN, Announcement(swarm=SwarmIdentity("letters").id, peer=ANN.peer, number=7, body=Leaving()), encryption=SWARM.messages
    )
    with pytest.raises(UpdateRejectedError, match="foreign"):
        decode_envelope(foreign, SWARM.id, SWARM.messages)
    envelope = SWARM.messages.open(said(Leaving()))
    forged = SWARM.messages.seal(envelope[:1] + bytes.fromhex(Identity.generate(b"b" * 32).peer) + envelope[33:])
    with pytest.raises(UpdateRejectedError, match="signature"):
        decode_envelope(forged, SWARM.id, SWARM.messages)


def test_an_open_swarm_seals_nothing() -> None:
    assert SwarmIdentity("digits").blocks is NO_ENCRYPTION and SwarmIdentity("digits").messages is NO_ENCRYPTION

"""The key as text, and what is derived from it."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from learnae.identity.swarms import PREFIX, SwarmIdentity, SwarmKey, looks_like_a_key, swarm_id

KEY = SwarmKey(bytes(range(32)))
TEXT = "learnae-key-1-aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypzbqbs"
SYMBOLS = "abcdefghijklmnopqrstuvwxyz234567"

secrets = st.binary(min_size=32, max_size=32)


def test_the_text_of_a_key_is_the_key_and_three_bytes_of_a_checksum_in_base32() -> None:
    data = base64.b32decode(KEY.text().removeprefix("learnae-key-1-").upper())
    assert data == bytes(range(32)) + hashlib.sha256(b"learnae-key-1-" + bytes(range(32))).digest()[:3]
    assert KEY.text() == TEXT


@given(secrets, st.sampled_from(["", " ", "\n", "\r\n", "\t"]), st.booleans())
def test_a_key_comes_out_of_its_text_whatever_the_editor_did_to_the_line(secret: bytes, space: str, upper: bool) -> None:
    text = SwarmKey(secret).text()
    assert SwarmKey.parse(space + (text.upper() if upper else text) + space).secret() == secret


def test_no_two_generated_keys_are_alike() -> None:
    assert len({SwarmKey.generate().text() for _ in range(100)}) == 100


WORDS = {"is empty", f"is no key of a swarm: one begins with {PREFIX}", "is mistyped or cut off: its checksum is wrong"}


def is_refused(text: str) -> bool:
    """By words that are always the same, and so repeat nothing of it."""
    with pytest.raises(ValueError, match="is") as caught:
        SwarmKey.parse(text)
    return str(caught.value) in WORDS


@given(secrets, st.integers(0, 55), st.sampled_from(SYMBOLS))
def test_one_wrong_letter_is_noticed(secret: bytes, place: int, letter: str) -> None:
    text = SwarmKey(secret).text()
    place += len(PREFIX)
    if text[place] != letter:
        assert is_refused(text[:place] + letter + text[place + 1 :])


@given(secrets, st.integers(0, 54))
def test_two_letters_in_each_others_place_are_noticed(secret: bytes, place: int) -> None:
    text, place = SwarmKey(secret).text(), place + len(PREFIX)
    if text[place] != text[place + 1]:
        assert is_refused(text[:place] + text[place + 1] + text[place] + text[place + 2 :])


@given(secrets, st.integers(0, 69))
def test_a_key_that_was_cut_off_is_noticed(secret: bytes, length: int) -> None:
    assert is_refused(SwarmKey(secret).text()[:length])


@given(st.text())
@example(PREFIX)
@example(PREFIX + "ß" * 56)
@example("0" * 64)
@example(TEXT + "=")
def test_what_is_no_key_is_refused_by_words_that_do_not_repeat_it(text: str) -> None:
    assert is_refused(text)


def test_a_key_does_not_show_itself() -> None:
    shown = f"{KEY!r} {KEY} {SwarmIdentity('digits', KEY)!r}"
    assert KEY.text() not in shown and "\\x01\\x02" not in shown and "000102" not in shown


def test_text_that_looks_like_a_key_is_told_from_the_name_of_a_variable() -> None:
    assert looks_like_a_key(f" {KEY.text().upper()}\n")
    assert not looks_like_a_key("LEARNAE_KEY")


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with SHA-256 and no salt."""
    extracted, block, out = hmac.digest(bytes(32), secret, "sha256"), b"", b""
    for number in range(1, 1 + -(-length // 32)):
        block = hmac.digest(extracted, block + info + bytes([number]), "sha256")
        out += block
    return out[:length]


def test_a_derived_key_is_hkdf_over_each_word_with_its_length() -> None:
    info = b"\0\0\0\0\0\0\0\x02ab" + b"\0\0\0\0\0\0\0\x01c"
    assert KEY.derive(64, "ab", "c") == hkdf(bytes(range(32)), info, 64)


@given(st.lists(st.text(max_size=3), max_size=3), st.lists(st.text(max_size=3), max_size=3))
def test_other_words_give_another_key(words: list[str], others: list[str]) -> None:
    assert (KEY.derive(32, *words) == KEY.derive(32, *others)) == (words == others)


def test_a_strategy_has_a_secret_of_its_own_in_a_private_swarm_and_none_in_an_open_one() -> None:
    private, other = SwarmIdentity("digits", KEY), SwarmIdentity("letters", KEY)
    assert SwarmIdentity("digits").secret("radio") is None
    assert private.secret("radio") == hkdf(bytes(range(32)), _framed("learnae/secret/1", "digits", "radio"), 32)
    assert len({private.secret("radio"), private.secret("store"), other.secret("radio")}) == 3


def _framed(*words: str) -> bytes:
    return b"".join(len(word).to_bytes(8, "big") + word.encode() for word in words)


def test_the_key_is_part_of_what_a_swarm_is_called() -> None:
    assert SwarmIdentity("digits").id == swarm_id("digits")
    assert SwarmIdentity("digits", KEY).id == swarm_id("digits", bytes(range(32))) != swarm_id("digits")
    assert SwarmIdentity("digits", KEY).channel == SwarmIdentity("digits", KEY).id.hex()


def test_outside_of_a_private_swarm_nobody_can_tell_what_a_name_stands_for() -> None:
    private, other = SwarmIdentity("digits", KEY), SwarmIdentity("digits", SwarmKey(bytes(32)))
    assert SwarmIdentity("digits").alias("peer/1") == b"peer/1"
    assert private.alias("peer/1") == SwarmIdentity("digits", SwarmKey(bytes(range(32)))).alias("peer/1")
    assert len({private.alias("peer/1"), private.alias("peer/2"), other.alias("peer/1"), b"peer/1"}) == 4

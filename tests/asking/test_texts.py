"""What others say, as a person may read it."""

from __future__ import annotations

import pytest

from learnae.http import sanitize


@pytest.mark.parametrize(
    "said", ["\x1b[2J\x07bell", "two\nlines\r\n", "\u202egnihton", "nul\x00", "\x9b31m", "x" * 10_000, " \t ", "", "\ud800"]
)
def test_what_others_say_does_nothing_to_a_terminal(said: str) -> None:
    shown = sanitize(said)
    assert shown.isprintable()
    assert len(shown) <= 200
    assert sanitize(shown) == shown


def test_plain_words_are_shown_as_they_are() -> None:
    assert sanitize("merkledag: not found, größer als 5 %") == "merkledag: not found, größer als 5 %"

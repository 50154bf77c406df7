"""Texts that would act if they were shown as they are."""

from __future__ import annotations

import re

from hypothesis import strategies as st

PIECES = (
    *("\x1b[2J", "\x1b]0;x\x07", "\x1b]8;;http://x\x1b\\", "\x9b31m", "\x9d", "\x90", "\r", "\n", "\nFAKED", "\r\nFAKED"),
    *("\t", "\b\b", "\x7f", "\x85", "\u2028", "\u2029"),
    *("\u202e", "\u2066", "\u200f", "\u061c", "\u200b", "\u200d", "\u2060", "\ufeff", "\u3164", "\U000e0041", "e" + "\u0301" * 40),
    *("\udc9b", "\ud800", "[red]", "[/]", "[link=http://x]y[/link]", ":smile:", "{x}", "%s", "x" * 1_000, "漢" * 60),
)
WORST = "".join(PIECES)
"""All of it at once."""

TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.characters(exclude_characters="\0")), min_size=1, max_size=6).map("".join)

_ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def is_harmless(shown: str) -> bool:
    """Looked at by itself, not by the filter's own rules; line ends are harmless."""
    return _ACTS.search(shown) is None


def without_colours(shown: str) -> str:
    """On a terminal, colours are all that our tables bring along."""
    return _COLOURS.sub("", shown)


def encodable(text: str) -> str:
    """Without lone surrogates, which neither SQLite nor TOML takes."""
    return text.encode(errors="replace").decode()

"""What others say, as a person may read it."""

from __future__ import annotations

READABLE_CHARACTERS = 200


def readable(said: str, most: int = READABLE_CHARACTERS) -> str:
    """At most so many characters, none of which does anything to a terminal or a log: each run of others becomes a space."""
    words = "".join(character if character.isprintable() else " " for character in said[: 4 * most]).split()
    shown = " ".join(words)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"

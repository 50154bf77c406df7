"""Presets: which gates, merge and outer optimiser stand in a peer's file that names none of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from learnae.config.tables import Config

KEY = "preset"
NO_OUTER = {"use": "none"}
"""What a file says that wants no outer optimiser, whatever its preset has."""


@attrs.frozen(kw_only=True)
class Preset:
    """Names alone: the strategies have their own defaults."""

    gates: tuple[str, ...]
    merge: str
    outer: str
    doc: str

    def names(self) -> Mapping[str, tuple[str, ...]]:
        return {"gate": self.gates, "merge": (self.merge,), "outer": (self.outer,)}


PRESETS: Mapping[str, Preset] = {
    "trusted": Preset(
        gates=("sane",),
        merge="average",
        outer="qgo",
        doc="For peers that nobody hostile can join: of all updates that can be merged, the mean.",
    ),
    "open": Preset(
        gates=("sane", "balance-own", "progress", "pace"),
        merge="average",
        outer="qgo",
        doc="For peers of whom some may be hostile or broken: what lies too far away or behind is refused, and nobody moves a model far.",
    ),
    "paranoid": Preset(
        gates=("sane", "balance", "progress", "reputation", "pace"),
        merge="average",
        outer="qgo",
        doc="The same with a strict radius, and whoever lies far away again and again counts less. Where peers train long between two "
        "merges it refuses honest ones, too.",
    ),
}
DEFAULT = "open"


def names_of(document: Mapping[str, Any]) -> Mapping[str, tuple[str, ...]]:
    """The strategies that a document gets by its preset, by kind. One that there is not counts as the default; `load` reports it."""
    chosen = document.get(KEY, DEFAULT)
    return (PRESETS.get(chosen, PRESETS[DEFAULT]) if isinstance(chosen, str) else PRESETS[DEFAULT]).names()


def said(document: Mapping[str, Any], overrides: Sequence[str]) -> Mapping[str, Any]:
    """The document with the preset that `--set preset=NAME` chooses: it decides which other keys there are to be set."""
    chosen = [
        value.strip().strip("\"'") for key, equals, value in (text.partition("=") for text in overrides) if equals and key.strip() == KEY
    ]
    return {**document, KEY: chosen[-1]} if chosen else document


def in_words(config: Config) -> Iterator[str]:
    """One line that says how this peer merges, if it does."""
    if config.peer.role in ("trainer", "observer"):
        gates = ", ".join(gate.use for gate in config.gate) or "none"
        outer = config.outer.use if config.outer and config.peer.role == "trainer" else "none"
        yield f"preset {config.preset}: gates {gates}; merge {config.merge.use}; outer {outer}"

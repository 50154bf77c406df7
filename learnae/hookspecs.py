"""The hooks. Those that register return a mapping from name to class, or to `"module:Class"` so that listing imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

import pluggy

from learnae.records import PeerId, RoundReport, UpdateVerdict
from learnae.strategies import Announcer, Codec, Gate, Merge, Outer, Selector, Storage

PROJECT = "learnae"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def learnae_register_storage() -> Mapping[str, type[Storage] | str]:
    """Offer storages by name."""
    raise NotImplementedError


@hookspec
def learnae_register_announcer() -> Mapping[str, type[Announcer] | str]:
    """Offer announcers by name."""
    raise NotImplementedError


@hookspec
def learnae_register_selector() -> Mapping[str, type[Selector] | str]:
    """Offer selectors by name."""
    raise NotImplementedError


@hookspec
def learnae_register_gate() -> Mapping[str, type[Gate] | str]:
    """Offer gates by name."""
    raise NotImplementedError


@hookspec
def learnae_register_merge() -> Mapping[str, type[Merge] | str]:
    """Offer merges by name."""
    raise NotImplementedError


@hookspec
def learnae_register_outer() -> Mapping[str, type[Outer] | str]:
    """Offer outer optimisers by name."""
    raise NotImplementedError


@hookspec
def learnae_register_codec() -> Mapping[str, type[Codec] | str]:
    """Offer codecs by name."""
    raise NotImplementedError


@hookspec
def learnae_round_finished(report: RoundReport) -> None:
    """Called after each round, in a thread with a time limit."""


@hookspec
def learnae_update_judged(verdict: UpdateVerdict) -> None:
    """Called for each update that was tried in a round, in a thread with a time limit."""


@hookspec
def learnae_peer_changed(peer: PeerId, state: str) -> None:
    """Called when a peer is heard first ("new"), goes silent ("silent"), is back ("back") or leaves ("left")."""

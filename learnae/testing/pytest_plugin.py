"""Fixtures for plugin authors. pytest finds them by itself where Learnae is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from learnae.strategies import Context


@pytest.fixture
def learnae_contexts(tmp_path: Path) -> Callable[[str], Context]:
    """A function from a peer's name to its context. All contexts of one test share a meeting folder and what `share` gives."""
    from learnae.testing.context import SharedResources, make_context

    shared = SharedResources()

    def context_of(peer: str = "a") -> Context:
        return make_context(tmp_path / peer, peer=peer, shared=shared, meeting=tmp_path / "meeting")

    return context_of


@pytest.fixture
def learnae_context(learnae_contexts: Callable[[str], Context]) -> Context:
    """The context of one peer, with a home of its own."""
    return learnae_contexts("a")

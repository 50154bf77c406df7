"""Watchers see, and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from learnae import PeerId, PluginError, hookimpl
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager

Logged = list[dict[str, Any]]


class Watcher:
    def __init__(self) -> None:
        self.seen: list[object] = []

    @hookimpl
    def learnae_peer_changed(self, state: str) -> None:  # does not ask for the peer
        self.seen.append(state)


class Grumbler:
    @hookimpl
    def learnae_peer_changed(self, peer: PeerId, state: str) -> None:
        raise ValueError("no moon")


def test_every_watcher_is_called_with_the_arguments_that_it_asks_for() -> None:
    manager, watcher = PluginManager(), Watcher()
    manager.register(watcher, Plugin("watcher"))
    manager.notify("learnae_peer_changed", peer=PeerId("ab"), state="new")
    manager.notify("learnae_round_finished", report=None)
    assert watcher.seen == ["new"]
    assert [hook.plugin.name for hook in manager.watchers("learnae_peer_changed")] == ["watcher"]


def test_one_that_raises_is_logged_by_name_and_the_others_still_see(logged: Logged) -> None:
    manager, watcher = PluginManager(), Watcher()
    manager.register(Grumbler(), Plugin("grumbler"))
    manager.register(watcher, Plugin("watcher"))
    manager.notify("learnae_peer_changed", peer=PeerId("ab"), state="new")
    assert watcher.seen == ["new"]
    (entry,) = logged
    assert (entry["event"], entry["plugin"], entry["hook"]) == ("watcher.failed", "grumbler", "learnae_peer_changed")
    assert "ValueError: no moon" in entry["error"]


def test_one_watcher_called_by_itself_raises_under_its_name() -> None:
    manager = PluginManager()
    manager.register(Grumbler(), Plugin("grumbler"))
    (watch,) = manager.watchers("learnae_peer_changed")
    with pytest.raises(PluginError, match=r"'grumbler' failed while running learnae_peer_changed: ValueError: no moon"):
        watch(peer=PeerId("ab"), state="new")


def test_a_hook_that_does_not_exist_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="learnae_peer_gone"):
        PluginManager().notify("learnae_peer_gone")


def test_an_async_watcher_is_refused() -> None:
    class Async:
        @hookimpl
        async def learnae_peer_changed(self, peer: PeerId, state: str) -> None: ...

    with pytest.raises(PluginError, match="async def"):
        PluginManager().register(Async(), Plugin("async"))


def test_every_hook_that_is_specified_is_known() -> None:
    from learnae import hookspecs
    from learnae.plugins.hooks import HOOKS

    specified = {name for name, value in vars(hookspecs).items() if name.startswith("learnae_") and isinstance(value, Callable)}  # type: ignore[arg-type]
    assert specified == set(HOOKS)

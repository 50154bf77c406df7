"""On a medium that leaves the machine a peer does not start by accident."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import learnae
from learnae.cli.check import fingerprint, membership
from learnae.config.load import load_document
from learnae.errors import ConfigError
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.node.strategy_set import StrategySet, assemble
from learnae.plugins.hooks import Plugin
from learnae.plugins.manager import PluginManager
from learnae.plugins.memory import MemoryAnnouncer, MemoryStorage
from learnae.testing.context import make_runtime

KEY = SwarmKey(bytes(range(32)))
PEER = Identity.generate(bytes(32)).peer


class FarStorage(MemoryStorage):
    leaves_machine = True


class FarAnnouncer(MemoryAnnouncer):
    leaves_machine = True


class Offers:
    @learnae.hookimpl
    def learnae_register_storage(self) -> Any:
        return {"far": FarStorage}

    @learnae.hookimpl
    def learnae_register_announcer(self) -> Any:
        return {"far": FarAnnouncer}


Made = Callable[..., StrategySet]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    manager = PluginManager.discover(only=())
    manager.register(Offers(), Plugin("third-party"))
    monkeypatch.setenv("DIGITS_KEY", KEY.text())

    def make(storage: str = "memory", announcer: str = "memory", **tables: Any) -> Any:
        document = {"storage": {"use": storage}, "announcer": {"use": announcer}, **tables}
        config = load_document(document, folder=tmp_path, options_of=manager.options_of(tmp_path))
        made = assemble(config, manager, PEER, make_runtime(tmp_path))
        return config, made

    return make


FAR = [{"storage": "far"}, {"announcer": "far"}, {"storage": "far", "announcer": "far"}]


@pytest.mark.parametrize("media", FAR, ids=["a storage", "an announcer", "both"])
@pytest.mark.parametrize("tables", [{}, {"peer": {"deny": ["0" * 64]}}], ids=["nothing", "a deny list"])
def test_without_key_allow_list_or_consent_it_refuses(made: Made, media: dict[str, str], tables: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"swarm\.open: (storage|announcer) far leaves this machine.*key_env.*peer\.allow.*open = true"):
        made(**media, **tables)


@pytest.mark.parametrize("media", FAR, ids=["a storage", "an announcer", "both"])
@pytest.mark.parametrize(
    "tables",
    [{"swarm": {"key_env": "DIGITS_KEY"}}, {"peer": {"allow": ["0" * 64]}}, {"swarm": {"open": True}}],
    ids=["a key", "an allow list", "consent"],
)
def test_each_of_the_three_is_enough(made: Made, media: dict[str, str], tables: dict[str, Any]) -> None:
    made(**media, **tables)


def test_what_stays_on_the_machine_needs_none_of_them(made: Made) -> None:
    made()


@pytest.mark.parametrize("kind", ["Storage", "Announcer"])
def test_what_does_not_say_where_it_ends_counts_as_leaving(kind: str) -> None:
    assert getattr(learnae, kind).leaves_machine is True


def test_a_key_that_vanished_after_the_file_was_read_stops_the_start(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = made(swarm={"key_env": "DIGITS_KEY"})
    monkeypatch.delenv("DIGITS_KEY")
    with pytest.raises(ConfigError, match="DIGITS_KEY is not set"):
        assemble(config, PluginManager.discover(only=()), PEER, None)  # type: ignore[arg-type]


def test_strategies_get_secrets_of_a_private_swarm_only(made: Made) -> None:
    _, private = made(swarm={"name": "digits", "key_env": "DIGITS_KEY"})
    _, local = made(swarm={"name": "digits"})
    secret = private.storages[0].strategy.context.secret
    assert secret("radio") == SwarmIdentity("digits", KEY).secret("radio") != secret("other")
    assert local.storages[0].strategy.context.secret("radio") is None


@pytest.mark.parametrize(
    ("media", "tables", "words"),
    [
        ({"storage": "far"}, {"swarm": {"key_env": "DIGITS_KEY"}}, "private: the key in DIGITS_KEY is sound"),
        ({"storage": "far"}, {"peer": {"allow": ["0" * 64]}}, "not private.*heard is the 1 of peer.allow"),
        ({"storage": "far"}, {"swarm": {"open": True}}, "open, as swarm.open says"),
        ({}, {}, "nothing of it leaves this machine by itself"),
        ({}, {"swarm": {"key_env": "DIGITS_KEY"}, "peer": {"allow": ["0" * 64, "1" * 64]}}, "private.*heard are the 2 of peer.allow"),
    ],
    ids=["private", "allow list", "by consent", "local", "private with an allow list"],
)
def test_each_kind_of_swarm_is_told_in_its_own_words(made: Made, media: dict[str, str], tables: dict[str, Any], words: str) -> None:
    import re

    config, strategies = made(**media, **tables)
    assert re.search(words, membership(config, strategies.swarm, list(strategies.services())))


def test_a_fingerprint_is_short_and_equal_for_members_alone() -> None:
    assert fingerprint(SwarmIdentity("digits", KEY)) == fingerprint(SwarmIdentity("digits", SwarmKey(bytes(range(32)))))
    assert len(fingerprint(SwarmIdentity("digits", KEY))) == 19
    assert (
        len({fingerprint(swarm) for swarm in (SwarmIdentity("digits"), SwarmIdentity("digits", KEY), SwarmIdentity("letters", KEY))}) == 3
    )

"""Everything that a peer has stored is dropped, nothing of others, and the home knows."""

from __future__ import annotations

import os
import pty
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from learnae.identity.homes import claim
from learnae.identity.keys import Identity
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.plugins.directory.storage import DirectoryStorage
from learnae.records import PeerId
from learnae.testing.context import make_context, peer_named
from learnae.testing.published import MadeUpUpdate, payloads, published

KEY = SwarmKey(b"k" * 32)
OPEN = SwarmIdentity("digits")
OURS = [published(f"u{number}", *payloads(2, seed=number)) for number in (1, 2, 3)]
THEIRS = published("theirs", *payloads(2, seed=9))
STRANGER = peer_named("stranger")

PLUGINS = """
from learnae import UnavailableError
from learnae.plugins.memory import MemoryStorage
from learnae.plugins.directory.storage import DirectoryStorage

class Gone(MemoryStorage):
    async def __aenter__(self):
        raise UnavailableError("nobody there")

class Breaking(DirectoryStorage):
    async def drop(self, root):
        if (self.folder / "broken").exists():
            raise UnavailableError("the line broke")
        (self.folder / "broken").touch()
        await super().drop(root)
"""


def put(folder: Path, peer: PeerId, *updates: MadeUpUpdate, swarm: SwarmIdentity) -> None:
    """As a run of this peer would."""
    context = attrs.evolve(make_context(folder, swarm=swarm.name, secret=swarm.secret), peer=peer)

    async def into() -> None:
        async with DirectoryStorage(DirectoryStorage.Options(path=folder), context) as store:
            for update in updates:
                await store.put(update.root, update.blocks)

    trio.run(into)


def file_of(home: Any, *storages: str, path: Path | None = None) -> Path:
    """The peer's file, which lies beside its own classes: a home alone has no code run."""
    tables = "".join(f'[[storage]]\nuse = "{use}"\n' + (f'path = "{path}"\n' if path and use != "mine:Gone" else "") for use in storages)
    (home.path / "learnae.toml").write_text(f'[swarm]\nname = "digits"\n[peer]\nhome = "."\n{tables}')
    return home.path / "learnae.toml"


def files(folder: Path) -> int:
    return len([path for path in folder.iterdir() if path.name != "broken"])


@pytest.fixture
def stored(lived: Callable[..., object], tmp_path: Path) -> Callable[..., object]:
    """A home whose peer has three roots in each of these folders, where a stranger has one too."""

    def make(*folders: str, swarm: SwarmIdentity = OPEN, **tables: object) -> object:
        home = lived()
        (home.path / "mine.py").write_text(PLUGINS)
        for folder in folders:
            put(tmp_path / folder, home.own, *OURS, swarm=swarm)
            put(tmp_path / folder, STRANGER, THEIRS, OURS[0], swarm=swarm)
        storages = [{"use": "directory", "path": str(tmp_path / folder)} for folder in folders]
        return home.configured(storage=storages, **tables)

    return make


def test_all_own_roots_go_from_all_storages_and_those_of_others_stay(stored, learnae, tmp_path):
    home = stored("one", "two")
    shown = learnae("storage", "clear", home.path, "--yes")
    assert (shown.code, shown.err) == (0, "")
    assert "  3 roots in storage directory\n" in shown.out and "  3 roots in storage directory (2)\n" in shown.out
    assert "3 roots dropped from storage directory\n3 roots dropped from storage directory (2)\n" in shown.out
    assert (files(tmp_path / "one"), files(tmp_path / "two")) == (2, 2)


def test_the_home_knows_that_nothing_is_published_and_keeps_the_rest(stored, learnae):
    home = stored("one")
    with home.open() as history:
        before = history.lineage_state(), history.last_round(), history.own_numbers()
        assert len(history.published()) == 1
    assert learnae("storage", "clear", home.path, "--yes").code == 0
    with home.open() as history:
        assert history.published() == []
        assert (history.lineage_state(), history.last_round(), history.own_numbers()) == before
    assert Identity.load_or_create(home.path / "key").peer == home.own


def test_a_second_time_there_is_nothing_to_drop_and_nobody_is_asked(stored, learnae):
    home = stored("one")
    assert learnae("storage", "clear", home.path, "--yes").code == 0
    shown = learnae("storage", "clear", home.path)
    assert shown.code == 0 and "0 roots in storage directory" in shown.out and "dropped" not in shown.out


def test_the_file_of_the_peer_says_where_its_storages_are(stored, learnae, tmp_path):
    home = stored("one", "two")
    (tmp_path / "peer.toml").write_text(
        f'[swarm]\nname = "digits"\n[peer]\nhome = "{home.path}"\n[[storage]]\nuse = "directory"\npath = "two"\n'
    )
    assert learnae("storage", "clear", tmp_path / "peer.toml", "--yes").code == 0
    assert (files(tmp_path / "one"), files(tmp_path / "two")) == (5, 2)


def test_a_peer_that_runs_is_left_alone_and_named(stored, learnae, tmp_path):
    home = stored("one")
    with claim(home.path):
        shown = learnae("storage", "clear", home.path, "--yes")
    assert shown.code == 2 and f"another peer uses this home (process {os.getpid()})" in shown.err
    assert files(tmp_path / "one") == 5


def test_without_a_terminal_consent_must_be_given_beforehand(stored, learnae, tmp_path):
    home = stored("one")
    shown = learnae("storage", "clear", home.path)
    assert shown.code == 2 and "--yes: is needed" in shown.err and "3 roots in storage directory" in shown.out
    assert files(tmp_path / "one") == 5
    with home.open() as history:
        assert len(history.published()) == 1


@pytest.mark.parametrize(("answer", "code", "left"), [(b"y\n", 0, 2), (b"n\n", 130, 5), (b"\n", 130, 5)])
def test_on_a_terminal_the_user_is_asked(answer, code, left, stored, learnae, tmp_path, monkeypatch):
    home = stored("one")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr("sys.stdin", terminal)
        os.write(ours, answer)
        shown = learnae("storage", "clear", home.path)
    os.close(ours)
    assert (shown.code, files(tmp_path / "one")) == (code, left)
    assert "Drop 3 roots?" in shown.err


def test_what_cannot_be_reached_is_named_and_the_rest_dropped(stored, learnae, tmp_path):
    home = stored("one")
    shown = learnae("storage", "clear", file_of(home, "directory", "mine:Gone", path=tmp_path / "one"), "--yes")
    assert shown.code == 4
    assert "storage mine:Gone cannot be looked into: nobody there" in shown.out and "storage mine:Gone: nobody there" in shown.err
    assert "3 roots dropped from storage directory" in shown.out and files(tmp_path / "one") == 2


def test_where_nothing_can_be_reached_the_history_stays_as_it_is(stored, learnae):
    home = stored()
    assert learnae("storage", "clear", file_of(home, "mine:Gone"), "--yes").code == 4
    with home.open() as history:
        assert len(history.published()) == 1


def test_a_storage_that_breaks_off_says_how_far_it_came(stored, learnae, tmp_path):
    home = stored("one")
    shown = learnae("storage", "clear", file_of(home, "mine:Breaking", path=tmp_path / "one"), "--yes")
    assert shown.code == 4
    assert "1 root dropped from storage mine:Breaking" in shown.out and "the line broke" in shown.err
    assert files(tmp_path / "one") == 4


def test_in_a_private_swarm_the_key_is_needed_and_said_to_be(stored, learnae, tmp_path, monkeypatch):
    home = stored("one", swarm=SwarmIdentity("digits", KEY))
    home.configured(swarm={"name": "digits", "key_env": "DIGITS_KEY"}, storage=[{"use": "directory", "path": str(tmp_path / "one")}])
    shown = learnae("storage", "clear", home.path, "--yes")
    assert shown.code == 2
    assert "swarm.key_env: the variable DIGITS_KEY is not set, and only with the key" in shown.err and 'export DIGITS_KEY="' in shown.err
    assert files(tmp_path / "one") == 5
    monkeypatch.setenv("DIGITS_KEY", KEY.text())
    assert learnae("storage", "clear", home.path, "--yes").code == 0
    assert files(tmp_path / "one") == 2


def test_a_wrong_key_finds_nothing_and_is_suspected(stored, learnae, tmp_path, monkeypatch):
    home = stored("one", swarm=SwarmIdentity("digits", KEY))
    home.configured(swarm={"name": "digits", "key_env": "DIGITS_KEY"}, storage=[{"use": "directory", "path": str(tmp_path / "one")}])
    monkeypatch.setenv("DIGITS_KEY", SwarmKey(b"w" * 32).text())
    shown = learnae("storage", "clear", home.path, "--yes")
    assert "0 roots" in shown.out and "or the swarm another key?" in shown.out
    assert files(tmp_path / "one") == 5
    with home.open() as history:
        assert len(history.published()) == 1


def test_a_home_that_is_none_is_left_alone(learnae, tmp_path):
    (tmp_path / "empty").mkdir()
    assert learnae("storage", "clear", tmp_path / "empty", "--yes").code == 2
    assert list((tmp_path / "empty").iterdir()) == []

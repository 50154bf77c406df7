"""Whoever only looks at a home makes no key in it, nor where its owner leads him meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from learnae.cli.check import _check_key
from learnae.cli.home_state import read_home
from learnae.cli.storage import _peer
from learnae.errors import ConfigError
from learnae.identity.homes import Home
from learnae.identity.keys import Identity
from learnae.node.history import History


def lived(home: Path) -> Path:
    home.mkdir(0o700)
    Identity.load_or_create(home / "key")
    History.open(home / "history.sqlite").close()
    return home


LOOKERS: dict[str, Callable[[Path], str]] = {
    "status": lambda home: _own(home),
    "check": lambda home: " ".join(_check_key(Home(home, lock_fd=-1))),
    "clear": lambda home: _peer(Home(home, lock_fd=-1)),
}


def _own(home: Path) -> str:
    with read_home(home) as seen:
        return str(seen.own)


def led_away(home: Path, victim: Path) -> None:
    home.rename(home.with_name("away"))
    home.symlink_to(victim)


def taken_away(home: Path, victim: Path) -> None:
    (home / "key").unlink()


@pytest.mark.parametrize("looker", LOOKERS)
@pytest.mark.parametrize("change", [led_away, taken_away])
def test_no_key_is_made_where_one_was_a_moment_ago(
    looker: str, change: Callable[[Path, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, victim = lived(tmp_path / "home"), tmp_path / "victim"
    victim.mkdir(0o700)
    really, seen = os.stat, list[Any]()

    def stat(path: Any, *more: Any, **options: Any) -> os.stat_result:
        try:
            return really(path, *more, **options)
        finally:
            if os.path.basename(os.fspath(path)) == "key" and not seen:
                seen.append(path)
                change(home, victim)

    with monkeypatch.context() as patch:
        patch.setattr("os.stat", stat)
        with suppress(ConfigError):
            LOOKERS[looker](home)
    assert seen and not list(victim.iterdir())
    assert change is led_away or not (home / "key").exists()


@pytest.mark.parametrize("looker", LOOKERS)
def test_the_key_that_is_there_is_read(looker: str, tmp_path: Path) -> None:
    home = lived(tmp_path / "home")
    assert Identity.load_or_create(home / "key").peer in LOOKERS[looker](home)


@pytest.mark.parametrize("looker", LOOKERS)
def test_a_home_without_a_key_gets_none(looker: str, tmp_path: Path) -> None:
    home = lived(tmp_path / "home")
    (home / "key").unlink()
    with suppress(ConfigError):
        LOOKERS[looker](home)
    assert not (home / "key").exists()

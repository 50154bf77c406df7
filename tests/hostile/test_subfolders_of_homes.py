"""A neighbour who may write to a folder inside a home changes that peer as well: no such folder is used, and none is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from learnae.errors import ConfigError
from learnae.identity.home_folder import open_home
from learnae.identity.homes import claim
from learnae.trainer import checkpoint
from tests.support import users
from tests.support.users import ANNA, BERT, GROUP, folder_for_all, needs_root


@pytest.fixture
def home() -> Iterator[Path]:
    """Of a user whose umask lets a group write; the group may look into it."""
    with folder_for_all(0o777) as place:
        path = place / "home"
        assert as_anna(lambda: live(path)) == ""
        path.chmod(0o750)
        yield path


def as_anna(work: Callable[[], object]) -> str:
    return users.as_user(ANNA, work, umask=0o002, group=GROUP)


def live(home: Path) -> None:
    with claim(home) as claimed:
        claimed.make_room_for_plugins()
        save(home)
        (home / "plugins" / "gate-mine").mkdir(parents=True)


def save(home: Path) -> None:
    checkpoint.save(home / "checkpoint", {"model": {}, "swarm": {}})


def resume(home: Path) -> None:
    assert checkpoint.newest(home / "checkpoint", structlog.get_logger()) is not None


def look(home: Path) -> None:
    assert checkpoint.newest_model(home / "checkpoint", structlog.get_logger()) is not None


def take(home: Path) -> None:
    claim(home).close()


def write(path: Path) -> None:
    path.with_name("new").write_bytes(b"evil")
    path.with_name("new").replace(path)


@needs_root
@pytest.mark.parametrize("file", ["checkpoint/checkpoint.pt", "plugins/evil", "plugins/gate-mine/evil"])
def test_no_umask_lets_a_neighbour_write_into_a_folder_of_a_home(home: Path, file: str) -> None:
    assert "PermissionError" in users.as_user(BERT, lambda: write(home / file), group=GROUP)
    for work in (take, resume, save):
        assert as_anna(lambda work=work: work(home)) == ""


@needs_root
@pytest.mark.parametrize("closed", [False, True], ids=["others look in", "closed again"])
@pytest.mark.parametrize("mode", [0o770, 0o777, 0o775], ids=oct)
@pytest.mark.parametrize("name", ["checkpoint", "plugins", "checkpoint.set-aside"])
def test_a_folder_of_a_home_in_which_others_may_write_is_refused_and_what_is_said_mends_it(
    home: Path, name: str, mode: int, closed: bool
) -> None:
    assert as_anna(lambda: (home / name).mkdir(exist_ok=True)) == ""
    (home / name).chmod(mode)
    if closed:
        home.chmod(0o700)
    for work in (take, resume, save, look):
        said = as_anna(lambda work=work: work(home))
        assert "ConfigError" in said and f"chmod -R go-w {home / name}" in said
    assert as_anna(lambda: os.system(f"chmod -R go-w {home / name}")) == ""
    for work in (take, resume, save):
        assert as_anna(lambda work=work: work(home)) == ""


@needs_root
def test_a_plugin_s_folder_in_which_others_may_write_is_refused_where_they_may_reach_it(home: Path) -> None:
    (home / "plugins" / "gate-mine").chmod(0o777)
    assert as_anna(lambda: take(home)) == ""
    (home / "plugins").chmod(0o755)
    assert f"chmod -R go-w {home / 'plugins' / 'gate-mine'}" in as_anna(lambda: take(home))


def another_s(path: Path) -> None:
    os.chown(path, BERT, GROUP)


def anybody_s(path: Path) -> None:
    path.chmod(0o666)


@needs_root
@pytest.mark.parametrize("change", [another_s, anybody_s])
@pytest.mark.parametrize("file", ["checkpoint/checkpoint.pt", "checkpoint"])
def test_a_checkpoint_that_another_user_may_have_written_is_not_read(home: Path, file: str, change: Callable[[Path], None]) -> None:
    assert as_anna(lambda: save(home)) == ""  # now there is one before, which would be taken for the newest
    change(home / file)
    for work in (resume, look):
        assert "ConfigError" in as_anna(lambda work=work: work(home))


def test_what_lies_in_the_place_of_a_folder_is_no_folder(tmp_path: Path) -> None:
    home, victim = tmp_path / "home", tmp_path / "victim"
    victim.mkdir()
    claim(home).close()
    (home / "checkpoint").symlink_to(victim)
    for work in (save, resume):
        with pytest.raises(ConfigError, match="symbolic link"):
            work(home)
    assert list(victim.iterdir()) == []


def test_a_home_with_very_many_files_is_refused_before_all_are_listed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    claim(home).close()
    for number in range(1001):
        (home / str(number)).touch()
    with pytest.raises(ConfigError, match="more than"), open_home(home):
        pass

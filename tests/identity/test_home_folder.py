"""Whose a home may be, and who may look into it: with real users, which only root can be."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learnae.cli.homes.state import read_home
from learnae.cli.orders.deny_allow import order_deny
from learnae.config.kept import keep
from learnae.config.load import load_document
from learnae.errors import ConfigError
from learnae.identity.home_folder import open_home
from learnae.identity.homes import claim
from learnae.identity.keys import Identity
from learnae.node.history import History
from learnae.plugins.manager import PluginManager

GROUP, ANNA, BERT, OTHER_GROUP = 53_000, 53_001, 53_002, 53_003

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only it can be two users, as in a container of CI")

CONFIG = load_document({"swarm": {"name": "one"}}, folder=Path("/"), options_of=PluginManager.discover(only=()).options_of(Path("/")))
"""Made here: the other users cannot import what is missing then."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others can reach, unlike that of pytest."""
    with tempfile.TemporaryDirectory(prefix="learnae-users-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def as_user(user: int, work: Callable[[], object], umask: int = 0o022, group: int = GROUP) -> str:
    """Do it in a process of that user; what it raises, in words."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        said = ""
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            os.umask(umask)
            work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def live(home: Path) -> None:
    """All that a peer makes in its home."""
    with claim(home):
        Identity.load_or_create(home / "key")
        keep(CONFIG, home)
        with History.open(home / "history.sqlite") as history:
            history.save_standing(b"lineage1", 1, 1.0)


def look(home: Path) -> None:
    with read_home(home) as seen:
        assert seen.standing.lineage == b"lineage1" and seen.own


def order(home: Path) -> None:
    list(order_deny(str(home), "5" * 64))


def anybodys(place: Path, mode: int, owner: int = 0, group: int = GROUP) -> Path:
    """A folder in which peers of a group have their homes."""
    folder = place / "swarm"
    folder.mkdir()
    os.chown(folder, owner, group)
    folder.chmod(mode)
    return folder


@needs_root
@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o077], ids=oct)
@pytest.mark.parametrize("mode", [0o2775, 0o2770, 0o770, 0o777, 0o1777, 0o3770], ids=oct)
def test_a_home_in_a_folder_of_a_group_is_its_makers_own(place: Path, mode: int, umask: int) -> None:
    home = anybodys(place, mode) / "home"
    for work in (live, look, order, live):
        assert as_user(ANNA, lambda work=work: work(home), umask) == ""


@needs_root
def test_an_earlier_home_whose_folder_others_may_look_into_still_works(place: Path) -> None:
    home = anybodys(place, 0o777) / "home"
    assert as_user(ANNA, lambda: home.mkdir()) == ""
    for work in (live, look, order):
        assert as_user(ANNA, lambda work=work: work(home)) == ""
    assert oct(home.stat().st_mode)[-3:] == "755"


@needs_root
def test_the_private_group_of_a_user_is_that_user(place: Path) -> None:
    home = anybodys(place, 0o777) / "home"
    assert as_user(ANNA, lambda: home.mkdir(), umask=0o002, group=ANNA) == ""
    assert as_user(ANNA, lambda: live(home), umask=0o002, group=ANNA) == ""


@needs_root
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o720, 0o702, 0o1777], ids=oct)
def test_a_home_in_which_others_may_write_is_refused_and_what_is_said_mends_it(place: Path, mode: int) -> None:
    home = anybodys(place, 0o777) / "home"
    assert as_user(ANNA, lambda: live(home)) == ""
    home.chmod(mode)
    for work in (live, look, order):
        said = as_user(ANNA, lambda work=work: work(home))
        assert "ConfigError" in said and f"chmod -R go-w {home}" in said
    assert as_user(ANNA, lambda: os.system(f"chmod -R go-w {home}")) == ""
    for work in (live, look, order):
        assert as_user(ANNA, lambda work=work: work(home)) == ""


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o777], ids=oct)
def test_the_home_of_another_user_is_refused(place: Path, mode: int) -> None:
    home = anybodys(place, 0o777) / "home"
    assert as_user(ANNA, lambda: live(home), umask=0) == ""
    home.chmod(mode)
    for path in home.iterdir():
        path.chmod(0o666)
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    for work in (live, look, order):
        said = as_user(BERT, lambda work=work: work(home))
        assert "ConfigError" in said and str(ANNA) in said
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


@needs_root
@pytest.mark.parametrize("running", [False, True])
def test_root_may_look_into_any_home_and_changes_nothing_in_it(place: Path, running: bool) -> None:
    home = anybodys(place, 0o777) / "home"
    assert as_user(ANNA, lambda: live(home)) == ""
    if running:  # killed, to be exact: the journal is there
        assert as_user(ANNA, lambda: (History.open(home / "history.sqlite").save_standing(b"lineage1", 2, 2.0), os._exit(0))) == ""
    before = {path.name: (path.stat().st_uid, path.read_bytes()) for path in home.iterdir()}
    assert ("history.sqlite-wal" in before) == running
    look(home)
    assert {path.name: (path.stat().st_uid, path.read_bytes()) for path in home.iterdir()} == before
    for work in (live, order):
        with pytest.raises(ConfigError, match="sudo -u"):
            work(home)
    assert as_user(ANNA, lambda: live(home)) == ""


@needs_root
@pytest.mark.parametrize("name", ["history.sqlite", "key", "config.json"])
def test_a_link_of_another_user_leads_root_nowhere(place: Path, name: str) -> None:
    home = anybodys(place, 0o777) / "home"
    assert as_user(ANNA, lambda: live(home)) == ""
    roots = place / "roots"
    (home / name).rename(roots)
    os.chown(roots, 0, 0)
    (home / name).symlink_to(roots)
    before = roots.read_bytes()
    with pytest.raises(ConfigError):
        look(home)
    assert roots.read_bytes() == before


@needs_root
def test_a_link_to_a_home_is_followed_if_its_user_has_made_it(place: Path) -> None:
    folder = anybodys(place, 0o777)
    home, own, strange = folder / "home", folder / "own", folder / "strange"
    assert as_user(ANNA, lambda: live(home)) == ""
    assert as_user(ANNA, lambda: own.symlink_to(home)) == ""
    assert as_user(BERT, lambda: strange.symlink_to(home)) == ""
    assert as_user(ANNA, lambda: live(own)) == ""
    assert "ConfigError" in as_user(ANNA, lambda: live(strange))


def test_no_file_of_a_home_is_opened_by_a_path_that_leads_out_of_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with open_home(tmp_path) as folder, pytest.raises(FileNotFoundError):
        folder.read("nothing", 10)
    with pytest.raises(FileNotFoundError), open_home(tmp_path / "nothing"):
        pass

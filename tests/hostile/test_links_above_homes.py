"""A link above a home, or above the key of a swarm, that a neighbour has put there leads nobody elsewhere, root neither."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learnae.cli.home_state import read_home
from learnae.cli.homes import find_home
from learnae.cli.orders import order_allow, order_deny
from learnae.config.rules import swarm_of
from learnae.config.saved_config import kept
from learnae.config.tables import SwarmTable
from learnae.errors import ConfigError
from learnae.identity.homes import claim, claim_free
from learnae.identity.keys import write_secret
from learnae.identity.swarms import SwarmKey
from learnae.opening import save_file
from tests.support.hostile.linked_folders import STRANGER, VICTIM, linked
from tests.support.users import as_user, folder_for_all, live, needs_root

victims = pytest.mark.parametrize("victim", [VICTIM, 0], ids=["user", "root"])

codecs.lookup("utf-8-sig")  # neither can they find this one


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder such as /tmp."""
    with folder_for_all(0o1777) as folder:
        yield folder


def own_home(public: Path, victim: int) -> Path:
    """The victim's, in a closed folder of its own."""
    above = public / "mine"
    above.mkdir(mode=0o700)
    os.chown(above, victim, victim)
    assert as_user(victim, lambda: live(above / "peer-1")) == ""
    return above / "peer-1"


def look(home: Path) -> None:
    with read_home(home) as seen:
        assert seen.lineage_state.lineage == b"lineage1"


def deny(home: Path) -> None:
    list(order_deny(str(home), "5" * 64))


def allow(home: Path) -> None:
    list(order_allow(str(home), "5" * 64))


def clear(home: Path) -> None:
    with claim(find_home(str(home))):
        pass


ORDERS: dict[str, Callable[[Path], object]] = {"look": look, "deny": deny, "allow": allow, "clear": clear, "live": live, "kept": kept}


def as_it_is(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir() if path.is_file()}


@needs_root
@victims
@pytest.mark.parametrize("order", ORDERS)
def test_a_link_above_a_home_that_a_neighbour_has_made_is_not_followed(public: Path, victim: int, order: str) -> None:
    home = own_home(public, victim)
    before = as_it_is(home)
    led = linked(public / "swarm", home.parent, STRANGER) / home.name
    assert as_user(victim, lambda: ORDERS[order](led)).startswith("ConfigError")
    assert as_it_is(home) == before


@needs_root
@victims
@pytest.mark.parametrize("order", ORDERS)
def test_a_link_above_a_home_that_its_user_has_made_is_followed(public: Path, victim: int, order: str) -> None:
    home = own_home(public, victim)
    led = linked(public / "swarm", home.parent, victim) / home.name
    assert as_user(victim, lambda: ORDERS[order](led)) == ""


@needs_root
@victims
@pytest.mark.parametrize("below", ["peer-1", "deep/peer-1"])
def test_no_home_is_made_behind_a_link_of_a_neighbour(public: Path, victim: int, below: str) -> None:
    own = public / "mine"
    own.mkdir(mode=0o700)
    os.chown(own, victim, victim)
    linked(public / "homes", own, STRANGER)
    for make in (lambda: claim(public / "homes" / below), lambda: claim_free((public / "homes" / below).parent)):
        assert as_user(victim, make).startswith("ConfigError")
    assert list(own.iterdir()) == []


@needs_root
def test_a_default_home_is_not_made_where_somebody_of_a_group_has_prepared_it(public: Path) -> None:
    shared = public / "state"
    shared.mkdir()
    os.chown(shared, 0, STRANGER)
    shared.chmod(0o2770)
    assert as_user(STRANGER, lambda: (shared / "learnae").mkdir(mode=0o777), umask=0) == ""
    assert as_user(VICTIM, lambda: claim_free(shared / "learnae" / "homes"), more=[STRANGER]).startswith("ConfigError")
    assert not list((shared / "learnae").iterdir())


@needs_root
@victims
@pytest.mark.parametrize("at_the_end", [False, True], ids=["above", "at the end"])
def test_the_key_of_a_swarm_is_not_read_behind_a_link_of_a_neighbour(public: Path, victim: int, at_the_end: bool) -> None:
    own = public / "mine"
    own.mkdir(mode=0o700)
    (own / "swarm.key").write_text(SwarmKey.generate().text())
    (own / "swarm.key").chmod(0o600)
    for path in (own, own / "swarm.key"):
        os.chown(path, victim, victim)
    for maker, said in ((victim, ""), (STRANGER, "ConfigError")):
        link = linked(public / f"link of {maker}", own / "swarm.key" if at_the_end else own, maker)
        named = link if at_the_end else link / "swarm.key"
        found = as_user(victim, lambda named=named: swarm_of(SwarmTable(name="one", key_file=named)))
        assert found.startswith(said) and bool(found) == bool(said)


def test_a_key_in_a_volume_of_kubernetes_is_read_by_its_links(tmp_path: Path) -> None:
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "key").write_text(SwarmKey.generate().text())
    (tmp_path / "..2026" / "key").chmod(0o400)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "key").symlink_to("..data/key")
    assert swarm_of(SwarmTable(name="one", key_file=tmp_path / "key")).key is not None
    with pytest.raises(ConfigError, match="cannot be read"):
        swarm_of(SwarmTable(name="one", key_file=tmp_path / "..data" / "other"))


@needs_root
@victims
def test_no_secret_and_no_model_is_written_behind_a_link_of_a_neighbour(public: Path, victim: int) -> None:
    theirs = public / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    linked(public / "mine", theirs, STRANGER)
    for write in (lambda: write_secret(public / "mine" / "key", "secret"), lambda: save_file(public / "mine" / "model", b"model")):
        assert as_user(victim, write) != ""
    assert list(theirs.iterdir()) == []


@needs_root
@pytest.mark.parametrize("umask", [0o000, 0o002], ids=oct)
def test_what_lies_under_the_state_folder_is_closed_to_others_whatever_the_umask(public: Path, umask: int) -> None:
    from learnae.cli.run import TORCH_CACHE, keep_torch_to_own_folder
    from learnae.shared_folder import FolderHandle

    def begin() -> None:
        os.environ["XDG_STATE_HOME"] = str(public / "own" / "state")
        os.environ.pop(TORCH_CACHE, None)
        state = public / "own" / "state" / "learnae"
        keep_torch_to_own_folder()
        assert os.environ[TORCH_CACHE] == str(state / "torchinductor")
        claim_free(state / "homes" / "one")
        FolderHandle(state / "meeting" / "one", ("blocks",), unnamed=True).make(parents=True)

    (public / "own").mkdir(mode=0o700)
    os.chown(public / "own", VICTIM, STRANGER)
    assert as_user(VICTIM, begin, umask=umask, group=STRANGER) == ""
    made = [path for path in (public / "own").rglob("*") if path.is_dir()]
    assert {path.name for path in made} >= {"torchinductor", "homes", "peer-1", "meeting", "blocks"}
    assert not [path for path in made if path.stat().st_mode & 0o077]

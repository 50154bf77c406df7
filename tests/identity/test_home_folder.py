"""Whose a home may be, and who may look into it: with real users, which only root can be."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learnae.cli.home_state import read_home
from learnae.cli.orders import order_deny
from learnae.errors import ConfigError
from learnae.identity import homes
from learnae.identity.home_folder import open_home
from learnae.identity.homes import claim
from learnae.node.history import History
from tests.support import users
from tests.support.users import ANNA, BERT, GROUP, folder_for_all, live, needs_root


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that others can reach, unlike that of pytest."""
    with folder_for_all(0o755) as folder:
        yield folder


def as_user(user: int, work: Callable[[], object], umask: int = 0o022, group: int = GROUP) -> str:
    """All are in one group unless another is named."""
    return users.as_user(user, work, umask=umask, group=group)


def look(home: Path) -> None:
    with read_home(home) as seen:
        assert seen.lineage_state.lineage == b"lineage1" and seen.own


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
@pytest.mark.parametrize("earlier", [0o644, 0o600, 0o664], ids=oct)
def test_a_neighbour_who_may_look_into_a_home_can_neither_read_nor_lock_its_history(place: Path, earlier: int) -> None:
    home = anybodys(place, 0o777) / "home"
    assert as_user(ANNA, lambda: live(home), group=ANNA) == ""
    home.chmod(0o755)
    for path in home.glob("history.sqlite*"):
        path.chmod(earlier)
    assert as_user(ANNA, lambda: order(home), group=ANNA) == ""
    for path in home.glob("history.sqlite*"):
        assert "PermissionError" in as_user(BERT, lambda path=path: path.open("rb").close())


def give_by_list(path: Path, user: int) -> None:
    """An access control list by which this user may write, the entries of Linux in their order: owner, user, group, mask, others."""
    nobody = 0xFFFFFFFF
    entries = [(0x01, 7, nobody), (0x02, 7, user), (0x04, 0, nobody), (0x10, 7, nobody), (0x20, 0, nobody)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError:
        pytest.skip("needs a file system with access control lists")


@needs_root
@pytest.mark.parametrize("name", ["", "config.json", "history.sqlite"])
def test_a_home_to_which_an_access_control_list_lets_others_write_is_refused_and_what_is_said_mends_it(place: Path, name: str) -> None:
    home = anybodys(place, 0o777) / "home"
    assert as_user(ANNA, lambda: live(home), group=ANNA) == ""
    if name:
        home.chmod(0o755)
    give_by_list(home / name, BERT)
    said = as_user(ANNA, lambda: look(home), group=ANNA)
    assert "ConfigError" in said and f"go-w {home / name}" in said
    assert as_user(ANNA, lambda: os.system(f"chmod -R go-w {home}"), group=ANNA) == ""
    assert as_user(ANNA, lambda: look(home), group=ANNA) == ""


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
        assert as_user(ANNA, lambda: (History.open(home / "history.sqlite").save_lineage_state(b"lineage1", 2, 2.0), os._exit(0))) == ""
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


@pytest.mark.parametrize("name", ["../victim", "inside/file", "/etc/passwd", "..", ".", ""])
def test_no_file_of_a_home_is_opened_by_a_path_that_leads_out_of_it(name: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "inside").mkdir(0o700, parents=True)
    home.chmod(0o700)
    for file in (tmp_path / "victim", home / "inside" / "file"):
        file.write_text("precious")
    with open_home(home) as folder:
        for work in (folder.open, folder.look, lambda name: folder.read(name, 10)):
            with pytest.raises(ValueError, match="no name"):
                work(name)
        with pytest.raises(FileNotFoundError):
            folder.read("nothing", 10)
    with pytest.raises(FileNotFoundError), open_home(tmp_path / "nothing"):
        pass


@needs_root
@pytest.mark.parametrize(("owner", "mode"), [(0, 0o2775), (0, 0o2770), (0, 0o1777), (ANNA, 0o2775)], ids=["root", "closed", "all", "own"])
def test_in_a_volume_of_a_group_a_folder_is_named_that_can_be_a_home(place: Path, owner: int, mode: int) -> None:
    volume = anybodys(place, mode, owner)
    said = as_user(ANNA, lambda: live(volume))
    assert "ConfigError" in said and str(volume / "peer") in said
    for work in (live, look, order):
        assert as_user(ANNA, lambda work=work: work(volume / "peer")) == ""


@needs_root
def test_where_nothing_can_be_made_no_new_folder_is_named(place: Path) -> None:
    assert "new folder" not in as_user(ANNA, lambda: live(anybodys(place, 0o755)))


@pytest.mark.skipif(shutil.which("cp") is None or shutil.which("mv") is None, reason="needs cp and mv: apt-get install coreutils")
@pytest.mark.parametrize("name", ["home", "a home $(touch PWNED); `touch PWNED`"])
def test_a_home_whose_backup_shares_its_files_is_mended_by_what_is_said(name: str, tmp_path: Path) -> None:
    home, backup = tmp_path / name, tmp_path / "backup"
    live(home)
    backup.mkdir(0o700)
    for file in home.iterdir():
        os.link(file, backup / file.name)
    before = (home / "history.sqlite").read_bytes()
    for work, file in ((live, "lock"), (look, "history.sqlite")):
        with pytest.raises(ConfigError) as caught:
            work(home)
        assert caught.value.problems[0].key == str(home / file)
        paste(str(caught.value.problems[0].suggestion).partition(" by ")[2], tmp_path)
    live(home)
    look(home)
    assert (backup / "history.sqlite").read_bytes() == before
    assert (home / "history.sqlite").stat().st_mode & 0o077 == (backup / "history.sqlite").stat().st_mode & 0o077


def test_the_configuration_may_be_shared_with_a_backup(tmp_path: Path) -> None:
    live(tmp_path / "home")
    os.link(tmp_path / "home" / "config.json", tmp_path / "config.json")
    before = (tmp_path / "config.json").read_bytes()
    for work in (look, live, look):
        work(tmp_path / "home")
    assert (tmp_path / "config.json").read_bytes() == before


def loosened(home: Path) -> None:
    home.chmod(0o777)


def with_a_loose_file(home: Path) -> None:
    home.chmod(0o755)
    (home / "history.sqlite").chmod(0o666)


def with_a_loose_key(home: Path) -> None:
    home.chmod(0o755)
    (home / "key").chmod(0o666)


@pytest.mark.parametrize("loosen", [loosened, with_a_loose_file, with_a_loose_key])
@pytest.mark.parametrize("work", [live, look])
@pytest.mark.parametrize("name", ["home", "a gift $(touch PWNED)", "a;touch PWNED;'", "-R"])
def test_what_is_said_of_rights_can_be_pasted(
    name: str, work: Callable[[Path], None], loosen: Callable[[Path], None], tmp_path: Path
) -> None:
    home = tmp_path / name
    live(home)
    loosen(home)
    with pytest.raises(ConfigError) as caught:
        work(home)
    paste(str(caught.value.problems[0].suggestion).partition("; or name")[0], tmp_path)
    work(home)


def paste(command: str, folder: Path) -> None:
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)
    assert not (folder / "PWNED").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_full_disk_at_the_lock_is_told_as_one(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr("learnae.opening.open_file", refuse)
        with pytest.raises(ConfigError, match=os.strerror(number)) as caught:
            claim(tmp_path / "home")
    assert caught.value.problems[0].suggestion == homes._unusable(tmp_path, OSError()).problems[0].suggestion

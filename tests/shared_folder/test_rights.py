"""Which rights folders and files get in a folder that users share, whatever the umask."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from errno import ENOTSUP
from grp import struct_group
from pathlib import Path
from pwd import struct_passwd

import pytest

from learnae import shared_folder
from learnae.config.folders import LEFT_SECONDS, try_out
from learnae.shared_folder import FolderHandle, create, in_words

UMASKS = [0o022, 0o077, 0o002, 0o000]


@pytest.fixture(params=UMASKS, ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def top(folder: Path, rights: int) -> Path:
    folder = folder / "top"
    folder.mkdir()
    folder.chmod(rights)
    return folder


@pytest.fixture
def of_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group of each folder is one of several users, as root alone could make it."""
    monkeypatch.setattr(shared_folder, "is_private", lambda group, user: False)


@pytest.mark.usefixtures("of_a_lab")
@pytest.mark.parametrize("rights", [0o2775, 0o2770, 0o770, 0o775, 0o3770, 0o777, 0o2750])
def test_in_a_shared_folder_all_folders_have_its_rights_and_all_files_can_be_read_by_those_who_can_read_it(
    tmp_path: Path, umask: int, rights: int
) -> None:
    shared = top(tmp_path, rights)
    FolderHandle(shared / "blocks" / "deep").make(parents=True)
    assert [oct(mode(shared / "blocks")), oct(mode(shared / "blocks" / "deep"))] == [oct(rights)] * 2
    with create(shared / "blocks" / "file") as file:
        file.write(b"x")
    assert oct(mode(shared / "blocks" / "file")) == oct(rights & 0o444 | 0o200)


@pytest.mark.parametrize("rights", [0o755, 0o700, 0o1777, 0o3777])
def test_elsewhere_the_umask_decides(tmp_path: Path, umask: int, rights: int) -> None:
    alone = top(tmp_path, rights)
    FolderHandle(alone / "blocks").make()
    create(alone / "file").close()
    assert oct(mode(alone / "blocks") & 0o777) == oct(0o777 & ~umask)
    assert oct(mode(alone / "file")) == oct((rights & 0o444 | 0o200) & ~umask)


@pytest.mark.parametrize("rights", [0o775, 0o770])
def test_the_private_group_of_a_user_shares_nothing(tmp_path: Path, umask: int, rights: int, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"getgrgid": struct_group(("anna", "x", 7, ["anna"])), "getpwuid": struct_passwd(("anna", "x", 7, 7, "", "", ""))}
    monkeypatch.setattr("grp.getgrgid", lambda number: names["getgrgid"])
    monkeypatch.setattr("pwd.getpwuid", lambda number: names["getpwuid"])
    alone = top(tmp_path, rights)
    FolderHandle(alone / "blocks").make()
    create(alone / "file").close()
    assert oct(mode(alone / "blocks")) == oct(0o777 & ~umask)
    assert oct(mode(alone / "file")) == oct((rights & 0o444 | 0o200) & ~umask)
    names["getgrgid"] = struct_group(("anna", "x", 7, ["bert"]))
    FolderHandle(alone / "together").make()
    assert oct(mode(alone / "together")) == oct(rights)


def test_on_a_file_system_that_knows_no_rights_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(ENOTSUP, os.strerror(ENOTSUP))

    shared = top(tmp_path, 0o2775)
    monkeypatch.setattr("os.fchmod", refuse)
    monkeypatch.setattr("os.fchown", refuse)
    FolderHandle(shared / "blocks").make()
    create(shared / "file").close()
    assert sorted(path.name for path in shared.iterdir()) == ["blocks", "file"]


def test_a_folder_is_seen_with_all_its_rights_or_not_at_all(tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(BaseException):
        pass

    def kill(*_: object) -> None:
        raise KilledError

    shared = top(tmp_path, 0o2775)
    with monkeypatch.context() as patch:
        patch.setattr("os.fchmod", kill)
        with pytest.raises(KilledError):
            FolderHandle(shared / "blocks").make()
    assert not (shared / "blocks").exists()
    FolderHandle(shared / "blocks").make()
    assert oct(mode(shared / "blocks")) == oct(0o2775)


def test_of_two_who_make_a_folder_at_once_the_faster_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, rename = top(tmp_path, 0o2775), os.rename

    def too_late(draft: str, folder: str, **where: int) -> None:
        (shared / folder / "of the faster one").mkdir(parents=True)
        rename(draft, folder, **where)

    monkeypatch.setattr(os, "rename", too_late)
    FolderHandle(shared / "blocks").make()
    assert [path.name for path in shared.rglob("*")] == ["blocks", "of the faster one"]


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    shared = top(tmp_path, 0o2775)
    (shared / "mine").mkdir(mode=0o700)
    FolderHandle(shared / "mine").make()
    assert mode(shared / "mine") & 0o777 == 0o700


def test_without_parents_a_folder_that_has_gone_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderHandle(tmp_path / "gone" / "channel").make()
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        FolderHandle(tmp_path / "file").make()
    with pytest.raises(FileExistsError):
        create(tmp_path / "file")


def test_a_try_leaves_nothing_behind(tmp_path: Path) -> None:
    try_out(FolderHandle(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_try_removes_what_one_that_was_killed_has_left_and_nothing_else(tmp_path: Path) -> None:
    """One that may still run has a young file; what only looks alike is somebody's own."""
    *killed, folder, running = (f"new.{digit * 32}.check" for digit in "abcde")
    others = ["new.check", f"new.{'f' * 31}.check", "notes"]
    old = time.time() - 2 * LEFT_SECONDS
    for name in (*killed, running, *others):
        (tmp_path / name).touch()
        if name != running:
            os.utime(tmp_path / name, (old, old))
    (tmp_path / folder).mkdir()
    os.utime(tmp_path / folder, (old, old))
    try_out(FolderHandle(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([running, *others])


def test_a_full_disk_is_told_with_the_folder_and_not_with_a_name_that_nobody_knows(tmp_path: Path) -> None:
    error = OSError(28, "No space left on device", str(tmp_path / "new.1234"))
    assert in_words(error, tmp_path) == f"cannot use {tmp_path}: No space left on device"

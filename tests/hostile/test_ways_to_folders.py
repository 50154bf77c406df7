"""Whoever prepares a folder for another user's peer, or puts links into it, leads nobody elsewhere and has nothing deleted there."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from learnae.errors import UnavailableError
from learnae.opening import reach
from learnae.plugins.directory.bulletin import channel_folder
from learnae.testing.context import peer_named
from tests.support.hostile.linked_folders import OLD, STRANGER, UPDATE, VICTIM, linked, live
from tests.support.users import as_user, needs_root

YEARS_AGO = time.time() - 3 * 365 * 86_400

NAMES = ["notes.txt", "new.txt", "new.0123456789abcdef", "a" * 32, f"{OLD.root}.{peer_named('x')}", f"new.{peer_named('victim')}.123"]


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder such as /tmp, which others can reach, unlike that of pytest."""
    with tempfile.TemporaryDirectory(prefix="learnae-ways-") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


@pytest.fixture
def treasure(top: Path) -> Path:
    """The victim's own folder, with old files, also such as are named like ours."""
    folder = top / "treasure"
    folder.mkdir(mode=0o700)
    for name in NAMES:
        (folder / name).write_text("of the victim")
        os.utime(folder / name, (YEARS_AGO, YEARS_AGO))
        os.chown(folder / name, VICTIM, VICTIM)
    os.chown(folder, VICTIM, VICTIM)
    return folder


def state_of(folder: Path) -> dict[str, tuple[object, ...]]:
    return {path.name: (path.read_text(), path.stat().st_mtime, path.stat().st_uid) for path in folder.iterdir()}


def open_folder_of_everybody(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o777)
    return folder


PLACES = ["blocks", "announcements", "channel", "above the blocks", "meeting", "blocks of the meeting", "channel of the meeting"]


@needs_root
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("victim", [VICTIM, 0], ids=["user", "root"])
def test_a_link_that_a_stranger_made_leads_nobody_elsewhere(top: Path, treasure: Path, place: str, victim: int) -> None:
    swarm = open_folder_of_everybody(top / "swarm")
    blocks, board, meeting = swarm / "blocks", swarm / "announcements", top / "meeting"
    link = {
        "blocks": blocks,
        "announcements": board,
        "channel": channel_folder(board, "c"),
        "above the blocks": swarm / "deep",
        "meeting": meeting,
        "blocks of the meeting": meeting / "blocks",
        "channel of the meeting": channel_folder(meeting / "announcements", "c"),
    }[place]
    linked(link, treasure, STRANGER)
    for folder in (board, meeting, meeting / "announcements"):
        if folder.is_dir() and not folder.is_symlink():
            os.chown(folder, victim, victim)
    named = (swarm / "deep" / "blocks" if place == "above the blocks" else blocks, board) if "meeting" not in place else (None, None)
    before = state_of(treasure)
    said = as_user(victim, live(meeting, *named))
    assert said.startswith("UnavailableError") and "link" in said
    assert state_of(treasure) == before


@needs_root
@pytest.mark.parametrize("owner", [VICTIM, 0], ids=["own", "of root"])
@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_link_that_the_user_or_root_made_on_the_way_to_a_named_folder_is_followed(top: Path, owner: int, at_the_end: bool) -> None:
    disk = top / "mnt" / "disk"
    disk.mkdir(parents=True)
    os.chown(disk, VICTIM, VICTIM)
    data = linked(top / "data", Path("mnt") / "." / ".." / "mnt" / "disk", owner)
    if at_the_end:
        for name in ("b", "a"):
            (disk / name).mkdir()
            os.chown(disk / name, VICTIM, VICTIM)
            linked(top / f"link {name}", disk / name, owner)
    named = (top / "link b", top / "link a") if at_the_end else (data / "swarm" / "b", data / "swarm" / "a")
    assert as_user(VICTIM, live(top / "meeting", *named)) == ""
    assert list(disk.rglob(f"{UPDATE.root}.*"))


@pytest.mark.parametrize("what", ["channel", "blocks of the meeting", "announcements of the meeting"])
def test_below_what_was_named_no_link_is_followed_whoever_made_it(tmp_path: Path, what: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    board, meeting = tmp_path / "board", tmp_path / "meeting"
    link = {
        "channel": channel_folder(board, "c"),
        "blocks of the meeting": meeting / "blocks",
        "announcements of the meeting": meeting / "announcements",
    }[what]
    linked(link, elsewhere, os.geteuid())
    with pytest.raises(UnavailableError, match="link"):
        live(meeting, None if "meeting" in what else tmp_path / "blocks", None if "meeting" in what else board)()
    assert list(elsewhere.iterdir()) == []


@needs_root
@pytest.mark.parametrize("prepared", ["state", "state/learnae", "state/learnae/meeting", "state/learnae/meeting/swarm"])
def test_a_meeting_place_that_a_stranger_has_prepared_where_everybody_may_write_is_not_used(top: Path, prepared: str) -> None:
    folder, everybody = top / prepared, top
    for name in Path(prepared).parts[:-1]:
        everybody = open_folder_of_everybody(everybody / name)
    folder.mkdir()
    folder.chmod(0o777)
    os.chown(folder, STRANGER, STRANGER)
    meeting = top / "state/learnae/meeting/swarm"
    said = as_user(VICTIM, live(meeting))
    assert "was made by another user" in said and str(STRANGER) in said
    assert not list(folder.rglob(f"{UPDATE.root}.*"))


@needs_root
@pytest.mark.parametrize("user", [VICTIM, 0])
def test_a_home_that_belongs_to_another_user_and_lies_where_only_root_may_write_is_used_as_before(top: Path, user: int) -> None:
    """Such as one that a container of root has got from outside."""
    home = top / "root's" / "home"
    home.mkdir(parents=True)
    (top / "root's").chmod(0o755)
    os.chown(home, VICTIM, VICTIM)
    assert as_user(user, live(home / "meeting" / "swarm")) == ""


def test_a_link_that_is_exchanged_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "treasure").mkdir()
    link = linked(tmp_path / "link", tmp_path / "mine", os.geteuid())
    read = os.readlink

    def exchanged(name: str, *, dir_fd: int) -> str:
        (tmp_path / "other").symlink_to(tmp_path / "treasure")
        (tmp_path / "other").replace(link)
        return read(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "readlink", exchanged)
    with pytest.raises(OSError, match="exchanged"):
        reach(link)


def test_links_in_a_circle_have_an_end(tmp_path: Path) -> None:
    linked(tmp_path / "a", tmp_path / "b", os.geteuid())
    linked(tmp_path / "b", tmp_path / "a", os.geteuid())
    with pytest.raises(OSError, match="link"):
        reach(tmp_path / "a")


@pytest.mark.parametrize("path", [".", "..", "a/../b", "/", "a//b/."])
def test_a_way_is_gone_as_the_system_goes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    descriptor = reach(Path(path))
    try:
        assert os.path.samestat(os.fstat(descriptor), os.stat(path))
    finally:
        os.close(descriptor)


def test_no_descriptor_is_left_open_whatever_lies_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    linked(tmp_path / "link", tmp_path / "link", os.geteuid())
    before = len(os.listdir("/dev/fd"))
    for path in ("missing", "missing/deep", "file", "file/deep", "link", "x" * 300):
        for below in ((), ("missing",), ("link",)):
            with pytest.raises(OSError):  # noqa: PT011  # one of many
                reach(tmp_path / path, below)
    assert len(os.listdir("/dev/fd")) == before


@needs_root
@pytest.mark.parametrize("user", [VICTIM, 0], ids=["user", "root"])
@pytest.mark.parametrize("kind", ["sticky", "group"])
def test_old_files_go_only_by_our_names_and_where_the_rights_of_the_folder_allow_it(top: Path, user: int, kind: str) -> None:
    swarm = top / "swarm"
    folders = (swarm / "blocks", channel_folder(swarm / "announcements", "c"))
    for folder in folders:
        folder.mkdir(parents=True)
        os.chown(folder, 0, VICTIM)
        folder.chmod(0o1777 if kind == "sticky" else 0o2775)
        for name in NAMES:
            (folder / name).write_text("of a stranger")
            os.utime(folder / name, (YEARS_AGO, YEARS_AGO))
            os.chown(folder / name, STRANGER, STRANGER)
    (swarm / "announcements").chmod(0o755)
    assert as_user(user, live(top / "meeting", folders[0], swarm / "announcements")) == ""
    left = [{path.name for path in folder.iterdir()} & set(NAMES) for folder in folders]
    if kind == "sticky":
        assert left == [set(NAMES), set(NAMES)]
    else:
        assert left == [set(NAMES) - set(NAMES[4:]), set(NAMES) - set(NAMES[2:4])]


def test_a_removed_working_directory_stops_only_what_was_named_within_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    os.close(reach(tmp_path))
    live(tmp_path / "meeting", tmp_path / "blocks", tmp_path / "board")()
    with pytest.raises(FileNotFoundError):
        reach(Path("blocks"))


def test_no_descriptor_is_closed_twice_where_none_is_left_for_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number may be that of another thread's file by then."""
    link = linked(tmp_path / "link", tmp_path, os.geteuid())
    original, roots, closed = os.open, [0], list[int]()

    def few(path: str, *args: Any, **how: Any) -> int:
        if path == os.sep:
            roots[0] += 1
            if roots[0] > 1:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        descriptor = original(path, *args, **how)
        if descriptor in closed:
            closed.remove(descriptor)
        return descriptor

    def close(descriptor: int, close: Callable[[int], None] = os.close) -> None:
        assert descriptor not in closed
        closed.append(descriptor)
        close(descriptor)

    monkeypatch.setattr(os, "open", few)
    monkeypatch.setattr(os, "close", close)
    with pytest.raises(OSError) as failure:  # noqa: PT011  # by its number
        reach(link)
    assert failure.value.errno == errno.EMFILE

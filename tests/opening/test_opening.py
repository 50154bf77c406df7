"""What lies in a folder where others may write: only plain files of the right kind are opened, and nothing else is touched."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from learnae import opening
from learnae.opening import UnfitError
from tests.support.hostile.devices import make_device

SECRET = b"of somebody else"

pytestmark = pytest.mark.timeout(20)  # a pipe that is waited for never ends


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "victim").write_bytes(SECRET)
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


def long(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, opening.folder(path.parent) as folder:
        made.bind(f"/proc/self/fd/{folder}/{path.name}" if os.path.isdir("/proc/self/fd") else str(path))


EVIL: dict[str, Callable[[Path], None]] = {
    "link": lambda path: path.symlink_to(path.parent.parent / "victim"),
    "link to nothing": lambda path: path.symlink_to(path.parent / "nothing"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "hard link": lambda path: os.link(path.parent.parent / "victim", path),
    "pipe": lambda path: os.mkfifo(path),
    "folder": lambda path: path.mkdir(),
    "device": make_device,
    "socket": listening,
    "long": long,
}
FLAGS = {
    "read": os.O_RDONLY,
    "write": os.O_WRONLY,
    "both": os.O_RDWR | os.O_CREAT,
    "anew": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL)
def test_what_is_no_plain_file_is_neither_opened_nor_touched(place: Path, evil: Callable[[Path], None], flags: int) -> None:
    evil(place / "file")
    with opening.folder(place) as folder, pytest.raises(UnfitError):
        opening.open_file("file", flags, at=folder, max_bytes=1 << 20)
    assert (place.parent / "victim").read_bytes() == SECRET
    assert os.listdir(place) == ["file"]


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("."), lambda path: path.touch(), os.mkfifo], ids=["link", "file", "pipe"])
def test_a_folder_is_a_folder(place: Path, make: Callable[[Path], None]) -> None:
    make(place / "inner")
    with pytest.raises(UnfitError):
        opening.open_folder(place / "inner")
    with opening.folder(place) as folder, pytest.raises(UnfitError):
        opening.open_folder("inner", at=folder)


def test_plain_files_are_read_and_written(place: Path) -> None:
    with opening.folder(place) as folder:
        with os.fdopen(opening.open_file("file", os.O_WRONLY | os.O_CREAT, at=folder), "wb") as file:
            file.write(b"a longer text")
        assert opening.read_file("file", 13, at=folder, owners={os.geteuid()}) == b"a longer text"
        with os.fdopen(opening.open_file("file", os.O_WRONLY | os.O_TRUNC, at=folder), "wb") as file:
            file.write(b"short")
        assert opening.read_file(place / "file", 13) == b"short"
        with pytest.raises(FileNotFoundError):
            opening.read_file("another", 13, at=folder)
        with pytest.raises(UnfitError):
            opening.read_file("file", 4, at=folder)


def test_a_file_of_another_user_is_told_from_ones_own(place: Path) -> None:
    (place / "file").touch()
    with pytest.raises(UnfitError):
        opening.read_file(place / "file", 10, owners={os.geteuid() + 1})


def test_a_folder_stays_the_same_when_its_name_goes(place: Path) -> None:
    (place / "file").write_bytes(b"inside")
    with opening.folder(place) as folder:
        place.rename(place.with_name("moved"))
        place.symlink_to(place.parent)
        assert opening.read_file("file", 10, at=folder) == b"inside"

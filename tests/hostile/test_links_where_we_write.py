"""In a folder where neighbours may write, a link of theirs leads nothing that we write to another file, and no folder elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learnae.demo.processes import Stage
from learnae.demo.show import LOGS, keep_logs, put
from learnae.plugins.manager import PluginManager
from learnae.plugins.observers.tensorboard import writing
from learnae.shared_folder import FolderHandle
from learnae_iota.devnet.tangle import Tangle
from tests.support import users
from tests.support.users import ANNA, BERT, GROUP, folder_for_all, needs_root

pytestmark = needs_root

PICTURE = "picture.png"


@pytest.fixture
def place() -> Iterator[Path]:
    """`public` is for everybody; `anna` is hers."""
    with folder_for_all(0o755) as place:
        for name, owner, mode in (("public", 0, 0o1777), ("anna", ANNA, 0o755), ("stage", ANNA, 0o755)):
            (place / name).mkdir()
            os.chown(place / name, owner, GROUP)
            (place / name).chmod(mode)
        for name in ("anna/thesis", "stage/peer-1.log"):
            (place / name).write_text("precious")
            os.chown(place / name, ANNA, GROUP)
        yield place


def as_anna(work: Callable[[], object]) -> str:
    return users.as_user(ANNA, work, group=GROUP)


def as_bert(work: Callable[[], object]) -> None:
    assert users.as_user(BERT, work, umask=0, group=GROUP) == ""


def is_untouched(place: Path) -> bool:
    return (place / "anna" / "thesis").read_text() == "precious" and [path.name for path in (place / "anna").iterdir()] == ["thesis"]


def test_the_picture_and_the_logs_of_the_demo_replace_a_link(place: Path) -> None:
    out = place / "public" / "out"
    as_bert(lambda: (out / LOGS).mkdir(parents=True))
    as_bert(lambda: (out / PICTURE).symlink_to(place / "anna" / "thesis"))
    as_bert(lambda: (out / LOGS / "peer-1.log").symlink_to(place / "anna" / "thesis"))
    assert as_anna(lambda: put(FolderHandle(out), PICTURE, b"picture")) == ""
    assert as_anna(lambda: keep_logs(Stage(place / "stage"), out / LOGS)) == ""
    assert is_untouched(place)


def test_the_folder_of_the_demo_s_logs_is_no_link(place: Path) -> None:
    out = place / "public" / "out"
    as_bert(lambda: out.mkdir())
    as_bert(lambda: (out / LOGS).symlink_to(place / "anna"))
    assert "UnfitError" in as_anna(lambda: keep_logs(Stage(place / "stage"), out / LOGS))
    assert is_untouched(place)


def curves(folder: Path) -> None:
    with writing(folder, PluginManager().log):
        pass


@pytest.mark.parametrize("mode", [0o1777, 0o3775, 0o3777], ids=oct)
def test_the_folder_of_tensorboard_is_no_link_and_nobody_else_s(place: Path, mode: int) -> None:
    (place / "public").chmod(mode)
    link, theirs, ours = (place / "public" / name for name in ("link", "theirs", "ours"))
    as_bert(lambda: link.symlink_to(place / "anna"))
    as_bert(lambda: theirs.mkdir())
    assert as_anna(lambda: curves(link)) != "" and as_anna(lambda: curves(theirs)) != ""
    assert is_untouched(place) and list(theirs.iterdir()) == []
    for _ in range(2):
        assert as_anna(lambda: curves(ours)) == ""
    assert ours.stat().st_mode & 0o022 == 0 and len(list(ours.iterdir())) > 0


def devnet(folder: Path) -> None:
    with Tangle.running(folder, "/bin/false", []):
        pass


def test_the_lock_of_a_devnet_is_no_link_in_a_folder_of_another(place: Path) -> None:
    folder = place / "public" / "tangle"
    as_bert(lambda: folder.mkdir())
    as_bert(lambda: (folder / "lock").symlink_to(place / "anna" / "thesis"))
    assert "belongs to another user" in as_anna(lambda: devnet(folder))
    os.chown(folder, ANNA, GROUP)
    assert "others may write" in as_anna(lambda: devnet(folder))
    folder.chmod(0o755)
    assert "symbolic link" in as_anna(lambda: devnet(folder))
    assert is_untouched(place)

"""Links of other users on the way to a named folder: those that nobody but the owner of a closed folder can have made are followed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile.linked_folders import STRANGER, UPDATE, VICTIM, linked, live
from tests.support.users import as_user, needs_root


def lab(top: Path, link_of: int = STRANGER, folder_of: int = STRANGER, mode: int = 0o755) -> Path:
    """A folder of another user with a link into the victim's."""
    disk, folder = top / "disk", top / "lab"
    for made, owner, rights in ((disk, VICTIM, 0o755), (folder, folder_of, mode)):
        made.mkdir()
        made.chmod(rights)
        os.chown(made, owner, owner)
    return linked(folder / "link", disk, link_of)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder of root's own on whose way nobody else may write."""
    folder = Path(tempfile.mkdtemp(prefix="learnae-ways-", dir="/var/lib" if os.geteuid() == 0 else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@needs_root
@pytest.mark.parametrize("user", [VICTIM, 0], ids=["user", "root"])
def test_a_link_is_followed_that_nobody_but_the_owner_of_a_closed_folder_can_have_made(closed: Path, user: int) -> None:
    """Such as one of a lab's administrator; in a container without root of its own, root's links belong to nobody that it knows."""
    link = lab(closed)
    assert as_user(user, live(closed / "home", link / "b", link / "a")) == ""
    assert list((closed / "disk").rglob(f"{UPDATE.root}.*"))


@needs_root
@pytest.mark.parametrize(
    "how",
    [
        {"mode": 0o775},
        {"mode": 0o757},
        {"mode": 0o1777},
        {"folder_of": VICTIM},
        {"folder_of": 0},
        {"folder_of": 53_013},
    ],
    ids=str,
)
def test_a_link_that_another_can_have_put_there_is_refused(closed: Path, how: dict[str, int]) -> None:
    link = lab(closed, **how)
    said = as_user(VICTIM, live(closed / "home", link / "b", link / "a"))
    assert said.startswith("UnavailableError") and "link" in said
    assert list((closed / "disk").iterdir()) == []


@needs_root
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
@pytest.mark.parametrize("deep", [False, True])
def test_no_closed_folder_with_a_link_in_it_can_be_put_where_others_may_write(closed: Path, mode: int, deep: bool) -> None:
    everybody = closed / "swarm"
    everybody.mkdir()
    link = lab(everybody)
    if deep:
        (everybody / "deeper").mkdir()
        os.chown(everybody / "deeper", STRANGER, STRANGER)
        (everybody / "lab").rename(everybody / "deeper" / "lab")
        link = everybody / "deeper" / "lab" / "link"
    everybody.chmod(mode)
    said = as_user(VICTIM, live(closed / "home", link / "b", link / "a"))
    assert said.startswith("UnavailableError") and "link" in said
    assert list((everybody / "disk").iterdir()) == []

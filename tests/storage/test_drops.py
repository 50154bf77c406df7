"""What was put is dropped, or it is said that it was not."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

from learnae.errors import UnavailableError
from learnae.plugins.directory import storage
from learnae.plugins.directory.storage import DirectoryStorage, DirectoryStorageOptions
from learnae.testing.context import make_context, peer_named
from learnae.testing.published import payloads, published

if TYPE_CHECKING:
    from pathlib import Path

ONE = published("one", *payloads(4))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blocks"


def storage_in(folder: Path) -> DirectoryStorage:
    return DirectoryStorage(DirectoryStorageOptions(path=folder), make_context(folder.parent / "a", peer="a"))


@pytest.mark.parametrize("again", [False, True], ids=["once", "under another name"])
async def test_what_was_put_is_dropped_where_the_system_calls_it_another_users(
    folder: Path, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network share does that takes all users for one, in a folder with the sticky bit."""
    monkeypatch.setattr(storage, "may_remove", lambda found, above: False)
    if again:
        (folder / f"{ONE.root}.{peer_named('a')}").mkdir(parents=True)

    async with storage_in(folder) as store:
        await store.put(ONE.root, ONE.blocks)
        assert await store.roots() == [ONE.root]
        await store.drop(ONE.root)
        assert await store.roots() == []
    assert [path for path in folder.iterdir() if path.is_file()] == []


async def test_a_drop_that_is_not_allowed_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), "x")

    async with storage_in(folder) as store:
        await store.put(ONE.root, ONE.blocks)
        monkeypatch.setattr(storage, "remove", refuse)
        with pytest.raises(UnavailableError):
            await store.drop(ONE.root)
        monkeypatch.setattr(storage, "may_remove", lambda found, above: False)
        with pytest.raises(UnavailableError):
            await store.drop(ONE.root)


def test_a_pack_of_an_earlier_run_that_cannot_be_dropped_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[str]()

    async def run(drop: bool) -> None:
        async with storage_in(folder) as store:
            if not drop:
                await store.put(ONE.root, ONE.blocks)
                return
            monkeypatch.setattr(storage, "may_remove", lambda found, above: False)
            monkeypatch.setattr(store, "_report", lambda name, problem, event: told.append(event))
            await store.drop(ONE.root)

    trio.run(run, False)
    trio.run(run, True)
    assert told == ["storage.not_dropped"]

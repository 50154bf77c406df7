"""The folder storage in a private swarm: as good as ever, and its names tell no peer."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from learnae.content.cids import raw_cid
from learnae.identity.swarms import SwarmIdentity, SwarmKey
from learnae.plugins.directory.storage import DirectoryStorage
from learnae.records import Block, Cid
from learnae.testing.context import make_context, peer_named
from learnae.testing.storage_kit import OpenStorage, StorageConformance

ONE, OTHER = (SwarmIdentity("digits", SwarmKey(bytes([number]) * 32)) for number in (1, 2))
BLOCK = Block(raw_cid(b"data"), b"data")


def storage(folder: Path, peer: str, swarm: SwarmIdentity) -> DirectoryStorage:
    return DirectoryStorage(DirectoryStorage.Options(), make_context(folder / peer, peer=peer, meeting=folder, secret=swarm.secret))


class TestInAPrivateSwarm(StorageConformance):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> OpenStorage:
        return lambda peer: storage(tmp_path, peer, ONE)


async def put(store: DirectoryStorage) -> list[Cid]:
    async with store:
        await store.put(BLOCK.cid, [BLOCK])
        return list(await store.roots())


def test_the_names_of_files_tell_no_peer_and_differ_by_peer_and_key(tmp_path: Path) -> None:
    for peer in ("ann", "ben"):
        for swarm in (ONE, OTHER):
            assert trio.run(put, storage(tmp_path, peer, swarm)) == [BLOCK.cid]
    names = [path.name for path in (tmp_path / "blocks").iterdir()]
    assert len(set(names)) == 4
    assert not any(peer_named(peer) in name for peer in ("ann", "ben") for name in names)


def test_the_same_peer_finds_its_files_again(tmp_path: Path) -> None:
    trio.run(put, storage(tmp_path, "ann", ONE))

    async def roots(store: DirectoryStorage) -> list[Cid]:
        async with store:
            return list(await store.roots())

    assert trio.run(roots, storage(tmp_path, "ann", ONE)) == [BLOCK.cid]
    assert trio.run(roots, storage(tmp_path, "ben", ONE)) == []


def test_in_an_open_swarm_the_peer_is_named(tmp_path: Path) -> None:
    trio.run(put, storage(tmp_path, "ann", SwarmIdentity("digits")))
    assert [path.name for path in (tmp_path / "blocks").iterdir()] == [f"{BLOCK.cid}.{peer_named('ann')}"]

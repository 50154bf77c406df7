"""Where a daemon of the peer's own is met, by whom, and what it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from learnae import UnavailableError
from learnae.lowlevel import BLOCK_BYTES, raw_cid
from learnae.testing.published import fetched, payloads, published, same
from learnae.testing.storage_kit import OpenStorage, StorageConformance
from learnae_ipfs.managed.peer import OwnDaemon
from learnae_ipfs.storage import IpfsStorage

UPDATE = published("u", *payloads(5))
OTHER = published("other", *payloads(5, seed=1))
LIMIT = 60.0
RPC = "/unix/home/repo/rpc"

Open = Callable[..., IpfsStorage]


class TestOwnDaemon(StorageConformance):
    frees_on_drop = False  # garbage goes later, and all at once
    shared_between_peers = False
    survives_reopen = True

    @pytest.fixture
    def storage(self, own: Open) -> OpenStorage:
        return own


def daemon_of(store: IpfsStorage) -> OwnDaemon:
    assert store._own is not None
    return store._own


async def test_daemons_of_one_private_swarm_meet_by_hints_and_those_of_another_do_not(own: Open) -> None:
    async with own("a") as store, own("b") as reader, own("c", key="two") as stranger:
        await store.put(UPDATE.root, UPDATE.blocks)
        assert same(await fetched(reader, UPDATE.cids, store.hints()), UPDATE)
        with pytest.raises(UnavailableError):
            await stranger.get(UPDATE.cids, print, hints=store.hints())


async def test_content_of_a_publisher_that_has_gone_is_found_with_a_third_peer_that_was_met_before(own: Open) -> None:
    async with own("b") as third, own("c") as reader:
        async with own("a") as publisher:
            await publisher.put(UPDATE.root, UPDATE.blocks)
            await third.get(UPDATE.cids, lambda block: None, hints=publisher.hints())
            gone = publisher.hints()
        await third.put(OTHER.root, OTHER.blocks)
        await reader.get(OTHER.cids, lambda block: None, hints=third.hints())
        assert same(await fetched(reader, UPDATE.cids, gone), UPDATE)


async def test_a_search_for_what_nobody_has_holds_nothing_else_up(own: Open) -> None:
    nowhere = [raw_cid(bytes([number])) for number in range(20)]

    async with own("a", search_seconds=2 * LIMIT) as store, own("b") as other, trio.open_nursery() as nursery:
        nursery.start_soon(store.get, nowhere, print)
        while not store._daemon.searches.running:  # noqa: ASYNC110  # it tells nobody
            await trio.sleep(0.01)
        await other.put(UPDATE.root, UPDATE.blocks)
        await store.get(UPDATE.cids, lambda block: None, hints=other.hints())
        await store.put(OTHER.root, OTHER.blocks)
        assert list(await store.roots()) == [OTHER.root]
        nursery.cancel_scope.cancel()


async def test_what_was_dropped_goes_and_what_is_pinned_stays(own: Open) -> None:
    async with own() as store:
        await store.put(UPDATE.root, UPDATE.blocks)
        await store.put(OTHER.root, OTHER.blocks)
        await store.drop(OTHER.root)
        await daemon_of(store).collector.collect()
        with pytest.raises(UnavailableError):
            await fetched(store, OTHER.cids)
        assert same(await fetched(store, UPDATE.cids), UPDATE)


async def test_a_daemon_of_ones_own_calls_nobody(own: Open, tmp_path: Path) -> None:
    async with own() as store:
        assert await store._daemon.call(lambda line: next(line.ask("bootstrap/list"))["Peers"]) in ([], None)  # Kubo says null for none
    config = json.loads((tmp_path / "a" / "repo" / "config").read_text())
    assert config["Routing"]["Type"] == "none"
    assert config["Bootstrap"] == []
    assert config["Addresses"]["API"].startswith("/unix/")
    assert not config["Addresses"]["Gateway"]
    assert not config["Discovery"]["MDNS"]["Enabled"]
    assert not config["AutoConf"]["Enabled"]
    assert not config["Version"]["SwarmCheckEnabled"]
    assert config["Plugins"]["Plugins"]["telemetry"]["Config"]["Mode"] == "off"
    assert oct((tmp_path / "a" / "repo" / "swarm.key").stat().st_mode & 0o777) == "0o600"


def test_the_public_network_is_entered_only_when_asked_and_without_the_key_of_a_private_one(own: Open) -> None:
    settings = daemon_of(own(public=True)).managed.settings
    config = settings.applied({}, RPC)
    assert settings.swarm_key is None
    assert config["Bootstrap"] == ["auto"]
    assert config["Provide"] == {"Enabled": True, "Strategy": "roots"}
    assert not config["Swarm"]["DisableNatPortMap"]


def test_a_home_may_go_from_one_network_to_the_other_and_back(own: Open) -> None:
    private, public = (daemon_of(own(listen=("/ip4/127.0.0.1/tcp/4001",), public=public)).managed.settings for public in (False, True))
    of_private, of_public = private.applied({}, RPC), public.applied({}, RPC)
    assert public.applied(of_private, RPC) == of_public
    assert private.applied(of_public, RPC) == of_private


async def test_garbage_is_collected_when_the_repo_is_full_and_not_again_before_it_has_grown(own: Open) -> None:
    async with own() as store:
        collector, calls = daemon_of(store).collector, list[float]()
        collector.limit_bytes = 1 << 20  # less than is pinned
        await store.put(UPDATE.root, UPDATE.blocks)
        large = published("large", *payloads(3, length=BLOCK_BYTES, seed=2))
        await store.put(large.root, large.blocks)
        for _ in range(3):
            await collector.look()
            calls.append(collector._last)
        assert calls[0] == calls[1] == calls[2]
        await store.drop(large.root)
        more = published("more", *payloads(1, length=BLOCK_BYTES, seed=3))
        await store.put(more.root, more.blocks)
        await collector.look()
        assert collector._last > calls[0]
        with pytest.raises(UnavailableError):
            await fetched(store, large.cids)


async def test_what_was_dropped_goes_when_the_peer_leaves(own: Open) -> None:
    async with own() as store:
        await store.put(UPDATE.root, UPDATE.blocks)
        await store.drop(UPDATE.root)
    async with own() as store:
        with pytest.raises(UnavailableError):
            await fetched(store, UPDATE.cids)
